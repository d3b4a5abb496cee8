"""Shows one event loop per thread: a connection belongs to its loop's thread, other threads ask that loop to send."""

import asyncio
import threading
from concurrent.futures import Future

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server


class GreetingListener(WSListener):
    def __init__(self, connected: Future[WSTransport]) -> None:
        self._connected = connected

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, f"this is {threading.current_thread().name}")
        self._connected.set_result(transport)


class ServerThread(threading.Thread):
    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.port: Future[int] = Future()
        self.connected: Future[WSTransport] = Future()

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        server = await ws_create_server(lambda request: GreetingListener(self.connected), "127.0.0.1", 0)
        async with server:
            self.port.set_result(server.sockets[0].getsockname()[1])
            await (await asyncio.wrap_future(self.connected)).wait_disconnected()


class ClientListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            print(f"Received {frame.get_payload_as_utf8_text()!r}.")


async def main() -> None:
    for thread in [ServerThread("thread 1"), ServerThread("thread 2")]:
        thread.start()
        port = await asyncio.wrap_future(thread.port)
        transport, _ = await ws_connect(ClientListener, f"ws://127.0.0.1:{port}/")
        remote = await asyncio.wrap_future(thread.connected)
        try:
            remote.send(WSMsgType.TEXT, "from the wrong thread")
        except RuntimeError as error:
            print(f"Not allowed: {error}")
        thread.loop.call_soon_threadsafe(remote.send, WSMsgType.TEXT, "handed over by the main thread")
        thread.loop.call_soon_threadsafe(remote.send_close)
        await transport.wait_disconnected()
        await asyncio.to_thread(thread.join)


if __name__ == "__main__":
    asyncio.run(main())
