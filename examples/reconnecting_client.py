"""Shows a client that reconnects by itself: random growing delays, a fresh start after success, an end when cancelled.

Usage: reconnecting_client.py [URL]   (default: an embedded server that refuses once and then drops every connection)
"""

import asyncio
import random
import sys

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_connect, ws_create_server

FIRST_DELAY, MAX_DELAY = 0.05, 30.0  # seconds


class ClientListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            print(f"Received {frame.get_payload_as_utf8_text()!r}.")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        print("Disconnected.")


async def run_forever(url: str) -> None:
    delay = FIRST_DELAY
    while True:
        try:
            transport, _ = await ws_connect(ClientListener, url)
            await transport.wait_disconnected()
            delay = FIRST_DELAY
        except (OSError, WSError) as error:  # TimeoutError is an OSError; CancelledError is not and ends the loop
            print(f"Failed with {type(error).__name__}: {error}")
        await asyncio.sleep(random.uniform(0, delay))  # a thousand clients shall not return in the same instant
        delay = min(delay * 2, MAX_DELAY)


class DroppingListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, "something new")
        transport.disconnect()


async def demonstrate() -> None:
    requests: list[WSUpgradeRequest] = []

    def accept(request: WSUpgradeRequest) -> WSListener | None:
        requests.append(request)
        if len(requests) == 4:
            print("Fourth attempt: the client is cancelled.")
            client.cancel()
        return DroppingListener() if len(requests) > 1 else None

    async with await ws_create_server(accept, "127.0.0.1", 0) as server:
        client = asyncio.create_task(run_forever(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
        await asyncio.wait([client], timeout=30)


if __name__ == "__main__":
    asyncio.run(run_forever(sys.argv[1]) if len(sys.argv) > 1 else demonstrate())
