"""Shows the metrics of a server at /metrics on its own port, for Prometheus; needs the extra `metrics`."""

import asyncio

from prometheus_client import REGISTRY, generate_latest

from picows_aio import Request, Response, ServerConnection, connect, serve
from picows_aio.metrics import ServerCollector


async def echo_slowly(websocket: ServerConnection) -> None:
    async with websocket.stream(overflow="drop_oldest", maxsize=3) as stream:
        async for message in stream:
            await asyncio.sleep(0.01)
            await websocket.send(message)


def show_metrics(websocket: ServerConnection, request: Request) -> Response | None:
    """Answer /metrics; everything else goes on to the handshake."""
    if request.path != "/metrics":
        return None
    return websocket.respond(200, generate_latest(REGISTRY).decode())


async def get(port: int, path: str) -> list[str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    body = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return body.splitlines()


async def main() -> None:
    server = serve(echo_slowly, "127.0.0.1", 0, process_request=show_metrics)
    REGISTRY.register(ServerCollector(server, {"service": "echo"}))
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}/") as websocket:
            for number in range(100):
                await websocket.send(str(number))
            while await websocket.recv() != "99":
                pass  # the newest comes, but most of the others were dropped
            for line in await get(port, "/metrics"):
                if line.startswith("picows_server"):
                    print(line)


if __name__ == "__main__":
    asyncio.run(main())
