"""Fixed work whose instructions are to be counted: `python -m tests.support.counted_work`, under callgrind.

Connections are one end of a socket pair in this process, the other end speaks the wire itself, so nothing depends on
time. `os.getppid()` is the mark: callgrind writes down and forgets its counts when that begins. What comes between the
marks is the segments of `SEGMENTS`, in that order.
"""

import asyncio
import gc
import os
import socket
import tempfile
from collections.abc import Callable
from typing import Any

import picows
import picows_aio
from picows import WSListener, WSMsgType
from picows._codec import FrameRules, time_mask, time_utf8
from tests.support.wire import BINARY, accept_value, encode_frame

COUNT = 2000  # operations of each segment
PART = 200  # frames written before they are read: they fit a socket buffer
SEGMENTS = [
    *("nothing", "decode", "mask 4 KiB", "validate 4 KiB of UTF-8"),
    *("receive", "send", "receive masked", "send unmasked", "echo", "aio receive", "aio wait", "aio send"),
]
LARGE = 4096  # bytes
PAYLOAD = b"x" * 64
KEY = b"\x01\x02\x03\x04"


class Counter(WSListener):
    """Counts frames, in Python as users do."""

    frames = 0

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        self.frames += 1


class Echo(Counter):
    """Sends back what comes."""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        self.frames += 1
        transport.send(frame.msg_type, frame)


def mark() -> None:
    os.getppid()


async def answer_upgrade(peer: socket.socket) -> None:
    """The server's part of an opening handshake."""
    loop = asyncio.get_running_loop()
    head = b""
    while b"\r\n\r\n" not in head:
        head += await loop.sock_recv(peer, 4096)
    key = next(line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    response = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_value(key.decode())}\r\n\r\n"
    )
    await loop.sock_sendall(peer, response.encode())


async def open_client(connect: Callable[[socket.socket], Any]) -> tuple[Any, socket.socket]:
    """What `connect` makes of one end of a pair, and the other end."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    peer.setblocking(False)
    connection, _ = await asyncio.gather(connect(ours), answer_upgrade(peer))
    return connection, peer


async def open_server(path: str, counter: Counter) -> tuple[Counter, socket.socket]:
    """A server's listener, and the socket of its client: a Unix socket, where what is sent has arrived."""
    server = await picows.ws_create_server(lambda request: counter, path=path, coalesce=isinstance(counter, Echo))
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    peer.setblocking(False)
    loop = asyncio.get_running_loop()
    fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    request = f"GET / HTTP/1.1\r\nHost: localhost\r\n{fields}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    await loop.sock_sendall(peer, request.encode())
    await loop.sock_recv(peer, 4096)
    server.close()
    return counter, peer


async def receive(counter: Counter, peer: socket.socket, frames: bytes) -> None:
    for _ in range(COUNT // PART):
        peer.send(frames)
        wanted = counter.frames + PART
        while counter.frames < wanted:
            await asyncio.sleep(0)
        drain(peer)


async def send(counter: Counter, peer: socket.socket) -> None:
    transport = counter.transport
    for _ in range(COUNT // PART):
        for _ in range(PART):
            transport.send(WSMsgType.BINARY, PAYLOAD)
        drain(peer)


async def receive_messages(connection: Any, peer: socket.socket, frames: bytes) -> None:
    for _ in range(COUNT // PART):
        peer.send(frames)
        for _ in range(PART):
            await connection.recv()


async def wait_for_messages(connection: Any, peer: socket.socket, frame: bytes) -> None:
    for _ in range(COUNT):
        peer.send(frame)
        await connection.recv()


async def send_messages(connection: Any, peer: socket.socket) -> None:
    for _ in range(COUNT // PART):
        for _ in range(PART):
            await connection.send(PAYLOAD)
        await connection.ping()  # does not wait for coalescing
        drain(peer)


def drain(peer: socket.socket) -> None:
    try:
        while peer.recv(1 << 20):
            pass
    except BlockingIOError:
        pass


async def main() -> None:
    plain = encode_frame(BINARY, PAYLOAD) * PART
    masked = encode_frame(BINARY, PAYLOAD, key=KEY) * PART
    (_, counter), peer = await open_client(
        lambda sock: picows.ws_connect(Counter, "ws://localhost/", socket_factory=lambda url: sock)
    )
    with tempfile.TemporaryDirectory() as folder:
        served, client = await open_server(f"{folder}/socket", Counter())
        echoing, sender = await open_server(f"{folder}/echo", Echo())
    connection, other = await open_client(
        lambda sock: picows_aio.connect(
            "ws://localhost/", sock=sock, compression=None, ping_interval=None, max_queue=None, proxy=None
        ).__aenter__()
    )
    rules = FrameRules(expects_mask=True)
    # A turn of the loop costs more while a timer waits. Those of the connections come and go with real time.
    asyncio.get_running_loop().call_later(3600, lambda: None)

    async def nothing() -> None:
        pass

    async def decode() -> None:
        for _ in range(COUNT // PART):
            rules.feed(masked)

    async def mask() -> None:
        time_mask(None, LARGE, COUNT, in_place=True)

    async def validate() -> None:
        time_utf8("ä€".encode() * (LARGE // 5), COUNT)

    segments: dict[str, Callable[[], Any]] = {
        "nothing": nothing,
        "decode": decode,
        "mask 4 KiB": mask,
        "validate 4 KiB of UTF-8": validate,
        "receive": lambda: receive(counter, peer, plain),
        "send": lambda: send(counter, peer),
        "receive masked": lambda: receive(served, client, masked),
        "send unmasked": lambda: send(served, client),
        "echo": lambda: receive(echoing, sender, masked),
        "aio receive": lambda: receive_messages(connection, other, plain),
        "aio wait": lambda: wait_for_messages(connection, other, encode_frame(BINARY, PAYLOAD)),
        "aio send": lambda: send_messages(connection, other),
    }
    assert list(segments) == SEGMENTS
    for work in segments.values():  # what is done once is done now
        await work()
    gc.collect()
    gc.disable()
    mark()
    for work in segments.values():
        await work()
        mark()


if __name__ == "__main__":
    asyncio.run(main())
    os._exit(0)  # what comes after is not counted, and slow
