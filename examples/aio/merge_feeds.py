"""Shows `merge`: one loop over the messages of several connections, each in its turn, whatever the others do."""

import asyncio
from collections import Counter

from picows_aio import ClientConnection, ConnectionClosed, ServerConnection, connect, merge, serve


async def feed(websocket: ServerConnection) -> None:
    name = websocket.request.path.strip("/")
    if name == "busy":
        for number in range(2000):
            await websocket.send(f"{name} {number}")
    else:
        for number in range(5):
            await websocket.send(f"{name} {number}")
            await asyncio.sleep(0.001)
    if name == "broken":
        await websocket.close(code=1011, reason="out of order")


def on_closed(websocket: ClientConnection, error: ConnectionClosed) -> None:
    print(f"{websocket.request.path} has ended: {error}.")


async def main() -> None:
    counts: Counter[str] = Counter()
    async with serve(feed, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with (
            connect(f"{url}/busy") as busy,
            connect(f"{url}/calm") as calm,
            connect(f"{url}/broken") as broken,
            merge(busy, calm, broken, on_closed=on_closed) as merged,
        ):
            async for websocket, _ in merged:
                counts[websocket.request.path] += 1
    print(f"Received {', '.join(f'{count} from {path}' for path, count in sorted(counts.items()))}.")


if __name__ == "__main__":
    asyncio.run(main())
