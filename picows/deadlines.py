"""The time that connections have for something, kept by one timer for all of them."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_ON_TIME = 0.001  # seconds by which a timer may be early: the clocks of event loops differ in resolution


class Deadlines(Generic[T]):
    """What has a time that is the same for all, and whose time is over.

    A timer for each would cost as much as answering a request does. As all get the same time, they are due in the order
    in which they came.

    Args:
        loop: The event loop.
        seconds: The time.
        expired: Called with each whose time is over.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, expired: Callable[[T], None]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._expired = expired
        self._due: dict[T, float] = {}  # times of the loop, in order
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: T) -> None:
        """Its time begins."""
        self._due[item] = when = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(when, self._fire)

    def discard(self, item: T) -> None:
        """It needs no more time, or never had any."""
        self._due.pop(item, None)

    def _fire(self) -> None:
        now = self._loop.time() + _ON_TIME
        try:
            while self._due:
                item, when = next(iter(self._due.items()))
                if when > now:
                    break
                del self._due[item]
                self._expired(item)
        finally:
            due = next(iter(self._due.values()), None)
            self._timer = None if due is None else self._loop.call_at(due, self._fire)
