"""Auto ping: finding out that a connection died silently."""

import asyncio
from collections.abc import Callable

from picows.enums import WSAutoPingStrategy
from picows.options import ConnectionOptions

_LAG_TOLERATED = 0.1  # share of the reply timeout by which our own loop may be late before the peer gets more time


class AutoPing:
    """Pings one connection; at any time exactly one timer runs: until the next ping is due, or until its answer is.

    A frame that arrives moves no timer: the idle timer looks at the time of the last read when it fires.
    """

    __slots__ = (
        "_idle_seconds", "_idle_timeout", "_is_periodical", "_loop", "_pinged_at", "_reply_timeout", "_send_ping",
        "_timed_out", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: ConnectionOptions,
        *,
        send_ping: Callable[[], bool],
        idle_seconds: Callable[[], float],
        timed_out: Callable[[float], None],
    ) -> None:
        self._loop = loop
        self._idle_timeout = options.auto_ping_idle_timeout
        self._reply_timeout = options.auto_ping_reply_timeout
        self._is_periodical = options.auto_ping_strategy == WSAutoPingStrategy.PING_PERIODICALLY
        self._send_ping = send_ping
        self._idle_seconds = idle_seconds
        self._timed_out = timed_out
        self._pinged_at = 0.0
        self._timer: asyncio.TimerHandle | None = loop.call_later(self._idle_timeout, self._idle_timer_fired)

    def stop(self) -> None:
        """Send no more pings."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pong_received(self) -> float:
        """The peer answered; returns the seconds it took."""
        now = self._loop.time()
        roundtrip = now - self._pinged_at
        if self._timer is not None:
            self._timer.cancel()
            due = self._pinged_at + self._idle_timeout if self._is_periodical else now + self._idle_timeout
            self._timer = self._loop.call_at(due, self._idle_timer_fired)
        return roundtrip

    def _idle_timer_fired(self) -> None:
        if not self._is_periodical:
            idle = self._idle_seconds()
            # Clocks differ in resolution: a timer that is early by less than a millisecond is on time.
            if idle < self._idle_timeout - 0.001:
                self._timer = self._loop.call_later(self._idle_timeout - idle, self._idle_timer_fired)
                return
        self._pinged_at = self._loop.time()
        due = self._pinged_at + self._reply_timeout
        self._timer = self._loop.call_at(due, self._reply_timer_fired, due)
        if not self._send_ping():
            self.stop()

    def _reply_timer_fired(self, due: float) -> None:
        lag = self._loop.time() - due
        if lag > self._reply_timeout * _LAG_TOLERATED:
            # It was our loop that stood still: the answer may wait in the kernel, unread.
            due = self._loop.time() + min(lag, self._reply_timeout)
            self._timer = self._loop.call_at(due, self._reply_timer_fired, due)
            return
        self._timer = None
        self._timed_out(self._reply_timeout)
