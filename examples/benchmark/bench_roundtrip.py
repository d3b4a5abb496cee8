"""Round trips per second of an echo server, beside the PyPI `picows`: bench_roundtrip.py [rounds].

Each server runs in a process of its own, in its own environment; one blocking client without any library talks to them
in turns, A B A B, so that what else the machine does hits both. Printed is the ratio of each pair. What the figures do
not show: TLS, many connections, and the time that a client library takes.
"""

import base64
import os
import platform
import socket
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEER = ROOT / ".peers/picows/bin/python"
SIZES = {256: 3000, 131072: 500}  # bytes: round trips of one turn

SERVER = """
import asyncio, sys, picows

class Echo(picows.WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()
        else:
            transport.send(picows.WSMsgType.BINARY, frame.get_payload_as_memoryview())

async def main():
    server = await picows.ws_create_server(lambda request: Echo(), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


class Server:
    def __init__(self, python: Path, loop: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT) if python != PEER else ""}
        command = [str(python), "-c", SERVER, loop]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd="/")
        assert self._process.stdout is not None
        self._sock = socket.create_connection(("127.0.0.1", int(self._process.stdout.readline())))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        fields = (
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        )
        self._sock.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
        while not self._sock.recv(4096).endswith(b"\r\n\r\n"):
            pass

    def measure(self, size: int, count: int) -> float:
        """Round trips per second."""
        extended = struct.pack("!BBH", 0x82, 0xFE, size) if size < 65536 else struct.pack("!BBQ", 0x82, 0xFF, size)
        frame = extended + bytes(4) + b"x" * size  # a masking key of zeros
        started = time.perf_counter()
        for _ in range(count):
            self._sock.sendall(frame)
            left = len(extended) + size
            while left:
                left -= len(self._sock.recv(1 << 20))
        return count / (time.perf_counter() - started)

    def stop(self) -> None:
        self._sock.close()
        self._process.kill()
        self._process.wait()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    if not PEER.exists():
        sys.exit("the PyPI picows is not there: python .ci/dev.py peers")
    print(
        f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} CPUs"
    )
    for loop in ("asyncio", "uvloop"):
        ours, theirs = Server(Path(sys.executable), loop), Server(PEER, loop)
        for size, count in SIZES.items():
            pairs = [(ours.measure(size, count), theirs.measure(size, count)) for _ in range(rounds)]
            ratios = sorted(a / b for a, b in pairs)
            medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
            quartiles = statistics.quantiles(ratios, n=4)
            print(
                f"{loop}, {size} B: {medians[0]:.0f} and {medians[1]:.0f} round trips/s, "
                f"ratio {quartiles[1]:.2f} (quartiles {quartiles[0]:.2f} to {quartiles[2]:.2f})"
            )
        ours.stop()
        theirs.stop()


if __name__ == "__main__":
    main()
