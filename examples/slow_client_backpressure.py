"""Shows a server that stops producing while a slow client has too much waiting, and goes on when that has drained."""

import asyncio

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

MESSAGES = 2000  # of 10 kB
HIGH, LOW = 200_000, 50_000  # bytes waiting in this process: stop above HIGH, go on below LOW


class ProducerListener(WSListener):
    def __init__(self) -> None:
        self._may_write = asyncio.Event()
        self._may_write.set()
        self.pauses = self.peak = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.set_write_buffer_limits(HIGH, LOW)
        self._producer = asyncio.create_task(self._produce(transport))

    def pause_writing(self) -> None:
        self.pauses += 1
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._producer.cancel()

    async def _produce(self, transport: WSTransport) -> None:
        for _ in range(MESSAGES):
            await self._may_write.wait()
            transport.send(WSMsgType.BINARY, bytes(10_000))
            self.peak = max(self.peak, transport.get_write_buffer_size())
        transport.send_close()


class SlowListener(WSListener):
    received = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.received += frame.msg_type == WSMsgType.BINARY
        if self.received % 100 == 0:
            transport.pause_reading()
            asyncio.get_running_loop().call_later(0.01, transport.resume_reading)


async def main() -> None:
    producer, consumer = ProducerListener(), SlowListener()
    server = await ws_create_server(lambda request: producer, "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        transport, _ = await ws_connect(lambda: consumer, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        await transport.wait_disconnected()
    print(f"{consumer.received} messages arrived; {producer.pauses} pauses, at most {producer.peak} bytes waiting.")


if __name__ == "__main__":
    asyncio.run(main())
