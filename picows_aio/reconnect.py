"""When ``async for connection in connect(...)`` tries again, and after how long."""

from __future__ import annotations

import random
from collections.abc import Generator

from picows_aio.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from picows_aio.settings import BACKOFF_FACTOR, BACKOFF_INITIAL_DELAY, BACKOFF_MAX_DELAY, BACKOFF_MIN_DELAY

__all__ = ["backoff", "process_exception"]

_RETRIED_STATUSES = frozenset({500, 502, 503, 504})


def process_exception(exc: Exception) -> Exception | None:
    """Decide whether connecting again can help: the default of ``process_exception=``.

    It can after errors of the network (OSError, TimeoutError, a handshake that broke off), after the statuses 500, 502,
    503 and 504, and after the end of a connection, however it ended. All else is fatal.

    Args:
        exc: Why connecting failed, or why a connection ended.

    Returns:
        None to connect again, or the exception to raise.
    """
    if isinstance(exc, OSError | TimeoutError | ConnectionClosed):
        return None
    if isinstance(exc, InvalidMessage) and isinstance(exc.__cause__, EOFError):
        return None
    if isinstance(exc, InvalidStatus) and exc.response.status_code in _RETRIED_STATUSES:
        return None
    return exc


def backoff(
    initial_delay: float = BACKOFF_INITIAL_DELAY,
    min_delay: float = BACKOFF_MIN_DELAY,
    max_delay: float = BACKOFF_MAX_DELAY,
    factor: float = BACKOFF_FACTOR,
) -> Generator[float]:
    """Delays between attempts to connect, in seconds: the default of ``connect(reconnect_delays=...)``.

    The first is random, so that the clients of a server that restarts do not all come back at once. The others grow.

    Args:
        initial_delay: The first delay is between zero and this.
        min_delay: The second delay.
        max_delay: No later delay exceeds this.
        factor: Each delay is this many times the one before.

    Yields:
        Seconds to wait before the next attempt, without end.
    """
    yield random.random() * initial_delay
    delay = min_delay
    while True:
        delay = min(delay, max_delay)
        yield delay
        delay *= factor


def jittered_backoff() -> Generator[float]:
    """The delays of :func:`backoff`, each times a random factor from a half to 1.

    Clients that lost their connections in one moment meet the server at different moments, at every attempt.

    Yields:
        Seconds to wait before the next attempt, without end.
    """
    for delay in backoff():
        yield delay * random.uniform(0.5, 1)
