"""`aiohttp`, client and server."""

import asyncio
import gc
import itertools
import time
from typing import Any

import job
from aiohttp import ClientSession, web

DEFLATE_BITS = 15  # the window, as in zlib


async def connect(session: ClientSession, task: job.Job, path: str) -> Any:
    return await session.ws_connect(
        task.url(path),
        ssl=task.ssl_context() or False,
        autoping=False,
        compress=DEFLATE_BITS if task.messages else 0,
        max_msg_size=0,
        **task.keywords,
    )


async def roundtrip(task: job.Job) -> None:
    async with ClientSession() as session:
        connections = [await connect(session, task, "/echo") for _ in range(task.connections)]
        payloads = task.payloads()

        async def talk(connection: Any, count: int) -> None:
            for payload in itertools.islice(payloads, count):
                await connection.send_bytes(payload)
                await connection.receive()

        async for count in job.runs():
            each = max(1, count // len(connections))
            started = time.perf_counter()
            await asyncio.gather(*[talk(connection, each) for connection in connections])
            job.say_done(each * len(connections), started)


async def firehose(task: job.Job) -> None:
    async with ClientSession() as session:
        connection = await connect(session, task, "/firehose")
        async for count in job.runs():
            left = count
            started = time.perf_counter()
            await connection.send_str(f"{count} {task.size}")
            async for _ in connection:
                left -= 1
                if not left:
                    break
            job.say_done(count, started)


async def send(task: job.Job) -> None:
    async with ClientSession() as session:
        connection, payloads = await connect(session, task, "/sink"), task.payloads()
        async for count in job.runs():
            started = time.perf_counter()
            for payload in itertools.islice(payloads, count):
                await connection.send_bytes(payload)
            await connection.send_str("done")
            await connection.receive()
            job.say_done(count, started)


async def echo(task: job.Job) -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse(autoping=False, compress=bool(task.messages), max_msg_size=0)
        await connection.prepare(request)
        async for message in connection:
            await connection.send_bytes(message.data)
        return connection

    application = web.Application()
    application.router.add_get("/echo", handler)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    sock = task.listening_socket()
    await web.SockSite(runner, sock).start()
    async for _ in job.runs(port=sock.getsockname()[1]):
        gc.collect()
        job.say(collected=True)


if __name__ == "__main__":
    job.main({"roundtrip": roundtrip, "firehose": firehose, "send": send, "echo": echo})
