"""What a connection is made from: the settings of one opening handshake, and the state others look at."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import picows
from picows_aio.protocol import State
from picows_aio.settings import MAX_BODY_SIZE, MAX_LINE_LENGTH, MAX_NUM_HEADERS

if TYPE_CHECKING:
    from picows_aio.extensions.base import Extension
    from picows_aio.typing import LoggerLike, Subprotocol

HEAD_LIMITS = picows.HeadLimits(
    max_line_size=MAX_LINE_LENGTH,
    max_header_count=MAX_NUM_HEADERS,
    max_head_size=max(32768, MAX_LINE_LENGTH),
    max_body_size=MAX_BODY_SIZE,
)
"""Bounds on requests and responses of the opening handshake."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class Session:
    """The ``protocol`` argument of connection classes and of ``create_connection`` factories.

    Attributes:
        logger: Where the connection logs.
        max_size: Bytes of a message, after decompression; None: no limit.
        max_fragments: Fragments of a message; None: their memory is bounded instead of their number.
        state: Where the connection is in its life (RFC 6455 section 7.1).
        subprotocol: Negotiated during the opening handshake.
        extensions: Negotiated during the opening handshake, in the order of the header.
    """

    logger: LoggerLike
    max_size: int | None
    max_fragments: int | None = None
    state: State = State.CONNECTING
    subprotocol: Subprotocol | None = None
    extensions: Sequence[Extension] = ()
    _id: uuid.UUID | None = None

    @property
    def id(self) -> uuid.UUID:
        """A random identifier, made when it is first asked for."""
        if self._id is None:
            self._id = uuid.uuid4()
        return self._id


def split_max_size(max_size: int | tuple[int | None, int | None] | None) -> tuple[int | None, int | None]:
    """The limits of messages and of fragments that ``max_size`` stands for, in bytes.

    Raises:
        ValueError, TypeError: Neither None, a positive integer, nor a pair of these.
    """
    message, fragment = max_size if isinstance(max_size, tuple) else (max_size, None)
    for limit in (message, fragment):
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
            raise TypeError(f"max_size must be None, a number of bytes or a pair of them, not {max_size!r}")
        if limit is not None and limit <= 0:
            raise ValueError(f"max_size must be positive, not {max_size!r}")
    return message, fragment


def check_flow_limits(max_queue: object, write_limit: object) -> None:
    """Check the limits that connections only see when they are opened.

    Raises:
        ValueError, TypeError: One of them is neither a number, nor None where that is allowed, nor a pair of these.
    """
    _check_marks("max_queue", max_queue)
    if write_limit is None:
        raise TypeError("write_limit must be a number of bytes or a pair of them, not None")
    _check_marks("write_limit", write_limit)


def _check_marks(name: str, limit: object) -> None:
    high, low = limit if isinstance(limit, tuple) else (limit, None)
    for mark in (high, low):
        if mark is not None and (isinstance(mark, bool) or not isinstance(mark, int)):
            raise TypeError(f"{name} must be a number or a pair of numbers, not {limit!r}")
    if (high is not None and not (low or 0) <= high) or (low is not None and low < 0):
        raise ValueError(f"{name} must be a number of 0 or more, or (high, low) with 0 <= low <= high, not {limit!r}")


def frame_limit(message: int | None, fragment: int | None) -> int | None:
    """Bytes that one frame may have: no frame may be larger than its message."""
    limits = [limit for limit in (message, fragment) if limit is not None]
    return min(limits) if limits else None


class ConnectionLogger(logging.LoggerAdapter[Any]):
    """Adds ``websocket`` to every record, so that formatters can tell connections apart."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Called by logging: keep the ``extra`` of the call beside ours."""
        extra = {**(self.extra or {}), **kwargs.get("extra", {})}
        return msg, {**kwargs, "extra": extra}
