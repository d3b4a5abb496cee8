"""Shows how client and server agree on a subprotocol: the client offers several, the server chooses one."""

import asyncio

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
    ws_create_server,
)

SUPPORTED = ("chat.v2", "chat.v1")  # the server's order of preference


class ChatListener(WSListener):
    def __init__(self, subprotocol: str | None) -> None:
        self._subprotocol = subprotocol

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, f"we speak {self._subprotocol or 'no subprotocol'}")


class ClientListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        print(f"The response names {transport.response.headers.get('Sec-WebSocket-Protocol')}.")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            print(f"The server says: {frame.get_payload_as_utf8_text()}.")
            transport.send_close(WSCloseCode.OK)


def accept(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
    # The header is a comma-separated list and may be repeated (RFC 6455 section 11.3.4).
    offer = ",".join(request.headers.getall("Sec-WebSocket-Protocol", []))
    offered = {name.strip() for name in offer.split(",")}
    chosen = next((name for name in SUPPORTED if name in offered), None)
    headers = {"Sec-WebSocket-Protocol": chosen} if chosen else {}
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(headers), ChatListener(chosen))


async def main() -> None:
    server = await ws_create_server(accept, "127.0.0.1", 0)
    async with asyncio.timeout(30), server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for offer in ("chat.v1, chat.v2", "chat.v1", "mqtt"):
            print(f"The client offers {offer}.")
            transport, _ = await ws_connect(ClientListener, url, extra_headers={"Sec-WebSocket-Protocol": offer})
            await transport.wait_disconnected()


if __name__ == "__main__":
    asyncio.run(main())
