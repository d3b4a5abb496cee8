"""Arguments that must be refused when they are given, because they would do harm much later."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable


def check_seconds(name: str, value: float | None) -> None:
    """An argument is a number of seconds that can pass, or None."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, or None, not {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be more than 0 seconds and finite, or None, not {value!r}")


def check_count(name: str, value: int | None) -> None:
    """An argument is a number of things, at least one, or None."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, or None, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, or None, not {value!r}")


def check_plain(name: str, callback: Callable[..., object] | None) -> None:
    """Not a coroutine function: its coroutines would never be awaited."""
    if inspect.iscoroutinefunction(callback):
        raise TypeError(f'{name} must be a plain function: nobody awaits it. With gaps="yield" the loop can')
