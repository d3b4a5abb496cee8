"""Shows how a message travels in several frames, and how a listener joins them: the server reports what it received."""

import asyncio

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server


class MessageListener(WSListener):
    """Joins frames to messages and calls `on_message` once for each."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._message_type = WSMsgType.TEXT

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        # Control frames are never fragmented, and may arrive between two fragments (RFC 6455 section 5.4).
        if frame.msg_type in (WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE):
            return
        if frame.msg_type != WSMsgType.CONTINUATION:
            self._message_type = frame.msg_type
        self._parts.append(frame.get_payload_as_bytes())
        if frame.fin:
            parts, self._parts = self._parts, []
            self.on_message(transport, self._message_type, b"".join(parts), len(parts))

    def on_message(self, transport: WSTransport, msg_type: WSMsgType, payload: bytes, frame_count: int) -> None:
        report = f"{len(payload)} bytes of {msg_type.name} in {frame_count} frame{'s' if frame_count > 1 else ''}"
        transport.send(WSMsgType.TEXT, report)


class ReportListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            print(f"The server received {frame.get_payload_as_utf8_text()}.")


async def main() -> None:
    # strict=True: a continuation that continues nothing, or a message begun inside another, fails the connection.
    server = await ws_create_server(lambda request: MessageListener(), "127.0.0.1", 0, strict=True)
    async with asyncio.timeout(30), server:
        transport, _ = await ws_connect(ReportListener, f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        transport.send(WSMsgType.TEXT, "all in one")

        transport.send(WSMsgType.TEXT, "first, ", fin=False)
        transport.send(WSMsgType.CONTINUATION, "second, ", fin=False)
        transport.send_ping(b"between fragments")
        transport.send(WSMsgType.CONTINUATION, "third", fin=True)

        transport.send(WSMsgType.BINARY, bytes(60_000), fin=False)
        transport.send(WSMsgType.CONTINUATION, bytes(40_000), fin=True)
        transport.send_close(WSCloseCode.OK)
        await transport.wait_disconnected()


if __name__ == "__main__":
    asyncio.run(main())
