"""Shows how to answer pings oneself: with enable_auto_pong=False they arrive in on_ws_frame like any other frame."""

import asyncio

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server


class ServerListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send_ping(b"one")
        transport.send_ping(b"two")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PONG:
            print(f"The server received a pong with the payload {frame.get_payload_as_bytes()!r}.")
            if frame.get_payload_as_bytes() == b"two":
                transport.send_close(WSCloseCode.OK)


class ClientListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PING:
            print(f"The client received a ping with the payload {frame.get_payload_as_bytes()!r}.")
            # RFC 6455 section 5.5.3: a pong carries the payload of the ping that it answers.
            transport.send_pong(frame)


async def main() -> None:
    server = await ws_create_server(lambda request: ServerListener(), "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        transport, _ = await ws_connect(ClientListener, url, enable_auto_pong=False)
        await transport.wait_disconnected()


if __name__ == "__main__":
    asyncio.run(main())
