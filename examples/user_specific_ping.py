"""Shows both ways to use messages of one's own as ping and pong: a fixed text, and a field of a JSON object."""

import asyncio
import json

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server


class ServerListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_utf8_text().replace("ping", "pong"))
            if transport.stats().frames_received == 3:
                transport.send(WSMsgType.TEXT, '{"op": "price", "value": 42}')
                transport.send_close()


# First way: the payload alone says what a pong is. The core consumes it, so on_ws_frame does not see it.
class FixedTextListener(WSListener):
    def send_user_specific_ping(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, b"ping")

    def is_user_specific_pong(self, frame: WSFrame) -> bool:
        return frame.msg_type == WSMsgType.TEXT and frame.get_payload_as_bytes() == b"pong"

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            print(f"{type(self).__name__} received {frame.get_payload_as_utf8_text()}")


# Second way: every message is parsed anyway, so it is parsed once, in on_ws_frame, which then reports the pong.
class JsonListener(WSListener):
    def send_user_specific_ping(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, b'{"op": "ping"}')

    def is_user_specific_pong(self, frame: WSFrame) -> bool:
        return False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            message = json.loads(frame.get_payload_as_utf8_text())
            print(f"{type(self).__name__} received {message}")
            if message["op"] == "pong":
                transport.notify_user_specific_pong_received()


async def main() -> None:
    async with asyncio.timeout(30), await ws_create_server(lambda request: ServerListener(), "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for listener in (FixedTextListener, JsonListener):
            transport, _ = await ws_connect(
                listener, url, enable_auto_ping=True, auto_ping_idle_timeout=0.1, auto_ping_reply_timeout=0.1
            )
            await transport.wait_disconnected()


if __name__ == "__main__":
    asyncio.run(main())
