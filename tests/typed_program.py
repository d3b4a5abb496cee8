"""What a user of picows writes, for the type checker (tests/test_stubs.py); nothing here runs.

Under --strict an unused ``type: ignore`` is an error, so each of them asserts that the line is rejected.
"""

import asyncio
import ssl
from typing import assert_type

import picows
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


class Echo(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            assert_type(frame.get_close_reason(), str | None)
            transport.send_close(frame.get_close_code(), frame.get_close_message())
        elif frame.fin and not frame.rsv1:
            transport.send(frame.msg_type, frame)
            transport.send(WSMsgType.BINARY, memoryview(frame)[1:])
        assert_type(frame.get_payload_as_bytes(), bytes)
        assert_type(frame.payload_size, int)


class Wrong(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: str) -> None:  # type: ignore[override]
        transport.send("TEXT", frame)  # type: ignore[arg-type]
        transport.is_disconnected = True  # type: ignore[misc]
        transport.missing()  # type: ignore[attr-defined]


def answer(request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener | None:
    if request.path == b"/health":
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(b"ok"), None)
    if "Sec-WebSocket-Protocol" in request.headers:
        chosen = WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": "echo"})
        return WSUpgradeResponseWithListener(chosen, Echo())
    return Echo()


async def answer_later(request: WSUpgradeRequest) -> WSListener | None:
    await asyncio.sleep(0)
    return Echo() if request.method == b"GET" else None


async def client(tls: ssl.SSLContext) -> None:
    try:
        transport, listener = await ws_connect(Echo, "wss://localhost/", ssl_context=tls, extra_headers=[("A", "b")])
    except picows.WSInvalidStatusError as error:
        assert_type(error.response, WSUpgradeResponse | None)
        return
    except picows.WSProtocolError as error:
        assert_type(error.code, int)
        return
    assert_type(transport, WSTransport)
    listener.pause_writing()
    with transport.cork():
        transport.send_message("text")
    assert_type(await transport.measure_roundtrip_time(2), list[float])
    assert_type(transport.stats().last_rtt, float | None)
    assert_type(picows.broadcast([transport], WSMsgType.TEXT, "all").sent, int)
    transport.send_close(WSCloseCode.OK, "bye")
    transport.disconnect(graceful=False)
    await transport.wait_disconnected()


async def servers() -> None:
    first = await ws_create_server(answer, "127.0.0.1", 0, enable_auto_ping=True)
    assert_type(first, asyncio.Server)
    await ws_create_server(answer_later, path="/run/echo", strict=True, allowed_rsv=["rsv1"])
    await ws_create_server("answer", "127.0.0.1", 0)  # type: ignore[arg-type]
    await ws_connect(Echo, "ws://localhost/", strict="yes")  # type: ignore[arg-type]
