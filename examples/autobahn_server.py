"""Shows an echo server that keeps to RFC 6455 to the letter: the server under test of the Autobahn test suite.

Usage: autobahn_server.py PORT   (0: a free port, printed at the start; ends with Ctrl-C)
"""

import asyncio
import sys

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

MAX_FRAME_SIZE = 16 * 1024 * 1024
CONTROL_FRAMES = (WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE)


class MessageEchoListener(WSListener):
    """Joins the fragments of a message and sends it back whole."""

    def __init__(self) -> None:
        self._message = bytearray()
        self._message_type = WSMsgType.TEXT

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in CONTROL_FRAMES:
            return
        if frame.msg_type != WSMsgType.CONTINUATION:
            self._message_type = frame.msg_type
            if frame.fin:
                transport.send(frame.msg_type, frame)
                return
        self._message += memoryview(frame)
        if frame.fin:
            transport.send(self._message_type, self._message)
            self._message.clear()


async def main(port: int) -> None:
    server = await ws_create_server(
        lambda request: MessageEchoListener(),
        "127.0.0.1",
        port,
        strict=True,
        validate_utf8=True,
        max_frame_size=MAX_FRAME_SIZE,
    )
    print(f"Listening on ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1])))
    except KeyboardInterrupt:
        print("Stopped.")
