"""The callbacks of `picows`: this package's, or the one of PyPI, whichever the interpreter imports."""

import asyncio
import contextlib
import gc
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import job

import picows
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

MAX_FRAME_SIZE = 2**30  # bytes
COPY_SIZE = 4096  # bytes; below it a copy costs less than a view

# Looked up once: Python 3.11 takes long to find a member of an enum.
TEXT, BINARY, CLOSE = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CLOSE


class Client(WSListener):
    """Base of the clients: `done` completes when the run under way is over."""

    transport: WSTransport
    done: asyncio.Future[None]
    left: int

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def begin(self, count: int) -> asyncio.Future[None]:
        self.left = count
        self.done = asyncio.get_running_loop().create_future()
        return self.done


class RoundTrips(Client):
    """Sends the next message when the reply to the last has come."""

    def __init__(self, payloads: Iterator[bytes]) -> None:
        self.payloads = payloads

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.left -= 1
        if self.left:
            transport.send(BINARY, next(self.payloads))
        else:
            self.done.set_result(None)

    def start(self, count: int) -> asyncio.Future[None]:
        self.begin(count)
        self.transport.send(BINARY, next(self.payloads))
        return self.done


class Counter(Client):
    """Counts what comes."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.left -= 1
        if not self.left:
            self.done.set_result(None)


async def connect(task: job.Job, make: Callable[[], Client], path: str) -> Any:
    _, listener = await ws_connect(
        make, task.url(path), ssl_context=task.ssl_context(), max_frame_size=MAX_FRAME_SIZE, **task.keywords
    )
    return listener


async def roundtrip(task: job.Job) -> None:
    clients = [await connect(task, lambda: RoundTrips(task.payloads()), "/echo") for _ in range(task.connections)]
    async for count in job.runs():
        each = max(1, count // len(clients))
        started = time.perf_counter()
        await asyncio.gather(*[client.start(each) for client in clients])
        job.say_done(each * len(clients), started)


async def firehose(task: job.Job) -> None:
    client = await connect(task, Counter, "/firehose")
    async for count in job.runs():
        started = time.perf_counter()
        client.transport.send(TEXT, f"{count} {task.size}".encode())
        await client.begin(count)
        job.say_done(count, started)


async def send(task: job.Job) -> None:
    client = await connect(task, Counter, "/sink")
    transport, payloads = client.transport, task.payloads()
    send_frame = transport.send
    async for count in job.runs():
        started = time.perf_counter()
        with transport.cork() if task.mode == "cork" else contextlib.nullcontext():
            for payload in itertools.islice(payloads, count):
                send_frame(BINARY, payload)
        send_frame(TEXT, b"done")
        await client.begin(1)
        job.say_done(count, started)


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        opcode = frame.msg_type
        if opcode is CLOSE:
            transport.disconnect()
        elif frame.payload_size < COPY_SIZE:
            transport.send(opcode, frame.get_payload_as_bytes())
        else:
            transport.send(opcode, frame.get_payload_as_memoryview())


async def echo(task: job.Job) -> None:
    sock = task.listening_socket()
    make = EchoFrames if frames_are_buffers() else Echo
    await ws_create_server(lambda request: make(), sock=sock, **task.keywords)
    async for _ in job.runs(port=sock.getsockname()[1]):
        gc.collect()
        job.say(collected=True)


class EchoFrames(WSListener):
    """The same where frames can be sent as they are."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        opcode = frame.msg_type
        if opcode is CLOSE:
            transport.disconnect()
        else:
            transport.send(opcode, frame)


def frames_are_buffers() -> bool:
    """Whether a frame can be sent as it is."""
    try:
        memoryview(WSFrame.__new__(WSFrame))
    except TypeError:
        return False
    return True


class Member(WSListener):
    members: list[WSTransport] = []  # noqa: RUF012 - all of them

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.members.append(transport)


def send_to_all(message: bytes) -> None:
    for transport in Member.members:
        transport.send(BINARY, message)


def broadcast_to_all(message: bytes) -> None:
    picows.broadcast(Member.members, BINARY, message)


async def broadcast(task: job.Job) -> None:
    sock, message = task.listening_socket(), bytes(task.size)
    deliver = broadcast_to_all if hasattr(picows, "broadcast") else send_to_all
    await ws_create_server(lambda request: Member(), sock=sock, **task.keywords)
    async for count in job.runs(port=sock.getsockname()[1]):
        started = time.perf_counter()
        for _ in range(count):
            deliver(message)
            await asyncio.sleep(0)
        job.say_done(count * len(Member.members), started)


ROLES = {"roundtrip": roundtrip, "firehose": firehose, "send": send, "echo": echo, "broadcast": broadcast}

if __name__ == "__main__":
    job.main(ROLES)
