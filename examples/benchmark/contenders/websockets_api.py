"""The roles for libraries with the interface of `websockets`; each program names its library and its best settings."""

import asyncio
import gc
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import job


@dataclass(frozen=True)
class Library:
    """A library and its fastest settings.

    Attributes:
        connect: Called with a URL; awaitable.
        serve: Called with a handler; awaitable. None: the library has no server.
        broadcast: Called with connections and a message; None: the library has none.
        connection_closed: What a handler gets when the client has gone.
        keywords: Settings of clients and servers; empty where the library has none of those of `websockets`.
        compressing: Settings for a job that compresses in its own mode.
    """

    connect: Callable[..., Any]
    serve: Callable[..., Any] | None = None
    broadcast: Callable[..., Any] | None = None
    connection_closed: type[Exception] = OSError
    keywords: dict[str, Any] = field(default_factory=dict)
    compressing: Callable[[job.Job], dict[str, Any]] | None = None

    def settings(self, task: job.Job) -> dict[str, Any]:
        if not self.keywords:
            return task.keywords
        if task.messages and task.mode and self.compressing is not None:
            return self.keywords | self.compressing(task)
        return self.keywords | {"compression": "deflate" if task.messages else None} | task.keywords

    async def open(self, task: job.Job, path: str) -> Any:
        settings = self.settings(task)
        if self.keywords:
            settings |= {"proxy": None}
        if task.certificate:
            settings |= {"ssl": task.ssl_context()}
        return await self.connect(task.url(path), **settings)

    async def roundtrip(self, task: job.Job) -> None:
        connections = [await self.open(task, "/echo") for _ in range(task.connections)]
        payloads = task.payloads()
        for connection in connections:
            await connection.send(payload := next(payloads))
            assert await connection.recv() == payload, "the echo differs"

        async def talk(connection: Any, count: int) -> None:
            send, recv = connection.send, connection.recv
            for payload in itertools.islice(payloads, count):
                await send(payload)
                await recv()

        async for count in job.runs():
            each = max(1, count // len(connections))
            started = time.perf_counter()
            if len(connections) == 1:
                await talk(connections[0], each)
            else:
                await asyncio.gather(*[talk(connection, each) for connection in connections])
            job.say_done(each * len(connections), started)

    async def iterate(self, task: job.Job) -> None:
        """Round trips of one connection, replies taken with `async for`."""
        connection, payloads = await self.open(task, "/echo"), task.payloads()
        async for count in job.runs():
            left, send = count, connection.send
            started = time.perf_counter()
            await send(next(payloads))
            async for _ in connection:
                left -= 1
                if not left:
                    break
                await send(next(payloads))
            job.say_done(count, started)

    async def firehose(self, task: job.Job) -> None:
        connection = await self.open(task, "/firehose")
        if task.mode and not hasattr(connection, task.mode):
            job.say(skip=f"this version has no {task.mode}()")
            return
        async for count in job.runs():
            left = count
            started = time.perf_counter()
            await connection.send(f"{count} {task.size}")
            if task.mode == "batches":
                async for batch in connection.batches():
                    left -= len(batch)
                    if not left:
                        break
            else:
                async for _ in getattr(connection, task.mode)() if task.mode else connection:
                    left -= 1
                    if not left:
                        break
            job.say_done(count, started)

    async def send(self, task: job.Job) -> None:
        connection, payloads = await self.open(task, "/sink"), task.payloads()
        async for count in job.runs():
            send = connection.send
            started = time.perf_counter()
            for payload in itertools.islice(payloads, count):
                await send(payload)
            await send("done")
            await connection.recv()
            job.say_done(count, started)

    async def echo(self, task: job.Job) -> None:
        async def handler(connection: Any) -> None:
            send = connection.send
            try:
                async for message in connection:
                    await send(message)
            except self.connection_closed:  # clients of the benchmark end with a reset
                pass

        sock = task.listening_socket()
        await self.serve(handler, sock=sock, **self.settings(task))
        async for _ in job.runs(port=sock.getsockname()[1]):
            gc.collect()
            job.say(collected=True)

    async def to_all(self, task: job.Job) -> None:
        members: list[Any] = []

        async def handler(connection: Any) -> None:
            members.append(connection)
            await connection.wait_closed()

        sock, message = task.listening_socket(), bytes(task.size)
        await self.serve(handler, sock=sock, **self.settings(task))
        async for count in job.runs(port=sock.getsockname()[1]):
            started = time.perf_counter()
            for _ in range(count):
                self.broadcast(members, message)
                await asyncio.sleep(0)
            job.say_done(count * len(members), started)

    def main(self) -> None:
        roles = {"roundtrip": self.roundtrip, "iterate": self.iterate, "firehose": self.firehose, "send": self.send}
        if self.serve is not None:
            roles |= {"echo": self.echo}
        if self.broadcast is not None:
            roles |= {"broadcast": self.to_all}
        job.main(roles)
