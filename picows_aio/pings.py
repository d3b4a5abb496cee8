"""Pings that were not answered yet."""

from __future__ import annotations

import asyncio
import secrets
import time

from picows_aio.exceptions import ConcurrencyError, ConnectionClosed, ProtocolError
from picows_aio.typing import DataLike

_MAX_PAYLOAD = 125  # bytes, RFC 6455 section 5.5
_MAX_UNANSWERED = 16  # pings that nobody waits for


class PendingPings:
    """The pings of one connection, in the order in which they were sent."""

    __slots__ = ("_pings",)

    def __init__(self) -> None:
        # payload: who waits for the answer, and when the ping was sent, in seconds
        self._pings: dict[bytes, tuple[asyncio.Future[float] | None, float]] = {}

    def choose_payload(self, data: bytes | None) -> bytes:
        """The payload of a new ping: what is asked for, or 4 random bytes.

        Args:
            data: The payload; None: random.

        Raises:
            ConcurrencyError: A ping with the same payload was not answered yet.
        """
        if data is None:
            data = secrets.token_bytes(4)
            while data in self._pings:
                data = secrets.token_bytes(4)
        elif data in self._pings:
            raise ConcurrencyError("already waiting for a pong with the same data")
        return data

    def add(self, payload: bytes, future: asyncio.Future[float] | None) -> None:
        """A ping is about to be sent; the future gets the latency in seconds.

        Args:
            payload: Its payload.
            future: Who waits for the answer. None: nobody does, and of such pings only the latest are remembered,
                because a peer may live for years and never answer.
        """
        if future is None:
            unanswered = [sent for sent, (waiting, _) in self._pings.items() if waiting is None]
            for sent in unanswered[: 1 - _MAX_UNANSWERED]:
                del self._pings[sent]
        self._pings[payload] = (future, time.monotonic())

    def answer(self, payload: bytes) -> float | None:
        """A pong answers the ping with its payload and all before it (RFC 6455 section 5.5.3).

        Args:
            payload: Payload of the pong.

        Returns:
            The latency in seconds; None: no such ping was sent.
        """
        if payload not in self._pings:
            return None
        now = time.monotonic()
        while True:
            pinged = next(iter(self._pings))
            future, sent_at = self._pings.pop(pinged)
            if future is not None and not future.done():
                future.set_result(now - sent_at)
            if pinged == payload:
                return now - sent_at

    def fail(self, error: ConnectionClosed) -> None:
        """The connection is gone."""
        for future, _ in self._pings.values():
            if future is not None and not future.done():
                future.set_exception(error)
                future.exception()  # nobody has to wait for a pong
        self._pings.clear()


def control_payload(data: DataLike) -> bytes:
    """The payload of a ping or pong.

    Args:
        data: A str or bytes-like object.

    Raises:
        TypeError: It is neither.
        ProtocolError: It has more than 125 bytes.
    """
    if isinstance(data, str):
        data = data.encode()
    elif not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError("data must be str or bytes-like")
    payload = bytes(data)
    if len(payload) > _MAX_PAYLOAD:
        raise ProtocolError("control frame too long")
    return payload
