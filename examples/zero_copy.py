"""Shows that frames and memoryviews may be kept after their callback: they stay as they are while they are held."""

import asyncio

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

MESSAGES = 5000
LARGE = bytes(range(256)) * 4096  # 1 MiB


class ServerListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        for number in range(MESSAGES):
            transport.send(WSMsgType.TEXT, f"message {number}")
        transport.send(WSMsgType.BINARY, LARGE)
        transport.send_close()


class KeepingListener(WSListener):
    def __init__(self) -> None:
        self.frames: list[WSFrame] = []
        self.views: list[memoryview] = []

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.frames.append(frame)
            self.views.append(memoryview(frame)[-4:])
        elif frame.msg_type == WSMsgType.BINARY:
            self.large = frame.get_payload_as_memoryview()


async def main() -> None:
    server = await ws_create_server(lambda request: ServerListener(), "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        client = KeepingListener()
        transport, _ = await ws_connect(lambda: client, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        await transport.wait_disconnected()

    texts = [frame.get_payload_as_utf8_text() for frame in client.frames]
    intact = sum(text == f"message {number}" for number, text in enumerate(texts))
    print(f"Kept {len(texts)} frames until after the connection ended: {intact} are intact.")
    matching = sum(bytes(view) == text[-4:].encode() for view, text in zip(client.views, texts, strict=True))
    print(f"Kept {len(client.views)} views of their last four bytes: {matching} are intact.")
    print(
        f"Kept a view of {client.large.nbytes} bytes, read-only {client.large.readonly}: equal {client.large == LARGE}."
    )


if __name__ == "__main__":
    asyncio.run(main())
