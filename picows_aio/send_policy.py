"""What becomes of messages for a peer that does not keep up: the choices, and what came of them."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Hashable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, get_args

from picows_aio.arguments import check_plain_function

__all__ = ["Overflow", "PushOutcome", "PushStats", "SendPolicy"]

Overflow = Literal["block", "drop_newest", "latest", "evict"]


@dataclass(frozen=True, slots=True)
class SendPolicy:
    """What to do with a message while more than ``max_bytes`` wait to be sent on its connection.

    One policy may serve any number of connections.

    Args:
        overflow: ``"block"`` queues the message and says so, for the caller to wait. ``"drop_newest"`` drops it.
            ``"latest"`` keeps it aside, in place of the one with the same key, until the connection has drained.
            ``"evict"`` queues it, and closes the connection with 1013 once it was over the mark for ``evict_after``
            seconds.
        max_bytes: The mark in bytes; None: the high mark of the connection's ``write_limit``. A lower one lowers that
            limit of the connections that the policy is used with.
        key: For ``"latest"``: tells from a message which older one it replaces, for example the symbol of a quote. It
            is called with the message as it was pushed, only when that is kept aside, and returns a hashable object;
            None: all replace each other.
        evict_after: For ``"evict"``: seconds.
        hard_limit: Bytes. For ``"evict"``: when more than that wait, the next message evicts at once. For ``"latest"``:
            what is kept aside at most; beyond it the oldest is dropped, the newest never. A message counts 256 bytes
            more than its size. None: four times ``max_bytes``, at least 1 MiB.

    Raises:
        ValueError: An overflow that does not exist, a bound that is not positive, or an argument of another overflow.
        TypeError: An argument has another type.
    """

    overflow: Overflow = "block"
    _: KW_ONLY
    max_bytes: int | None = None
    key: Callable[[Any], Hashable] | None = None
    evict_after: float | None = None
    hard_limit: int | None = None

    def __post_init__(self) -> None:
        if self.overflow not in get_args(Overflow):
            choices = ", ".join(map(repr, get_args(Overflow)))
            raise ValueError(f"overflow must be one of {choices}, not {self.overflow!r}")
        _check_size("max_bytes", self.max_bytes)
        _check_size("hard_limit", self.hard_limit)
        self._check_use("key", "latest")
        self._check_use("evict_after", "evict")
        self._check_use("hard_limit", "latest", "evict")
        if self.key is not None and not callable(self.key):
            raise TypeError(f"key must be a function of a message, not {self.key!r}")
        check_plain_function("key", self.key)
        if self.overflow == "evict":
            self._check_eviction()

    def _check_use(self, name: str, *uses: str) -> None:
        if getattr(self, name) is not None and self.overflow not in uses:
            raise ValueError(f"{name} is for overflow={' or '.join(map(repr, uses))}, not {self.overflow!r}")

    def _check_eviction(self) -> None:
        after = self.evict_after
        if after is None:
            raise ValueError("overflow='evict' needs evict_after, the seconds that a connection may be over the mark")
        if isinstance(after, bool) or not isinstance(after, int | float):
            raise TypeError(f"evict_after must be a number of seconds, not {after!r}")
        if not (after > 0 and math.isfinite(after)):
            raise ValueError(f"evict_after must be a positive number of seconds, not {after!r}")
        if self.max_bytes is not None and self.hard_limit is not None and self.hard_limit < self.max_bytes:
            raise ValueError(f"hard_limit {self.hard_limit} is below max_bytes {self.max_bytes}")


def _check_size(name: str, size: object) -> None:
    if size is None:
        return
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"{name} must be None or a number of bytes, not {size!r}")
    if size <= 0:
        raise ValueError(f"{name} must be a positive number of bytes, not {size!r}")


class PushOutcome(enum.StrEnum):
    """What became of a message that was pushed to a connection."""

    SENT = "sent"
    """It was sent, or waits in the connection's queue."""

    OVER = "over"
    """The same, and more than ``max_bytes`` wait now. Go on after ``await connection.drained()``."""

    KEPT = "kept"
    """It is kept aside until the connection has drained."""

    REPLACED = "replaced"
    """The same, and an older message with the same key will not be sent."""

    DROPPED = "dropped"
    """It is not sent, because too much waits."""

    EVICTED = "evicted"
    """It is not sent, because the connection was over its hard limit and is being closed."""

    CLOSED = "closed"
    """The connection was not open; only of a broadcast."""

    FAILED = "failed"
    """An exception kept it from being sent; only of a broadcast."""


@dataclass(frozen=True, slots=True)
class PushStats:
    """Messages that were pushed to one connection under a policy, by what became of them.

    Attributes:
        sent: Sent, or waiting in the connection's queue.
        dropped: Not sent: by ``"drop_newest"``, over the hard limit, or kept aside when the connection was lost.
        replaced: Not sent, because a newer one with the same key was.
        kept: Kept aside now.
        kept_bytes: The size of these.
        is_evicted: Whether the connection was closed because its peer did not keep up.
    """

    sent: int = 0
    dropped: int = 0
    replaced: int = 0
    kept: int = 0
    kept_bytes: int = 0
    is_evicted: bool = False

    @property
    def pushed(self) -> int:
        """All messages that were accepted; the sum of the others."""
        return self.sent + self.dropped + self.replaced + self.kept
