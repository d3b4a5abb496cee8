"""Keepalive: pings at an interval, and a verdict when nothing answers."""

from __future__ import annotations

import asyncio
from typing import Protocol

from picows_aio.frames import CloseCode

_LAG_TOLERATED = 0.1  # share of the timeout by which our own loop may be late before the peer gets more time


class KeepaliveConnection(Protocol):
    """What keepalive asks of a connection."""

    def keepalive_ping(self) -> None:
        """Send a ping whose answer only updates the latency."""

    def bytes_received(self) -> int:
        """Bytes that came in so far."""

    def is_reading_paused(self) -> bool:
        """Whether the application does not receive."""

    def fail(self, code: int, reason: str, cause: BaseException | None) -> None:
        """Drop the connection."""


class Keepalive:
    """Pings one connection; one timer runs at any time. Any byte that arrives after a ping is a sign of life."""

    __slots__ = ("_connection", "_interval", "_lag", "_loop", "_received", "_timeout", "_timer")

    def __init__(
        self, connection: KeepaliveConnection, loop: asyncio.AbstractEventLoop, interval: float, timeout: float | None
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._interval = interval
        self._timeout = timeout
        self._received = 0
        self._lag = 0.0
        self._timer = loop.call_later(interval, self._ping)

    def stop(self) -> None:
        """Send no more pings."""
        self._timer.cancel()

    def _ping(self) -> None:
        now = self._loop.time()
        self._received = self._connection.bytes_received()
        self._lag = 0.0
        self._connection.keepalive_ping()
        if self._timeout is None:
            self._timer = self._loop.call_at(now + self._interval, self._ping)
        else:
            due = now + self._timeout
            self._timer = self._loop.call_at(due, self._judge, now, due)

    def _judge(self, pinged_at: float, due: float) -> None:
        now = self._loop.time()
        if self._connection.bytes_received() > self._received:
            self._timer = self._loop.call_at(max(pinged_at + self._interval, now), self._ping)
            return
        lag = now - due
        if self._timeout is not None and lag > self._timeout * _LAG_TOLERATED and not self._lag:
            # It was our loop that stood still: what the peer sent may wait in the kernel, unread.
            self._lag = lag
            self._timer = self._loop.call_later(min(lag, self._timeout), self._judge, pinged_at, now)
            return
        self._give_up(now - pinged_at)

    def _give_up(self, waited: float) -> None:
        if self._connection.is_reading_paused():
            why = "the application did not receive: its queue was full, so nothing was read"
        elif self._lag:
            why = f"the event loop stood still for {self._lag:.1f} s, and nothing came afterwards"
        else:
            why = "the peer was silent"
        message = f"keepalive ping timeout: no answer for {waited:.1f} s; {why}"
        self._connection.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout", TimeoutError(message))
