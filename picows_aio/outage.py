"""Outages: from the end of one connection of a subscription until the next is open."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from picows_aio.arguments import check_plain_function
from picows_aio.persistence import show_error
from picows_aio.typing import LoggerLike


@dataclass(frozen=True, slots=True)
class Gap:
    """Between two connections of a subscription: messages may be missing.

    What is missing begins after the last message that was received. That may be long before ``lost_at``, where the
    network was down and nobody could know.

    Attributes:
        reason: Why the connection ended: a ConnectionClosed or a StaleError.
        lost_at: When the iteration met the end, having handed out all that came before; seconds as of ``time.time()``.
        restored_at: When the next connection was open and ``on_open`` had returned; likewise.
        duration: Seconds between the two, by a clock that nobody sets.
        attempts: Attempts that it took, the successful one included.
    """

    reason: Exception
    lost_at: float
    restored_at: float
    duration: float
    attempts: int


class Outages:
    """Counts gaps and tells of them.

    Args:
        name: Whose gaps they are, for the log.
        logger: Where they are logged.
        level: Level at which they are.
        on_gap: Called with each.

    Attributes:
        count: How many there were.
    """

    def __init__(self, name: str, logger: LoggerLike, level: int, on_gap: Callable[[Gap], object] | None) -> None:
        check_plain_function("on_gap", on_gap)
        self.count = 0
        self._name = name
        self._logger = logger
        self._level = level
        self._on_gap = on_gap
        self._reason: Exception | None = None  # of the outage that lasts
        self._lost_at = 0.0  # as of time.time()
        self._began_at = 0.0  # as of time.monotonic()
        self._attempts = 0

    def begin(self, reason: Exception) -> None:
        """A connection was lost."""
        self._reason = reason
        self._lost_at = time.time()
        self._began_at = time.monotonic()
        self._attempts = 0

    def attempt(self) -> None:
        """An attempt to connect begins."""
        self._attempts += 1

    def end(self) -> Gap | None:
        """There is a connection; the gap, unless it is the first connection."""
        if self._reason is None:
            return None
        duration = time.monotonic() - self._began_at
        gap = Gap(self._reason, self._lost_at, time.time(), duration, self._attempts)
        self._reason = None
        self.count += 1
        self._logger.log(
            self._level,
            "%s: messages may be missing, there was no connection for %.1f s after %s",
            self._name,
            duration,
            show_error(gap.reason),
        )
        return gap

    def tell(self, gap: Gap) -> None:
        """Call ``on_gap``."""
        if self._on_gap is not None:
            self._on_gap(gap)
