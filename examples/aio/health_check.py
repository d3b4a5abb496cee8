"""Shows a server that answers plain HTTP on the same port: `process_request` returns a response for health checks."""

import asyncio
import http

from picows_aio import Request, Response, ServerConnection, connect, serve


async def echo(websocket: ServerConnection) -> None:
    async for message in websocket:
        await websocket.send(message)


def health_check(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == "/healthz":
        return connection.respond(http.HTTPStatus.OK, "OK\n")
    return None  # go on with the opening handshake


async def http_get(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    response = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return response


async def main() -> None:
    async with serve(echo, "127.0.0.1", 0, process_request=health_check) as server:
        port = server.sockets[0].getsockname()[1]
        for path in ("/healthz", "/"):
            response = await http_get(port, path)
            print(f"GET {path}: {response.splitlines()[0]}")
        async with connect(f"ws://127.0.0.1:{port}/") as websocket:
            await websocket.send("still a WebSocket server")
            print(f"The echo says {await websocket.recv()!r}.")


if __name__ == "__main__":
    asyncio.run(main())
