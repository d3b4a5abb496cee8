"""Shows a whole WebSocket conversation: a server and a client in one process, messages both ways, and a clean close."""

import asyncio
import time

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

ROUND_TRIPS = 2000


class ServerListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, "welcome")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_utf8_text().upper())
        elif frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame)


class ClientListener(WSListener):
    def __init__(self) -> None:
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            print(f"The server answered with code {frame.get_close_code():d}.")
        else:
            self.inbox.put_nowait(frame.get_payload_as_bytes())


async def main() -> None:
    server = await ws_create_server(lambda request: ServerListener(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(30), server:
        client = ClientListener()
        transport, _ = await ws_connect(lambda: client, f"ws://127.0.0.1:{port}/")
        print(f"Connected to port {port} (HTTP {transport.response.status:d}).")
        print(f"The server says {(await client.inbox.get()).decode()!r}.")
        transport.send(WSMsgType.TEXT, "hello")
        print(f"Sent the text 'hello', received {(await client.inbox.get()).decode()!r}.")
        transport.send(WSMsgType.BINARY, bytes(1_000_000))
        print(f"Sent 1000000 bytes, received {len(await client.inbox.get())} bytes.")

        started = time.perf_counter()
        for _ in range(ROUND_TRIPS):
            transport.send(WSMsgType.BINARY, b"0123456789abcdef")
            await client.inbox.get()
        print(f"{ROUND_TRIPS} round trips of 16 bytes took {time.perf_counter() - started:.3f} seconds in one thread.")

        transport.send_close(WSCloseCode.OK, "bye")
        print(f"Sent a close frame with code {WSCloseCode.OK:d} and the reason 'bye'.")
        await transport.wait_disconnected()


if __name__ == "__main__":
    asyncio.run(main())
