"""Shows both packages: a server and a client that await messages (picows_aio), and a client of callbacks (picows)."""

import asyncio
import time

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from picows_aio import ServerConnection, connect, serve

ROUND_TRIPS = 2000
MESSAGE = b"0123456789abcdef"


async def echo(websocket: ServerConnection) -> None:
    async for message in websocket:
        await websocket.send(message)


async def await_messages(url: str) -> None:
    async with connect(url) as websocket:
        print(f"picows_aio: connected (HTTP {websocket.response.status_code}).")
        await websocket.send("hello")
        print(f"picows_aio: sent the text 'hello', received {await websocket.recv()!r}.")
        started = time.perf_counter()
        for _ in range(ROUND_TRIPS):
            await websocket.send(MESSAGE)
            await websocket.recv()
        print(f"picows_aio: {ROUND_TRIPS} round trips took {time.perf_counter() - started:.3f} seconds.")
    print(f"picows_aio: closed with code {websocket.close_code}.")


class RoundTrips(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        print(f"picows: connected (HTTP {transport.response.status:d}).")
        self._left = ROUND_TRIPS
        self._started = time.perf_counter()
        transport.send(WSMsgType.BINARY, MESSAGE)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            print(f"picows: closed with code {frame.get_close_code():d}.")
            return
        self._left -= 1
        if self._left:
            transport.send(WSMsgType.BINARY, frame)
        else:
            print(f"picows: {ROUND_TRIPS} round trips took {time.perf_counter() - self._started:.3f} seconds.")
            transport.send_close(WSCloseCode.OK)


async def main() -> None:
    async with asyncio.timeout(30), serve(echo, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await await_messages(url)
        transport, _ = await ws_connect(RoundTrips, url)
        await transport.wait_disconnected()


if __name__ == "__main__":
    asyncio.run(main())
