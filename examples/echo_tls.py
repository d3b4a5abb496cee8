"""Shows an echo over TLS: a server with a certificate, and a client that verifies it.

Usage: echo_tls.py [CERT.pem KEY.pem CA.pem]   (default: files for 127.0.0.1 made by the trustme package or by openssl)
"""

import asyncio
import importlib.util
import shutil
import ssl
import subprocess
import sys
import tempfile

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

TRUSTME = [sys.executable, "-m", "trustme", "--quiet"]
OPENSSL = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=example -addext subjectAltName=IP:127.0.0.1"
OPENSSL += " -addext keyUsage=critical,digitalSignature,keyCertSign -keyout server.key -out server.pem"


class EchoListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame)


class ClientListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            print(f"The echo says {frame.get_payload_as_utf8_text()!r}.")
            transport.send_close()


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

    server = await ws_create_server(lambda request: EchoListener(), "127.0.0.1", 0, ssl=server_context)
    async with asyncio.timeout(30), server:
        url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        transport, _ = await ws_connect(ClientListener, url, ssl_context=client_context)
        print(f"Connected with {transport.get_extra_info('ssl_object').version()}.")
        transport.send(WSMsgType.TEXT, "nobody else can read this")
        await transport.wait_disconnected()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(*(sys.argv[1:] or make_certificate(folder))))
