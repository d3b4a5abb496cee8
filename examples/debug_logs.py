"""Shows the debug log: every frame and every step of the handshakes, for the whole package or for one connection."""

import asyncio
import logging
import sys

from picows import (
    PICOWS_DEBUG_LL,
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
    ws_create_server,
)


class EchoListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame)


class ClientListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, "hello")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send_close(WSCloseCode.OK)


async def main() -> None:
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(name)s %(levelname)s: %(message)s")
    # The level 9 lies below logging.DEBUG (10), so that DEBUG for a whole program does not include every frame.
    logging.getLogger("picows.my_feed").setLevel(PICOWS_DEBUG_LL)

    server = await ws_create_server(lambda request: EchoListener(), "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        transport, _ = await ws_connect(ClientListener, url, logger_name="my_feed")
        await transport.wait_disconnected()


if __name__ == "__main__":
    asyncio.run(main())
