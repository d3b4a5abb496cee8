"""Shows one message sent to many clients at once, and how a client that does not read is skipped, not waited for."""

import asyncio
import collections
import socket

from picows import WSListener, WSMsgType, WSTransport, broadcast, ws_connect, ws_create_server

CLIENTS = 20
MESSAGE = "x" * 16_000
MAX_BACKLOG = 500_000  # bytes that may wait in this process for one client


class RoomListener(WSListener):
    def __init__(self, room: set[WSTransport]) -> None:
        self._room = room

    def on_ws_connected(self, transport: WSTransport) -> None:
        # A small kernel buffer, so that the demonstration need not send many megabytes.
        kernel = transport.get_extra_info("socket")
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        self._room.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._room.discard(transport)


async def main() -> None:
    room: set[WSTransport] = set()
    server = await ws_create_server(lambda request: RoomListener(room), "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        clients = [(await ws_connect(WSListener, url))[0] for _ in range(CLIENTS)]
        clients[0].pause_reading()

        rounds, skipped = 0, 0
        while not skipped:
            result = broadcast(room, WSMsgType.TEXT, MESSAGE, max_backlog=MAX_BACKLOG)
            rounds, skipped = rounds + 1, len(result.skipped)
            await asyncio.sleep(0)
        print(f"Round {rounds}: sent to {result.sent} clients, {skipped} skipped (over {MAX_BACKLOG} bytes waiting).")

        clients[0].resume_reading()
        for transport in [*room]:
            transport.send_close()
        for transport in clients:
            await transport.wait_disconnected()
        frames = collections.Counter(transport.stats().frames_received for transport in clients)
        for count, client_count in frames.items():
            print(f"{client_count} clients received {count} frames, the close frame among them.")


if __name__ == "__main__":
    asyncio.run(main())
