"""Policies as values."""

import dataclasses
import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from picows_aio import SendPolicy


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"overflow": "drop"}, ValueError, "overflow must be one of 'block', 'drop_newest', 'latest', 'evict', not 'd"),
        ({"overflow": None}, ValueError, "overflow must be one of"),
        ({"max_bytes": 0}, ValueError, "max_bytes must be a positive number of bytes, not 0"),
        ({"max_bytes": -1}, ValueError, "max_bytes must be a positive number"),
        ({"max_bytes": 1.5}, TypeError, "max_bytes must be None or a number of bytes, not 1.5"),
        ({"max_bytes": True}, TypeError, "max_bytes must be None or a number"),
        ({"key": str}, ValueError, "key is for overflow='latest', not 'block'"),
        ({"overflow": "latest", "key": "symbol"}, TypeError, "key must be a function of a message, not 'symbol'"),
        ({"overflow": "latest", "hard_limit": 0}, ValueError, "hard_limit must be a positive number of bytes"),
        ({"overflow": "drop_newest", "hard_limit": 1}, ValueError, "hard_limit is for overflow='latest' or 'evict', n"),
        ({"overflow": "evict"}, ValueError, "overflow='evict' needs evict_after, the seconds"),
        ({"overflow": "latest", "evict_after": 1}, ValueError, "evict_after is for overflow='evict', not 'latest'"),
        ({"overflow": "evict", "evict_after": 0}, ValueError, "evict_after must be a positive number of seconds, not"),
        ({"overflow": "evict", "evict_after": float("nan")}, ValueError, "evict_after must be a positive number"),
        ({"overflow": "evict", "evict_after": float("inf")}, ValueError, "evict_after must be a positive number"),
        ({"overflow": "evict", "evict_after": "5"}, TypeError, "evict_after must be a number of seconds, not '5'"),
        (
            {"overflow": "evict", "evict_after": 1, "max_bytes": 100, "hard_limit": 99},
            ValueError,
            "hard_limit 99 is below max_bytes 100",
        ),
    ],
)
def test_policies_that_make_no_sense_are_refused(arguments: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        SendPolicy(**arguments)
    assert str(caught.value).startswith(text)


async def symbol_of(message: str) -> str:
    """A coroutine function, where a plain one belongs."""
    return message


class Symbol:
    """Callable in the same way."""

    __call__ = staticmethod(symbol_of)

    async def of(self, message: str) -> str:
        return message


class AsyncSymbol:
    """Its objects are coroutine functions in all but name."""

    async def __call__(self, message: str) -> str:
        return message


async def symbols_of(message: str) -> AsyncIterator[str]:
    """An asynchronous generator."""
    yield message


@pytest.mark.parametrize(
    "key",
    [symbol_of, functools.partial(symbol_of), Symbol().of, Symbol(), AsyncSymbol(), symbols_of],
    ids=["function", "partial", "method", "staticmethod", "object", "generator"],
)
def test_a_key_that_would_have_to_be_awaited_is_refused(key: Any) -> None:
    with pytest.raises(TypeError, match=r"^key must be a plain function, not a coroutine function: nobody would await"):
        SendPolicy("latest", key=key)


def test_a_policy_is_a_value() -> None:
    assert SendPolicy() == SendPolicy("block")
    assert {SendPolicy("latest", key=len), SendPolicy("latest", key=len)} == {SendPolicy("latest", key=len)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        SendPolicy().max_bytes = 1  # type: ignore[misc]
