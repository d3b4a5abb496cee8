"""Shows a server that consumes: `async for` takes the messages of each client, in order, until the client closes."""

import asyncio

from picows_aio import ServerConnection, connect, serve


async def consume(websocket: ServerConnection) -> None:
    total = 0
    async for message in websocket:
        total += int(message)
    # The loop ended, so the client closed with 1000 or 1001. Any other end raises ConnectionClosedError.
    print(f"The server received numbers with the sum {total}; close code {websocket.close_code}.")


async def main() -> None:
    async with serve(consume, "127.0.0.1", 0) as server:
        async with connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/") as websocket:
            for number in range(1, 101):
                await websocket.send(str(number))
            print("The client sent 100 numbers.")
        print(f"The client closed with {websocket.close_code}.")


if __name__ == "__main__":
    asyncio.run(main())
