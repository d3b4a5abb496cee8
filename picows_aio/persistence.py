"""How long to go on trying: delays between attempts, and the rules by which to give up."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator

from picows_aio.arguments import check_count, check_plain_function, check_seconds
from picows_aio.exceptions import WebSocketException


class SubscriptionFailed(WebSocketException):
    """A subscription gave up by one of its rules; the last error is its cause.

    Attributes:
        rule: The rule, in words.
        last_error: Why the last attempt failed or the last connection ended; None if no attempt has come to an end.
    """

    def __init__(self, rule: str, last_error: Exception | None) -> None:
        self.rule = rule
        self.last_error = last_error

    def __str__(self) -> str:
        last = "no attempt came to an end" if self.last_error is None else f"last error: {show_error(self.last_error)}"
        return f"gave up {self.rule}; {last}"


def show_error(error: Exception) -> str:
    """An exception in one line, with its class."""
    return traceback.format_exception_only(error)[0].strip()


class Persistence:
    """Decides after each failure whether to try again, and after how long.

    An attempt has failed unless its connection proved itself, so that a server that accepts and drops is not hammered.

    Args:
        process_exception: Returns None to try again, else an exception to raise.
        make_delays: Called for the delays in seconds, anew after each success.
        max_attempts: Failed attempts in a row after which to give up; None: no limit.
        give_up_after: Seconds of trying in a row after which to give up; None: no limit.

    Attributes:
        failed_attempts: How many attempts failed since a connection proved itself.
        last_error: What the latest failure was; also after a success.
        seconds_left: Seconds of trying that are left; None: no limit.
    """

    def __init__(
        self,
        process_exception: Callable[[Exception], Exception | None],
        make_delays: Callable[[], Iterator[float]],
        max_attempts: int | None,
        give_up_after: float | None,
    ) -> None:
        check_seconds("give_up_after", give_up_after)
        check_count("max_attempts", max_attempts)
        for name, function in (("process_exception", process_exception), ("reconnect_delays", make_delays)):
            if function is None:
                raise TypeError(f"{name} must be a function, not None: leave it out for the default")
            check_plain_function(name, function)
        self._process_exception = process_exception
        self._make_delays = make_delays
        self._delays: Iterator[float] | None = None
        self._max_attempts = max_attempts
        self._give_up_after = give_up_after
        self.failed_attempts = 0
        self.last_error: Exception | None = None
        self.seconds_left = give_up_after

    def succeeded(self) -> None:
        """A connection proved itself: all counts begin anew."""
        self._delays = None
        self.failed_attempts = 0
        self.seconds_left = self._give_up_after

    def spent(self, seconds: float) -> None:
        """So many seconds were spent trying."""
        if self.seconds_left is not None:
            self.seconds_left = max(0.0, self.seconds_left - seconds)

    def delay_after(self, error: Exception) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            SubscriptionFailed: A rule says to give up.
            Exception: The error is fatal, as ``process_exception`` says.
        """
        self.last_error = error
        fatal = self._process_exception(error)
        if fatal is error:
            raise error
        if fatal is not None:
            raise fatal from error
        if self.failed_attempts == self._max_attempts:
            raise self.give_up(f"after {self.failed_attempts} failed attempts (max_attempts={self._max_attempts})")
        if self._delays is None:
            self._delays = self._make_delays()
        delay = next(self._delays, None)
        if delay is None:
            raise self.give_up(f"after {self.failed_attempts} failed attempts (reconnect_delays has ended)")
        self.last_error = error.with_traceback(None)  # which would keep the connection alive, for as long as a gap
        return delay

    def give_up_in_time(self) -> SubscriptionFailed:
        """The exception to raise when no seconds are left."""
        return self.give_up(f"without a connection for {self._give_up_after:g} s (give_up_after)")

    def give_up(self, rule: str) -> SubscriptionFailed:
        """The exception to raise, with the last error as its cause."""
        failure = SubscriptionFailed(rule, self.last_error)
        failure.__cause__ = self.last_error
        return failure
