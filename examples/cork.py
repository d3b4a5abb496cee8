"""Shows cork(), which gathers small frames into one write, with on_read_end() and stats() to see what happened."""

import asyncio
import time

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

QUOTES = 1000


class QuoteListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        started = time.perf_counter()
        for number in range(QUOTES):
            transport.send(WSMsgType.TEXT, f"quote {number}")
        print(f"{QUOTES} frames sent one by one took {(time.perf_counter() - started) * 1e3:.2f} ms.")

        started = time.perf_counter()
        with transport.cork():  # what is sent in this block is gathered; the end of the block writes out the rest
            for number in range(QUOTES):
                transport.send(WSMsgType.TEXT, f"quote {number}")
        print(f"{QUOTES} frames sent corked took {(time.perf_counter() - started) * 1e3:.2f} ms.")
        transport.send_close()


class ClientListener(WSListener):
    def __init__(self) -> None:
        self.quotes = self.reads = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.quotes += frame.msg_type == WSMsgType.TEXT

    def on_read_end(self, transport: WSTransport) -> None:
        self.reads += 1


async def main() -> None:
    server = await ws_create_server(lambda request: QuoteListener(), "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        client = ClientListener()
        transport, _ = await ws_connect(lambda: client, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        await transport.wait_disconnected()
        print(f"The client received {client.quotes} quotes in {client.reads} reads.")
        stats = transport.stats()
        print(f"Its totals: {stats.frames_received} frames, {stats.bytes_received} bytes on the wire.")


if __name__ == "__main__":
    asyncio.run(main())
