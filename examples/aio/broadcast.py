"""Shows one message sent to every client of a server: `server.connections` and `broadcast`, which never waits."""

import asyncio

from picows_aio import ServerConnection, broadcast, connect, serve


async def handle(websocket: ServerConnection) -> None:
    async for message in websocket:
        broadcast(websocket.server.connections, f"{websocket.request.path} says {message}")


async def listen(url: str, expected: int, is_connected: asyncio.Event) -> list[str | bytes]:
    async with connect(url) as websocket:
        is_connected.set()
        return [await websocket.recv() for _ in range(expected)]


async def main() -> None:
    async with serve(handle, "127.0.0.1", 0) as server, asyncio.TaskGroup() as group:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        events = [asyncio.Event() for _ in range(20)]
        tasks = [group.create_task(listen(f"{url}/listener", 2, event)) for event in events]
        for event in events:
            await event.wait()
        async with connect(f"{url}/alice") as alice, connect(f"{url}/bob") as bob:
            await alice.send("hello")
            await alice.recv()
            await bob.recv()
            await bob.send("hi")
            received = await asyncio.gather(*tasks)
        print(f"{len(received)} listeners received {received[0]}.")
        print(f"All received the same: {all(messages == received[0] for messages in received)}.")


if __name__ == "__main__":
    asyncio.run(main())
