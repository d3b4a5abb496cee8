"""Resident memory of one idle server connection: idle_memory.py [connections] [--loop asyncio|uvloop].

Runs the server of whatever `picows` the interpreter imports, so the same program measures another package by running
it with another environment's interpreter. What it does not show: the kernel's memory for sockets, and clients.
"""

import argparse
import asyncio
import base64
import gc
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import picows

REQUEST = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nOrigin: http://127.0.0.1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n"
    "Accept-Language: en-US,en;q=0.9\r\nCache-Control: no-cache\r\nPragma: no-cache\r\n\r\n"
)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def serve(count: int) -> None:
    connected = asyncio.Queue()

    class Idle(picows.WSListener):
        def on_ws_connected(self, transport):
            connected.put_nowait(transport)

    server = await picows.ws_create_server(lambda request: Idle(), "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    kept = [await connected.get()]  # the first connection pays for what all share
    gc.collect()
    before = resident()
    for _ in range(count):
        kept.append(await connected.get())
    gc.collect()
    print((resident() - before) / count / 1024, flush=True)
    server.close()
    for transport in kept:
        transport.disconnect(False)


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(REQUEST.format(port=port, key=key).encode())
    while not sock.recv(4096).endswith(b"\r\n\r\n"):
        pass
    return sock


def run_loop(name: str, count: int) -> None:
    if name == "uvloop":
        import uvloop

        uvloop.run(serve(count))
    else:
        asyncio.run(serve(count))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("connections", nargs="?", type=int, default=5000)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if options.serve:
        run_loop(options.loop, options.connections)
        return
    command = [sys.executable, __file__, str(options.connections), "--loop", options.loop, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline())
        clients = [connect(port) for _ in range(options.connections + 1)]
        print(f"{picows.__version__} {options.loop}: {float(server.stdout.readline()):.1f} KiB per idle connection")
        for client in clients:
            client.close()


if __name__ == "__main__":
    main()
