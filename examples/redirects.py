"""Shows a client that follows HTTP redirects in the handshake, and one that is told not to."""

import asyncio
from http import HTTPStatus

from picows import (
    WSInvalidStatusError,
    WSListener,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
    ws_create_server,
)


def accept(request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
    print(f"The server is asked for {request.path.decode()}.")
    if request.path == b"/new":
        return WSListener()
    moved = WSUpgradeResponse.create_redirect_response(HTTPStatus.PERMANENT_REDIRECT, "/new")
    return WSUpgradeResponseWithListener(moved, None)


async def main() -> None:
    server = await ws_create_server(accept, "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/old"
        transport, _ = await ws_connect(WSListener, url)
        print(f"The client is connected to {transport.request.path.decode()}.")
        transport.send_close()
        await transport.wait_disconnected()

        try:
            await ws_connect(WSListener, url, max_redirects=0)
        except WSInvalidStatusError as error:
            print(f"The client did not follow: {error}.")


if __name__ == "__main__":
    asyncio.run(main())
