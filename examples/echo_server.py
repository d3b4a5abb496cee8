"""Shows an echo server that answers frame by frame, fragmented messages included; it runs until Ctrl-C.

Usage: echo_server.py [PORT]   (default: a free port of the loopback interface, printed at the start)
"""

import asyncio
import sys

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

MESSAGE_FRAMES = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION)


class EchoListener(WSListener):
    def __init__(self) -> None:
        self.frames = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        # CLOSE needs nothing here: the closing handshake is completed after this callback.
        if frame.msg_type in MESSAGE_FRAMES:
            self.frames += 1
            transport.send(frame.msg_type, frame, fin=frame.fin)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        print(f"A client left; {self.frames} frames were sent back.", flush=True)


async def main(port: int) -> None:
    server = await ws_create_server(lambda request: EchoListener(), "127.0.0.1", port)
    print(f"Listening on ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    except KeyboardInterrupt:
        print("Stopped.")
