"""Shows a server that ends on SIGTERM: no new clients, close code 1001 for each, and handlers that finish."""

import asyncio
import signal

from picows_aio import ClientConnection, ConnectionClosed, ServerConnection, connect, serve


async def handle(websocket: ServerConnection) -> None:
    try:
        async for message in websocket:
            await websocket.send(message)
    finally:
        print(f"A handler cleans up; its client got {websocket.close_code}.")


async def listen(websocket: ClientConnection) -> str:
    try:
        return str(await websocket.recv())
    except ConnectionClosed as end:
        return str(end)


async def main() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Unlike loop.add_signal_handler, this works on Windows too.
    signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(stop.set))

    async with serve(handle, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        clients = [asyncio.create_task(listen(await connect(url))) for _ in range(3)]
        signal.raise_signal(signal.SIGTERM)  # as a service manager would
        await stop.wait()
        print(f"SIGTERM: closing {len(server.connections)} connections.")
        server.close(code=1001, reason="restart")
        await server.wait_closed()
    for told in await asyncio.gather(*clients):
        print(f"A client was told: {told}.")


if __name__ == "__main__":
    asyncio.run(main())
