"""Shows a subscription that heals itself: its server is killed and started again, then it lives on but falls silent."""

import asyncio
from collections.abc import Generator

from picows_aio import ClientConnection, Gap, Server, ServerConnection, serve, subscribe

connections: list[ServerConnection] = []


async def quote(websocket: ServerConnection) -> None:
    """The second connection falls silent after one quote; its pings are still answered."""
    connections.append(websocket)
    number = len(connections)
    print(f"Connection {number} subscribes to {await websocket.recv()!r}.")
    for index in range(1 if number == 2 else 3):
        await websocket.send(f"quote {index + 1} of connection {number}")
    await websocket.wait_closed()


async def kill(server: Server) -> None:
    for websocket in server.connections:
        websocket.transport.abort()
    server.close()
    await server.wait_closed()


async def subscribe_to_quotes(websocket: ClientConnection) -> None:
    await websocket.send("EUR/USD")


def quick_delays() -> Generator[float]:
    """Seconds before each attempt; the default grows from 0-5 to 90 seconds."""
    while True:
        yield 0.05


async def main() -> None:
    server = await serve(quote, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"ws://127.0.0.1:{port}/"
    async with subscribe(
        url, on_open=subscribe_to_quotes, stale_after=0.5, gaps="yield", reconnect_delays=quick_delays
    ) as feed:
        async for item in feed:
            print(f"Something is missing: {item.reason}." if isinstance(item, Gap) else f"Received {item!r}.")
            if item == "quote 3 of connection 1":
                await kill(server)
                server = await serve(quote, "127.0.0.1", port)
            elif item == "quote 3 of connection 3":
                break
        print(f"There were {feed.gaps} gaps; the subscription is {feed.state.value}.")
    await kill(server)


if __name__ == "__main__":
    asyncio.run(main())
