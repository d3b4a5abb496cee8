"""Staleness: a connection that lives, as far as pings can tell, and brings no data."""

from __future__ import annotations

import asyncio

from picows_aio.connection import Connection
from picows_aio.exceptions import WebSocketException
from picows_aio.frames import CloseCode
from picows_aio.protocol import State

_LOOKS = 8  # in a row that found no data: then the connection is stale
_MAX_CONTROL_FRAME = 127  # bytes from a server, RFC 6455 section 5.5: a header of 2 and a payload of 125


class StaleError(WebSocketException, TimeoutError):
    """The connection was dropped because no data had come for too long, whatever the pings said.

    Attributes:
        stale_after: Seconds that were too long.
    """

    def __init__(self, stale_after: float) -> None:
        self.stale_after = stale_after

    def __str__(self) -> str:
        return f"no data for {self.stale_after:g} s"


class StaleWatch:
    """Drops a connection after so many seconds without data.

    It looks from time to time, so that messages set no timers and the drop comes up to an eighth late. Looks are
    counted, not seconds: after the event loop stood still, what waits in the kernel is read before the next look.

    Args:
        connection: An open connection.
        stale_after: Seconds; None: it never looks.

    Attributes:
        has_news: To be set by whoever receives a message.
    """

    __slots__ = ("_bytes", "_connection", "_frames", "_quiet_looks", "_timer", "has_news")

    def __init__(self, connection: Connection, stale_after: float | None) -> None:
        self.has_news = False
        self._connection = connection
        self._quiet_looks = 0
        self._bytes, self._frames = self._received()
        self._timer: asyncio.TimerHandle | None = None
        if stale_after is not None:
            self._schedule(stale_after)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, stale_after: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(stale_after / _LOOKS, self._look, stale_after)

    def _look(self, stale_after: float) -> None:
        if self._connection.state is not State.OPEN:
            return
        self._quiet_looks = 0 if self._has_data() else self._quiet_looks + 1
        if self._quiet_looks < _LOOKS:
            self._schedule(stale_after)
            return
        error = StaleError(stale_after)
        self._connection.fail(CloseCode.INTERNAL_ERROR, str(error), error)
        self._connection.transport.abort()  # TLS would wait for the goodbye of a peer that may be gone

    def _has_data(self) -> bool:
        """Whether data came since the last look, or waits for an application that is slow to receive it."""
        has_news = self._is_receiving() or self.has_news
        self.has_news = False
        return has_news or self._connection.messages_waiting() > 0 or self._connection.is_reading_paused()

    def _is_receiving(self) -> bool:
        """Whether more came in than control frames account for: part of a message that takes its time."""
        size, count = self._received()
        most_control = (count - self._frames + 1) * _MAX_CONTROL_FRAME
        is_more = size - self._bytes > most_control
        self._bytes, self._frames = size, count
        return is_more

    def _received(self) -> tuple[int, int]:
        """Bytes and complete frames that came in so far."""
        stats = self._connection.core_transport.stats()
        return stats.bytes_received, stats.frames_received
