"""What became of a broadcast."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import NamedTuple

from picows_aio.connection import Connection
from picows_aio.send_policy import PushOutcome

__all__ = ["BroadcastReport", "SkippedConnection"]


class SkippedConnection(NamedTuple):
    """A connection that a broadcast left out.

    Attributes:
        connection: The connection.
        outcome: Why: DROPPED or EVICTED by its policy, CLOSED, or FAILED.
        exception: What failed: ConcurrencyError where a fragmented message is being sent, otherwise a RuntimeError with
            a cause. None for other outcomes.
    """

    connection: Connection
    outcome: PushOutcome
    exception: Exception | None = None


@dataclass(frozen=True, slots=True)
class BroadcastReport:
    """What became of a broadcast. Each connection is in one of `sent`, `kept` and `skipped`.

    Attributes:
        sent: How many connections took the message or queued it.
        kept: How many keep it aside until they have drained.
        replaced: How many of these will not send an older message.
        skipped: Those that do not get it, and why.
        over: Connections that have more than their mark waiting now.
    """

    sent: int
    kept: int
    replaced: int
    skipped: tuple[SkippedConnection, ...]
    over: tuple[Connection, ...]

    @property
    def evicted(self) -> tuple[Connection, ...]:
        """Connections that are being closed because they were over their hard limit."""
        return tuple(skip.connection for skip in self.skipped if skip.outcome is PushOutcome.EVICTED)

    async def drained(self, timeout: float | None = None) -> tuple[Connection, ...]:
        """Wait until the connections in `over` have drained or are closed.

        Args:
            timeout: Seconds; None: as long as it takes.

        Returns:
            Those that have not drained within the timeout.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for connection in self.over:
                    await connection.drained()
        return tuple(connection for connection in self.over if connection.is_writing_paused())
