"""Listeners of picows that write down what they are told."""

import asyncio
from collections.abc import Callable
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest
from tests.support.wire import Frame


class Recorder(WSListener):
    """Keeps the order of its callbacks in `calls` and copies of its frames in `frames`."""

    transport: WSTransport

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.frames: list[Frame] = []
        self.connected = asyncio.Event()
        self.disconnected = asyncio.Event()
        self._unread: asyncio.Queue[Frame] = asyncio.Queue()

    async def next_frame(self) -> Frame:
        """The oldest frame that no call returned yet, waiting for one when there is none."""
        return await self._unread.get()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport."""
        self.calls.append("on_ws_connected")
        self.transport = transport
        self.connected.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Copy the frame."""
        self.calls.append("on_ws_frame")
        rsv = frame.rsv1 << 2 | frame.rsv2 << 1 | frame.rsv3
        copy = Frame(int(frame.msg_type), frame.get_payload_as_bytes(), fin=bool(frame.fin), rsv=rsv)
        self.frames.append(copy)
        self._unread.put_nowait(copy)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Note the end."""
        self.calls.append("on_ws_disconnected")
        self.disconnected.set()


class Echo(Recorder):
    """Sends every data frame back as it came; records too."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Echo data, leave control frames to picows."""
        super().on_ws_frame(transport, frame)
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            transport.send(frame.msg_type, frame.get_payload_as_bytes(), fin=bool(frame.fin))


class Accepted:
    """A server's listener factory that lets the test have the listeners it made, in order."""

    def __init__(self, make_listener: Callable[[], Any] = Recorder) -> None:
        self.requests: list[WSUpgradeRequest] = []
        self._make_listener = make_listener
        self._unread: asyncio.Queue[Any] = asyncio.Queue()

    def __call__(self, request: WSUpgradeRequest) -> Any:
        self.requests.append(request)
        listener = self._make_listener()
        self._unread.put_nowait(listener)
        return listener

    async def next(self) -> Any:
        """The oldest listener that no call returned yet, waiting for a connection when there is none."""
        return await self._unread.get()
