"""Shows streams over the callback core: `StreamListener` with `ws_create_server` and `ws_connect`."""

import asyncio

from picows import WSCloseCode, WSMsgType, WSTransport, ws_connect, ws_create_server
from picows_aio import StreamListener


class Shouting(StreamListener):
    """The server's side of a connection: a task takes the messages."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        self.task = asyncio.create_task(self.serve(transport))

    async def serve(self, transport: WSTransport) -> None:
        async with self.stream() as stream:
            async for message in stream:
                transport.send(WSMsgType.TEXT, f"{message.upper()}!")
        print(f"The server's stream has ended: {stream.delivered} messages taken.")


async def main() -> None:
    server = await ws_create_server(lambda request: Shouting(), "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        listener = StreamListener()
        transport, _ = await ws_connect(lambda: listener, url)
        async with listener.stream() as everything, listener.stream(overflow="latest") as newest:
            for word in ("how", "are", "you"):
                transport.send(WSMsgType.TEXT, word)
            print("The client received", [await everything.recv() for _ in range(3)])
            print("The newest is", await newest.recv())
            transport.send_close(WSCloseCode.OK)
            await transport.wait_disconnected()
            print(f"Both streams have ended: {[message async for message in everything]}.")
            print(f"The newest replaced {newest.dropped} messages.")


if __name__ == "__main__":
    asyncio.run(main())
