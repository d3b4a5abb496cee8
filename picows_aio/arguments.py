"""Arguments that must be refused when they are given, because they would do harm much later."""

from __future__ import annotations

import inspect
import math


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


def check_function(name: str, function: object) -> None:
    """An argument can be called, or is None."""
    if function is not None and not callable(function):
        raise TypeError(f"{name} must be a function, not {function!r}")


def check_plain_function(name: str, function: object) -> None:
    """An argument can be called, or is None, and what it returns is not to be awaited: nobody would."""
    check_function(name, function)
    if _is_asynchronous(function) or _is_asynchronous(type(function).__call__):
        raise TypeError(f"{name} must be a plain function, not a coroutine function: nobody would await it")


def _is_asynchronous(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
