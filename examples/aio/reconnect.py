"""Shows a client that connects again whenever the connection is lost: `async for websocket in connect(...)`."""

import asyncio
import random
from collections.abc import Generator

from picows_aio import ConnectionClosed, Request, Response, ServerConnection, connect, serve

attempts: list[str] = []


def refuse_the_second(connection: ServerConnection, request: Request) -> Response | None:
    attempts.append(request.path)
    return connection.respond(503, "overloaded\n") if len(attempts) == 2 else None


async def send_some_and_break(websocket: ServerConnection) -> None:
    await websocket.send(f"news of connection {len(attempts)}")
    if len(attempts) == 1:
        websocket.transport.abort()
    await websocket.wait_closed()


def quick_delays() -> Generator[float]:
    """Seconds before each attempt after a failure; the default grows from 0-5 to 90 seconds."""
    while True:
        yield random.uniform(0.01, 0.05)


async def main() -> None:
    async with serve(send_some_and_break, "127.0.0.1", 0, process_request=refuse_the_second) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async for websocket in connect(url, reconnect_delays=quick_delays):
            try:
                print(f"Received {await websocket.recv()!r}.")
                if len(attempts) == 3:
                    break
                await websocket.recv()
            except ConnectionClosed as end:
                print(f"The connection is lost: {end}.")
    print(f"The server saw {len(attempts)} attempts.")


if __name__ == "__main__":
    asyncio.run(main())
