"""Shows a handler that consumes and produces at once: two tasks, and the first to end stops the other."""

import asyncio

from picows_aio import ConnectionClosed, ServerConnection, connect, serve


async def consume(websocket: ServerConnection) -> None:
    async for message in websocket:
        print(f"The server received {message!r}.")


async def produce(websocket: ServerConnection) -> None:
    for number in range(1_000_000):
        await websocket.send(f"tick {number}")
        await asyncio.sleep(0.001)


async def handle(websocket: ServerConnection) -> None:
    tasks = [asyncio.create_task(consume(websocket)), asyncio.create_task(produce(websocket))]
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if result is not None and not isinstance(result, ConnectionClosed | asyncio.CancelledError):
            raise result
    print("One task ended, so both did.")


async def main() -> None:
    async with serve(handle, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with connect(url) as websocket:
            await websocket.send("hello")
            received = [await websocket.recv() for _ in range(3)]
    print(f"The client received {received}.")


if __name__ == "__main__":
    asyncio.run(main())
