"""Shows `async for` over messages, built by hand on callbacks with an asyncio.Queue of bounded size."""

import asyncio
from collections.abc import AsyncIterator

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

MESSAGES = 1000
HIGH, LOW = 32, 8  # messages waiting: stop reading the socket at HIGH, read on at LOW


class TickListener(WSListener):
    """Sends numbered messages and closes."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        for number in range(MESSAGES):
            transport.send(WSMsgType.TEXT, f"tick {number}")
        transport.send_close(WSCloseCode.OK)


class IterableListener(WSListener):
    def __init__(self) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._paused: WSTransport | None = None
        self.pauses = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self._queue.put_nowait(frame.get_payload_as_utf8_text())
            if self._queue.qsize() >= HIGH:
                transport.pause_reading()  # no further frame is delivered, so the queue cannot grow past HIGH
                self._paused = transport
                self.pauses += 1

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._queue.put_nowait(None)

    async def messages(self) -> AsyncIterator[str]:
        while (message := await self._queue.get()) is not None:
            if self._paused is not None and self._queue.qsize() <= LOW:
                self._paused.resume_reading()
                self._paused = None
            yield message


async def main() -> None:
    server = await ws_create_server(lambda request: TickListener(), "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        client = IterableListener()
        await ws_connect(lambda: client, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        count = 0
        async for message in client.messages():
            assert message == f"tick {count}"
            count += 1
        print(f"Iterated over {count} messages in order; reading was paused {client.pauses} times.")


if __name__ == "__main__":
    asyncio.run(main())
