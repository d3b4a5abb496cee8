"""A listener that keeps what it is given, as users may."""

import asyncio
from collections.abc import Callable
from typing import Any

from picows import WSFrame, WSListener, WSTransport


class Keeper(WSListener):
    """Keeps each frame, or what `take` makes of it, in `kept`."""

    transport: WSTransport

    def __init__(self, take: Callable[[WSFrame], Any] = lambda frame: frame) -> None:
        self.kept: list[Any] = []
        self._take = take
        self._wanted: tuple[int, asyncio.Future[None]] | None = None

    async def wait_for(self, count: int) -> list[Any]:
        """The first `count` things that were kept, when there are so many."""
        if len(self.kept) < count:
            self._wanted = count, asyncio.get_running_loop().create_future()
            await self._wanted[1]
        return self.kept[:count]

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Keep the frame."""
        self.kept.append(self._take(frame))
        if self._wanted is not None and len(self.kept) >= self._wanted[0]:
            self._wanted[1].set_result(None)
            self._wanted = None
