"""Shows a client that sends text and binary messages and waits for each echo.

Usage: echo_client.py [URL]   (default: an echo server embedded in this program)
"""

import asyncio
import sys

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

MESSAGES: list[str | bytes] = ["hello", "", "naïve café", b"\x00\x01\x02", bytes(100_000)]


class EchoListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame)


class ClientListener(WSListener):
    def __init__(self) -> None:
        self.echoes: asyncio.Queue[str | bytes] = asyncio.Queue()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.echoes.put_nowait(frame.get_payload_as_utf8_text())
        elif frame.msg_type == WSMsgType.BINARY:
            self.echoes.put_nowait(frame.get_payload_as_bytes())


async def talk(url: str) -> None:
    client = ClientListener()
    transport, _ = await ws_connect(lambda: client, url)
    for message in MESSAGES:
        transport.send_message(message)
        same = await client.echoes.get() == message
        kind = "characters" if isinstance(message, str) else "bytes"
        print(f"Sent {len(message)} {kind}: the echo is {'the same' if same else 'different'}.")
    transport.send_close(WSCloseCode.OK)
    await transport.wait_disconnected()
    closing = transport.close_handshake
    print(f"Closed by both sides: {closing is not None and closing.recv is not None}.")


async def main(url: str | None) -> None:
    async with asyncio.timeout(30):
        if url is not None:
            await talk(url)
            return
        server = await ws_create_server(lambda request: EchoListener(), "127.0.0.1", 0)
        async with server:
            await talk(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
