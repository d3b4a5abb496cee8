"""Shows a server that produces: `send` waits while a client is slow, and says when the client has left."""

import asyncio
import itertools

from picows_aio import ConnectionClosed, ServerConnection, connect, serve


async def produce(websocket: ServerConnection) -> None:
    try:
        for number in itertools.count():
            await websocket.send(f"tick {number}")
            await asyncio.sleep(0.001)
    except ConnectionClosed as end:
        print(f"The server stops producing: {end}.")


async def main() -> None:
    async with serve(produce, "127.0.0.1", 0) as server:
        async with connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as websocket:
            received = [await websocket.recv() for _ in range(5)]
            print(f"The client received {received}.")
            await websocket.close(reason="that is enough")
        server.close()
        await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
