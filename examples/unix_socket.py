"""Shows a server and a client that talk over a Unix domain socket, named by path= on both sides."""

import asyncio
import socket
import sys
import tempfile
from pathlib import Path

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server


class EchoListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame)


class ClientListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            print(f"The echo says {frame.get_payload_as_utf8_text()!r}.")
            transport.send_close()


async def main(path: Path) -> None:
    server = await ws_create_server(lambda request: EchoListener(), path=path)
    async with asyncio.timeout(30), server:
        # The URL still gives the Host header and the request path; nothing is resolved.
        transport, _ = await ws_connect(ClientListener, "ws://localhost/feed", path=path)
        print(f"Connected to {transport.get_extra_info('peername')}.")
        transport.send(WSMsgType.TEXT, "no port was needed")
        await transport.wait_disconnected()


if __name__ == "__main__":
    if not hasattr(socket, "AF_UNIX"):
        sys.exit("This system has no Unix domain sockets.")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder) / "feed.sock"))
