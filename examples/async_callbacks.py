"""Shows how a callback starts a coroutine: create_task for each message, with and without an eager task factory."""

import asyncio
import json
import sys

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server


class SquareListener(WSListener):
    """Answers each number in a task of its own; even numbers take longer."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            number = json.loads(frame.get_payload_as_utf8_text())
            task = asyncio.get_running_loop().create_task(self._answer(transport, number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        for task in self._tasks:
            task.cancel()

    async def _answer(self, transport: WSTransport, number: int) -> None:
        if number % 2 == 0:
            await asyncio.sleep(0.05)
        transport.send(WSMsgType.TEXT, json.dumps({"number": number, "square": number * number}))


class ClientListener(WSListener):
    def __init__(self) -> None:
        self.order: list[int] = []

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.order.append(json.loads(frame.get_payload_as_utf8_text())["number"])
            if len(self.order) == 5:
                transport.send_close(WSCloseCode.OK)


async def main() -> None:
    if sys.version_info >= (3, 12):  # runs a new task at once up to its first wait
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        print("Tasks start eagerly.")
    server = await ws_create_server(lambda request: SquareListener(), "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        client = ClientListener()
        transport, _ = await ws_connect(lambda: client, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        for number in range(1, 6):
            transport.send(WSMsgType.TEXT, json.dumps(number))
        await transport.wait_disconnected()
        print(f"Asked for the squares of 1, 2, 3, 4, 5; the answers came in the order {client.order}.")


if __name__ == "__main__":
    asyncio.run(main())
