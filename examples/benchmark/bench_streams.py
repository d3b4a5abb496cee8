"""How fast each way to receive takes bursts of binary messages: bench_streams.py [rounds].

Another process sends prepared bytes over TCP on this machine, 2 to 8 MiB in one go, and does nothing else, so that the
receiver is what is measured. In each round every way takes the same burst, in turn and beginning with another way each
time, so that what else the machine does hits all of them. Each looks at the size of every message. Printed are the
median rate, and the ratios of a round to `async for` and to a callback of the core, as median and quartiles.

`callback` makes bytes of each message, as `async for`, `batches()` and a stream do; `callback, in place` makes a view,
as `views()` and `frames()` do. Settings are the defaults, without compression.

A message of 64 KiB does not arrive in one read, and then `bytes` is its memory, not a copy: there views save nothing.

What the figures do not show: other machines and the network between them, text, compression, and consumers that wait
for something else in between. At 64 KiB most of the time is the kernel's, copying out of the socket.
"""

import asyncio
import base64
import hashlib
import os
import platform
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Sized
from contextlib import AsyncExitStack
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from picows_aio import connect

try:
    import uvloop
except ImportError:  # uvloop does not exist for Windows
    uvloop = None

BURSTS = {64: 2**15, 1024: 2**12, 16384: 2**9, 65536: 2**7}  # bytes of a message: messages
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
WARM_UP = 2  # rounds
WAYS = ("async for", "batches()", "views()", "frames()", "stream()", "callback", "callback, in place")
Receive = Callable[[int], Awaitable[None]]  # takes so many messages
Turn = Callable[[str, int], Awaitable[None]]  # asks for a burst, and takes so many messages


# The sender


def serve(listening: socket.socket) -> None:
    """Send to each client the bursts that it asks for."""
    while True:
        sock, _ = listening.accept()
        threading.Thread(target=serve_client, args=(sock,), daemon=True).start()


def serve_client(sock: socket.socket) -> None:
    stream = sock.makefile("rb")
    while (line := stream.readline()) != b"\r\n":
        if line.lower().startswith(b"sec-websocket-key:"):
            key = line.split(b":")[1].strip()
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())  # RFC 6455 section 4.2.2
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    bursts = {str(size).encode(): frame_of(size) * count for size, count in BURSTS.items()}
    while (head := stream.read(2)) and head[0] == 0x81:
        mask = stream.read(4)
        masked = stream.read(head[1] & 127)
        sock.sendall(bursts[bytes(octet ^ mask[i & 3] for i, octet in enumerate(masked))])


def frame_of(size: int) -> bytes:
    if size < 126:
        return struct.pack("!BB", 0x82, size) + bytes(size)
    if size < 65536:
        return struct.pack("!BBH", 0x82, 126, size) + bytes(size)
    return struct.pack("!BBQ", 0x82, 127, size) + bytes(size)


# The receivers


async def take(source: AsyncIterable[Sized], count: int) -> None:
    size = 0
    async for message in source:
        size += len(message)
        count -= 1
        if count == 0:
            return


async def take_batches(source: AsyncIterable[list[Any]], count: int) -> None:
    size = 0
    async for batch in source:
        for message in batch:
            size += len(message)
        count -= len(batch)
        if count == 0:
            return


async def take_frames(source: AsyncIterable[WSFrame], count: int) -> None:
    size = 0
    async for frame in source:
        size += len(frame.get_payload_as_memoryview())
        count -= 1
        if count == 0:
            return


async def open_connection(stack: AsyncExitStack, url: str, start: Callable[[Any], Receive]) -> Turn:
    connection = await connect(url, compression=None, proxy=None, ping_interval=None)
    stack.callback(connection.transport.abort)
    receive = start(connection)

    async def turn(burst: str, count: int) -> None:
        await connection.send(burst)
        await receive(count)

    return turn


class Counting(WSListener):
    """Takes messages in the callback."""

    def __init__(self) -> None:
        self.size = self.left = 0
        self.done = asyncio.Event()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.size += len(frame.get_payload_as_bytes())
        self.left -= 1
        if self.left == 0:
            self.done.set()


class CountingInPlace(Counting):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.size += len(frame.get_payload_as_memoryview())
        self.left -= 1
        if self.left == 0:
            self.done.set()


async def open_core(stack: AsyncExitStack, url: str, make_listener: type[Counting]) -> Turn:
    listener = make_listener()
    transport, _ = await ws_connect(lambda: listener, url)
    stack.callback(transport.disconnect, graceful=False)

    async def turn(burst: str, count: int) -> None:
        listener.left = count
        listener.done.clear()
        transport.send(WSMsgType.TEXT, burst)
        await listener.done.wait()

    return turn


async def open_all(stack: AsyncExitStack, url: str) -> dict[str, Turn]:
    def take_stream(connection: Any) -> Receive:
        stream = connection.stream()
        stack.push_async_callback(stream.aclose)
        return lambda count: take(stream, count)

    ways = [
        await open_connection(stack, url, lambda it: lambda count: take(it, count)),
        await open_connection(stack, url, lambda it: lambda count: take_batches(it.batches(), count)),
        await open_connection(stack, url, lambda it: lambda count: take(it.views(), count)),
        await open_connection(stack, url, lambda it: lambda count: take_frames(it.frames(), count)),
        await open_connection(stack, url, take_stream),
        await open_core(stack, url, Counting),
        await open_core(stack, url, CountingInPlace),
    ]
    return dict(zip(WAYS, ways, strict=True))


# Figures


async def measure(url: str, rounds: int) -> dict[int, list[dict[str, float]]]:
    """Messages a second, of each size, of each round, by the way to receive."""
    rates: dict[int, list[dict[str, float]]] = {size: [] for size in BURSTS}
    async with AsyncExitStack() as stack:
        turns = await open_all(stack, url)
        for size, count in BURSTS.items():
            for number in range(WARM_UP + rounds):
                first = number % len(WAYS)
                names = WAYS[first:] + WAYS[:first]
                one = {name: await rate_of(turns[name], str(size), count) for name in names}
                if number >= WARM_UP:
                    rates[size].append(one)
    await asyncio.sleep(0)
    return rates


async def rate_of(turn: Turn, burst: str, count: int) -> float:
    started = time.perf_counter()
    async with asyncio.timeout(60):
        await turn(burst, count)
    return count / (time.perf_counter() - started)


def ratio(rounds: list[dict[str, float]], name: str, other: str) -> str:
    low, middle, high = statistics.quantiles((rates[name] / rates[other] for rates in rounds), n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def report(loop: str, rates: dict[int, list[dict[str, float]]]) -> None:
    for size, rounds in rates.items():
        print(f"\n{loop + f', {size} B':20} messages/s  x async for          x callback           x callback, in place")
        for name in WAYS:
            rate = statistics.median(one[name] for one in rounds)
            columns = [ratio(rounds, name, other) for other in ("async for", "callback", "callback, in place")]
            print(f"{name:20} {rate:12,.0f}  {columns[0]:20} {columns[1]:20} {columns[2]}")


def main() -> None:
    if sys.argv[1:] == ["--send"]:
        listening = socket.create_server(("127.0.0.1", 0))
        print(listening.getsockname()[1], flush=True)
        serve(listening)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    print(
        f"{platform.machine()}, {platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs",
        flush=True,
    )
    with subprocess.Popen([sys.executable, __file__, "--send"], stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        url = f"ws://127.0.0.1:{int(sender.stdout.readline())}/"
        try:
            for loop in (asyncio, uvloop):
                if loop is not None:
                    with asyncio.Runner(loop_factory=loop.new_event_loop) as runner:
                        report(loop.__name__, runner.run(measure(url, rounds)))
        finally:
            sender.terminate()


if __name__ == "__main__":
    main()
