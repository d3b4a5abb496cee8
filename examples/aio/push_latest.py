"""Shows quotes pushed to clients of any speed: who is slow gets fewer of them, but always the newest of each symbol."""

import asyncio
import socket

from picows_aio import SendPolicy, Server, ServerConnection, broadcast, connect, serve

SYMBOLS = ["AAA", "BBB", "CCC", "DDD"]
ROUNDS = 500
POLICY = SendPolicy("latest", max_bytes=16_384, key=lambda quote: quote[:3])
connected: asyncio.Queue[ServerConnection] = asyncio.Queue()


async def handle(websocket: ServerConnection) -> None:
    websocket.send_policy = POLICY
    connected.put_nowait(websocket)
    await websocket.wait_closed()


async def publish(server: Server) -> None:
    for number in range(ROUNDS):
        for symbol in SYMBOLS:
            broadcast(server.connections, f"{symbol} {number:05}".ljust(1000))
        await asyncio.sleep(0.001)


async def follow(url: str, seconds_per_quote: float) -> dict[str, int]:
    newest: dict[str, int] = {}
    async with connect(url, max_queue=1) as websocket:
        async for quote in websocket:
            symbol, number = str(quote).split()
            newest[symbol] = int(number)
            await asyncio.sleep(seconds_per_quote)
    return newest


async def main() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)  # the kernel would queue megabytes
    url = f"ws://127.0.0.1:{sock.getsockname()[1]}"
    async with asyncio.TaskGroup() as group, serve(handle, sock=sock, compression=None) as server:
        clients = {f"/{speed}": group.create_task(follow(f"{url}/{speed}", speed)) for speed in (0, 0.003)}
        pushed = {(websocket := await connected.get()).request.path: websocket for _ in clients}
        await publish(server)
    for path, client in clients.items():
        stats = pushed[path].push_stats()
        has_newest = client.result() == dict.fromkeys(SYMBOLS, ROUNDS - 1)
        print(f"{path}: {stats.sent} sent, {stats.replaced} replaced by newer ones, has the newest: {has_newest}.")


if __name__ == "__main__":
    asyncio.run(main())
