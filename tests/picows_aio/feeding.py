"""Messages straight into a connection, as one read brings them, and what waits out of it without the event loop."""

from collections.abc import Coroutine, Iterable
from typing import Any

from picows_aio import ServerConnection
from picows_aio.asyncio.connection import Connection
from tests.picows_aio.pairs import feed
from tests.support import BINARY, CONTINUATION, TEXT, encode_frame

_KEY = b"1234"


class NothingWaitsError(Exception):
    """A receiver would have to wait."""


def key_of(connection: Connection) -> bytes | None:
    """The masking key of frames for this connection, None where they are not masked."""
    return _KEY if isinstance(connection, ServerConnection) else None


def wire(connection: Connection, *messages: str | bytes, parts: int = 1) -> bytes:
    """The frames of messages, each in so many fragments."""
    return b"".join(frame for message in messages for frame in _frames(connection, message, parts))


def _frames(connection: Connection, message: str | bytes, parts: int) -> Iterable[bytes]:
    opcode = TEXT if isinstance(message, str) else BINARY
    payload = message.encode() if isinstance(message, str) else message
    size = -(-len(payload) // parts)
    for part in range(parts):
        piece = payload[part * size : (part + 1) * size]
        yield encode_frame(CONTINUATION if part else opcode, piece, fin=part == parts - 1, key=key_of(connection))


def feed_messages(connection: Connection, *messages: str | bytes, parts: int = 1) -> None:
    """Give the connection messages that one read brings."""
    feed(connection, wire(connection, *messages, parts=parts))


def take_now(receiving: Coroutine[Any, Any, Any]) -> Any:
    """The result of a receiver that has not to wait.

    Raises:
        NothingWaitsError: It has to.
    """
    try:
        receiving.send(None)
    except StopIteration as stop:
        return stop.value
    receiving.close()
    raise NothingWaitsError


def all_waiting(source: Any) -> list[Any]:
    """What can be taken of a stream, or of another asynchronous iterator, without waiting."""
    taken = []
    while True:
        try:
            taken.append(take_now(source.__anext__()))
        except (NothingWaitsError, StopAsyncIteration):
            return taken
