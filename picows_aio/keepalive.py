"""Keepalive: pings at an interval, and a verdict when nothing answers."""

from __future__ import annotations

import asyncio
from typing import Protocol

from picows_aio.frames import CloseCode
from picows_aio.typing import LoggerLike

_LAG_TOLERATED = 0.1  # share of the timeout by which our own loop may be late before the peer gets more time


class KeepaliveConnection(Protocol):
    """What keepalive asks of a connection."""

    @property
    def logger(self) -> LoggerLike:
        """Where the verdict goes."""

    def keepalive_ping(self) -> None:
        """Send a ping whose answer only updates the latency."""

    def bytes_received(self) -> int:
        """Bytes that came in so far."""

    def is_reading_paused(self) -> bool:
        """Whether the application does not receive."""

    def messages_waiting(self) -> int:
        """Messages that the application did not receive."""

    def fail(self, code: int, reason: str, cause: BaseException | None) -> None:
        """Drop the connection."""


class Keepalive:
    """Pings one connection; one timer runs at any time. Any byte that arrives after a ping is a sign of life.

    Pings are sent at the interval whether or not earlier ones were answered, because they also keep the way through
    routers open. The timeout counts from the first of them after the last sign of life.
    """

    __slots__ = (
        "_connection",
        "_due",
        "_interval",
        "_lag",
        "_loop",
        "_next_ping",
        "_pinged_at",
        "_pings",
        "_received",
        "_timeout",
        "_timer",
    )

    def __init__(
        self, connection: KeepaliveConnection, loop: asyncio.AbstractEventLoop, interval: float, timeout: float | None
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._interval = interval
        self._timeout = timeout
        self._received = 0  # bytes when the ping was sent whose answer is due
        self._pinged_at = 0.0
        self._pings = 0  # sent since then, that one included
        self._due: float | None = None  # when a sign of life must have come
        self._lag = 0.0
        self._next_ping = loop.time() + interval
        self._timer = loop.call_at(self._next_ping, self._act)

    def stop(self) -> None:
        """Send no more pings."""
        self._timer.cancel()

    def _act(self) -> None:
        now = self._loop.time()
        if self._due is not None and now >= self._due and not self._is_alive(now, self._due):
            self._give_up(now - self._pinged_at)
            return
        if now >= self._next_ping:
            self._ping(now)
        when = self._next_ping if self._due is None else min(self._due, self._next_ping)
        self._timer = self._loop.call_at(when, self._act)

    def _ping(self, now: float) -> None:
        received = self._connection.bytes_received()
        if self._timeout is not None and (self._due is None or received > self._received):
            self._received = received
            self._pinged_at = now
            self._pings = 0
            self._due = now + self._timeout
            self._lag = 0.0
        self._next_ping = now + self._interval
        self._pings += 1
        self._connection.keepalive_ping()

    def _is_alive(self, now: float, due: float) -> bool:
        """Whether a sign of life came in time, or there is a reason to wait a little longer."""
        assert self._timeout is not None
        if self._connection.bytes_received() > self._received:
            self._due = None
            return True
        lag = now - due
        if lag > self._timeout * _LAG_TOLERATED and not self._lag:
            # It was our loop that stood still: what the peer sent may wait in the kernel, unread.
            self._lag = lag
            self._due = now + min(lag, self._timeout)
            return True
        return False

    def _give_up(self, waited: float) -> None:
        if self._connection.is_reading_paused():
            waiting = self._connection.messages_waiting()
            why = f"the application did not receive: {waiting} messages wait for it, and nothing more was read"
        elif self._lag:
            why = f"the event loop stood still for {self._lag:.1f} s, and nothing came afterwards"
        else:
            why = (
                f"the peer was silent (pings sent: {self._pings}; bytes received: none since, {self._received} before)"
            )
        message = f"keepalive ping timeout: no answer for {waited:.1f} s; {why}"
        self._connection.logger.warning("%s", message)
        self._connection.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout", TimeoutError(message))
