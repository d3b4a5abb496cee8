"""Shows a server that ends on SIGTERM: no new clients, a close frame to each, a deadline, then the rest are cut off."""

import asyncio
import signal

from picows import WSCloseCode, WSListener, WSTransport, ws_connect, ws_create_server

DEADLINE = 0.5  # seconds, for all closing handshakes together


class ServerListener(WSListener):
    def __init__(self, open_connections: set[WSTransport]) -> None:
        self._open_connections = open_connections

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._open_connections.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._open_connections.discard(transport)


async def shut_down(server: asyncio.Server, open_connections: set[WSTransport]) -> None:
    server.close()
    for transport in open_connections:
        transport.send_close(WSCloseCode.GOING_AWAY, "the server restarts")
    closing = [asyncio.create_task(transport.wait_disconnected()) for transport in open_connections]
    _, late = await asyncio.wait(closing, timeout=DEADLINE)
    print(f"{len(closing) - len(late)} clients completed the closing handshake, {len(late)} did not.")
    for transport in [*open_connections]:
        transport.disconnect(graceful=False)
    await asyncio.gather(*late)
    await server.wait_closed()


async def main() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(stop.set))

    open_connections: set[WSTransport] = set()
    server = await ws_create_server(lambda request: ServerListener(open_connections), "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    clients = [(await ws_connect(WSListener, url))[0] for _ in range(5)]
    clients[0].pause_reading()  # this one will not see the close frame

    signal.raise_signal(signal.SIGTERM)  # as a service manager would
    await stop.wait()
    started = loop.time()
    await shut_down(server, open_connections)
    print(f"The server ended after {loop.time() - started:.1f} seconds; {len(open_connections)} clients are left.")
    clients[0].resume_reading()
    for client in clients:
        await client.wait_disconnected()
    told = [closing.recv.code.name for client in clients if (closing := client.close_handshake) and closing.recv]
    print(f"The clients were told {told}.")


if __name__ == "__main__":
    asyncio.run(main())
