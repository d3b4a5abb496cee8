"""Shows handlers chosen by path: `route` with a URL map of werkzeug (pip install 'picows-aio[router]')."""

import asyncio

from werkzeug.routing import Map, Rule

from picows_aio import InvalidStatus, ServerConnection, connect, route


async def channel(websocket: ServerConnection, name: str) -> None:
    await websocket.send(f"this is the channel {name}")


async def repeat(websocket: ServerConnection, times: int) -> None:
    async for message in websocket:
        for _ in range(times):
            await websocket.send(message)


URLS = Map(
    [
        Rule("/channel/<name>", endpoint=channel),
        Rule("/repeat/<int:times>", endpoint=repeat),
        Rule("/main", redirect_to="/channel/main"),
    ]
)


async def main() -> None:
    async with route(URLS, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for path in ("/channel/news", "/main"):
            async with connect(url + path) as websocket:
                print(f"{path}: {await websocket.recv()}")
        async with connect(f"{url}/repeat/3") as websocket:
            await websocket.send("ho")
            print(f"/repeat/3: {[await websocket.recv() for _ in range(3)]}")
        try:
            async with connect(f"{url}/repeat/often"):
                raise AssertionError("there is no such path")
        except InvalidStatus as refusal:
            print(f"/repeat/often: {refusal.response.status_code} {refusal.response.reason_phrase}")


if __name__ == "__main__":
    asyncio.run(main())
