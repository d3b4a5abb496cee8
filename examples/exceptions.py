"""Shows which exceptions connecting can raise, and what becomes of an exception that a callback raises."""

import asyncio
import logging
import socket

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server


class ServerListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, "not a number")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            print(f"  The client closed with {frame.get_close_code().name}.")


class FaultyListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            asyncio.get_running_loop().call_later(0.1, transport.send_close)
            int(frame.get_payload_as_utf8_text())


async def attempt(title: str, url: str, *, timeout: float = 5, disconnect: bool = True) -> None:
    print(title)
    try:
        transport, _ = await ws_connect(
            FaultyListener, url, websocket_handshake_timeout=timeout, disconnect_on_exception=disconnect
        )
        await transport.wait_disconnected()
    # WSError: a fault of the URL, the handshake or the protocol. OSError: a fault of the network, TimeoutError
    # among them. CancelledError is neither: whoever cancels this task wants it to end.
    except (WSError, OSError) as error:
        print(f"  Not connected: {type(error).__name__}.")
    except ValueError as error:
        print(f"  Connected; wait_disconnected() raised ValueError: {error}.")


async def main() -> None:
    logging.disable()  # the log tells the same story
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        await attempt("A URL of another scheme:", "ftp://127.0.0.1/")
        await attempt("A server that does not answer:", url, timeout=0.1)
    await attempt("A port without a server:", url)

    server = await ws_create_server(lambda request: ServerListener() if request.path == b"/" else None, "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await attempt("A path that the server does not know:", url + "nothing")
        await attempt("A callback that fails:", url)
        await attempt("A callback that fails, with disconnect_on_exception=False:", url, disconnect=False)


if __name__ == "__main__":
    asyncio.run(main())
