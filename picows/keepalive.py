"""Auto ping: finding out that a connection died silently."""

import asyncio
import time
from collections.abc import Callable

from picows.enums import WSAutoPingStrategy
from picows.options import ConnectionOptions

_LAST_LOOKS = 2  # turns of the loop: the first may begin before sockets are polled
_LAG_TOLERATED = 0.1  # share of the reply timeout by which our own loop may be late before the peer gets more time


class AutoPing:
    """Pings one connection; at any time exactly one timer runs: until the next ping is due, or until its answer is.

    A frame that arrives moves no timer: the idle timer looks at the time of the last read when it fires.
    """

    __slots__ = (
        "_idle_seconds", "_idle_timeout", "_is_periodical", "_is_reading_paused", "_loop", "_ping_sent", "_pinged_at",
        "_reply_timeout", "_send_ping", "_timed_out", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: ConnectionOptions,
        *,
        send_ping: Callable[[], bool],
        idle_seconds: Callable[[], float],
        is_reading_paused: Callable[[], bool],
        timed_out: Callable[[float], None],
    ) -> None:
        self._loop = loop
        self._idle_timeout = options.auto_ping_idle_timeout
        self._reply_timeout = options.auto_ping_reply_timeout
        self._is_periodical = options.auto_ping_strategy == WSAutoPingStrategy.PING_PERIODICALLY
        self._send_ping = send_ping
        self._idle_seconds = idle_seconds
        self._is_reading_paused = is_reading_paused
        self._timed_out = timed_out
        self._pinged_at = 0.0  # of the loop's clock, which may be coarse
        self._ping_sent = 0.0  # of a fine clock
        self._timer: asyncio.Handle | None = loop.call_later(self._idle_timeout, self._idle_timer_fired)

    def stop(self) -> None:
        """Send no more pings."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pong_received(self) -> float:
        """The peer answered; returns the seconds it took."""
        roundtrip = time.perf_counter() - self._ping_sent
        now = self._loop.time()
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
        self._ping_sent = time.perf_counter()
        self._pinged_at = self._loop.time()
        due = self._pinged_at + self._reply_timeout
        self._wait_for_reply(due)
        if not self._send_ping():
            self.stop()

    def _reply_timer_fired(self, due: float) -> None:
        now = self._loop.time()
        lag = now - due
        if self._is_reading_paused():
            # Nobody reads, so nobody can be found silent.
            self._wait_for_reply(now + self._reply_timeout)
        elif lag > self._reply_timeout * _LAG_TOLERATED:
            # It was our loop that stood still: the answer may wait in the kernel, unread.
            self._wait_for_reply(now + min(lag, self._reply_timeout))
        else:
            self._look_once_more(_LAST_LOOKS)

    def _wait_for_reply(self, due: float) -> None:
        self._timer = self._loop.call_at(due, self._reply_timer_fired, due)

    def _look_once_more(self, left: int) -> None:
        """Let the loop read what has arrived before the peer is judged: timers may run before sockets are looked at."""
        if left > 0:
            self._timer = self._loop.call_soon(self._look_once_more, left - 1)
            return
        self._timer = None
        self._timed_out(self._reply_timeout)
