"""Shows automatic pings: they keep a connection alive while the peer answers, and end it when the peer falls silent."""

import asyncio
import time

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

ANSWERED_PINGS = 3


class FallsSilentListener(WSListener):
    """Answers the first pings and then nothing more, as a machine does that lost its network."""

    def __init__(self) -> None:
        self.pings = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PING:
            self.pings += 1
            if self.pings <= ANSWERED_PINGS:
                transport.send_pong(frame)


async def main() -> None:
    peer = FallsSilentListener()
    server = await ws_create_server(lambda request: peer, "127.0.0.1", 0, enable_auto_pong=False)
    async with asyncio.timeout(30), server:
        started = time.monotonic()
        transport, _ = await ws_connect(
            WSListener,
            f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/",
            enable_auto_ping=True,
            auto_ping_idle_timeout=0.2,  # seconds without any data before a ping is sent
            auto_ping_reply_timeout=0.1,  # seconds to wait for the pong
        )
        await transport.wait_disconnected()
        print(f"The server received {peer.pings} pings and answered {ANSWERED_PINGS} of them.")
        closing = transport.close_handshake
        assert closing is not None
        assert closing.sent is not None
        print(f"The client gave up after {time.monotonic() - started:.1f} seconds and sent {closing.sent.code.name}.")


if __name__ == "__main__":
    asyncio.run(main())
