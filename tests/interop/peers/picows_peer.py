"""The PyPI package `picows`, whose callbacks hand over frames; the closing handshake is left to its user."""

import asyncio
from typing import Any

import conversation

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server


class Server(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            conversation.tell(code=frame.get_close_code(), reason=(frame.get_close_message() or b"").decode())
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT and frame.get_payload_as_bytes() == conversation.CLOSE_REQUEST.encode():
            code, reason = conversation.SERVER_CLOSE
            transport.send_close(code, reason.encode())
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes(), fin=frame.fin)


class Client(WSListener):
    def __init__(self) -> None:
        self.frames: asyncio.Queue[tuple[Any, bytes, bool]] = asyncio.Queue()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.frames.put_nowait((frame.msg_type, frame.get_payload_as_bytes(), frame.fin))


async def server() -> None:
    running = await ws_create_server(lambda request: Server(), "127.0.0.1", 0, ssl=conversation.server_tls())
    conversation.tell(port=running.sockets[0].getsockname()[1])
    await conversation.standard_input_ends()


async def client(url: str) -> None:
    transport, listener = await ws_connect(Client, url, ssl_context=conversation.client_tls())
    echoed = 0
    for message in conversation.MESSAGES:
        kind, data = (WSMsgType.TEXT, message.encode()) if isinstance(message, str) else (WSMsgType.BINARY, message)
        transport.send(kind, data)
        echoed += await listener.frames.get() == (kind, data, True)
    for number, part in enumerate(conversation.FRAGMENTS, 1):
        kind = WSMsgType.TEXT if number == 1 else WSMsgType.CONTINUATION
        transport.send(kind, part.encode(), fin=number == len(conversation.FRAGMENTS))
    fragmented, is_final = b"", False
    while not is_final:
        _, part, is_final = await listener.frames.get()
        fragmented += part
    await transport.measure_roundtrip_time(2)
    code, reason = conversation.CLIENT_CLOSE
    transport.send_close(code, reason.encode())
    _, close, _ = await listener.frames.get()
    await transport.wait_disconnected()
    conversation.tell(
        echoed=echoed,
        fragmented=fragmented.decode(),
        extensions=[],
        code=int.from_bytes(close[:2], "big"),
        reason=close[2:].decode(),
    )


conversation.main(server, client)
