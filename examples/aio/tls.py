"""Shows an echo over TLS: a server with a certificate, and a client that verifies it.

Usage: tls.py [CERT.pem KEY.pem CA.pem]   (default: files for 127.0.0.1 made by the trustme package or by openssl)
"""

import asyncio
import importlib.util
import shutil
import ssl
import subprocess
import sys
import tempfile

from picows_aio import ServerConnection, connect, serve

TRUSTME = [sys.executable, "-m", "trustme", "--quiet"]
OPENSSL = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=example -addext subjectAltName=IP:127.0.0.1"
OPENSSL += " -addext keyUsage=critical,digitalSignature,keyCertSign -keyout server.key -out server.pem"


async def echo(websocket: ServerConnection) -> None:
    async for message in websocket:
        await websocket.send(message)


def make_certificate(folder: str) -> tuple[str, str, str]:
    has_trustme = importlib.util.find_spec("trustme") is not None
    if not has_trustme and shutil.which("openssl") is None:
        raise SystemExit("Install trustme or openssl, or name CERT.pem KEY.pem CA.pem.")
    subprocess.run(TRUSTME if has_trustme else OPENSSL.split(), cwd=folder, check=True, capture_output=True)
    authority = "client.pem" if has_trustme else "server.pem"
    return f"{folder}/server.pem", f"{folder}/server.key", f"{folder}/{authority}"


async def main(certificate: str, key: str, authority: str) -> None:
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(certificate, key)
    client_context = ssl.create_default_context(cafile=authority)
    async with serve(echo, "127.0.0.1", 0, ssl=server_context) as server:
        url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with connect(url, ssl=client_context) as websocket:
            print(f"Connected with {websocket.transport.get_extra_info('ssl_object').version()}.")
            await websocket.send("nobody else can read this")
            print(f"The echo says {await websocket.recv()!r}.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(*(sys.argv[1:] or make_certificate(folder))))
