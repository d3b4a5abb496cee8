"""One message to many connections.

The module is not named `broadcast`: as an attribute of the package, that is the function.
"""

from __future__ import annotations

from collections.abc import Iterable

import picows
from picows_aio.connection import Connection
from picows_aio.exceptions import ConcurrencyError
from picows_aio.protocol import State
from picows_aio.typing import BytesLike, DataLike

__all__ = ["broadcast"]


def broadcast(
    connections: Iterable[Connection], message: DataLike, *, text: bool | None = None, raise_exceptions: bool = False
) -> None:
    """Send a message to many connections, waiting for none of them.

    The message is encoded once, and connections without compression share one frame. A slow client delays nobody: what
    it does not take waits in memory, until keepalive drops it. Connections that are not open are skipped.

    Args:
        connections: Connections, of servers or clients.
        message: A str is sent as text, bytes-like objects as binary.
        text: True sends bytes as text, False a str as binary.
        raise_exceptions: Raise what went wrong, after all connections had their turn, instead of logging it.

    Raises:
        TypeError: The message has another type.
        ExceptionGroup: With ``raise_exceptions``: one exception for each connection that was left out because it sends
            a fragmented message (ConcurrencyError), or whose send failed (RuntimeError).
    """
    if not isinstance(message, str | bytes | bytearray | memoryview):
        raise TypeError("data must be str or bytes")
    is_text = isinstance(message, str) if text is None else text
    msg_type = picows.WSMsgType.TEXT if is_text else picows.WSMsgType.BINARY
    payload = message.encode() if isinstance(message, str) else bytes(message)
    plain, failures = _sort(connections, msg_type, payload)
    result = picows.broadcast([connection.core_transport for connection in plain], msg_type, payload)
    by_transport = {id(connection.core_transport): connection for connection in plain}
    for transport, exc in result.failed:
        error = RuntimeError("failed to write message")
        error.__cause__ = exc
        failures.append((by_transport[id(transport)], error))
    _report(failures, raise_exceptions)


_Failures = list[tuple[Connection, Exception]]


def _sort(
    connections: Iterable[Connection], msg_type: picows.WSMsgType, payload: BytesLike
) -> tuple[list[Connection], _Failures]:
    """Serve the connections that need a frame of their own; return those that can share one."""
    plain: list[Connection] = []
    failures: _Failures = []
    for connection in connections:
        if connection.state is not State.OPEN:
            continue
        if connection.is_sending_fragments():
            failures.append((connection, ConcurrencyError("sending a fragmented message")))
        elif connection.protocol.extensions:
            try:
                connection.send_nowait(msg_type, payload)
            except Exception as exc:  # an extension's own
                error = RuntimeError("failed to write message")
                error.__cause__ = exc
                failures.append((connection, error))
        else:
            plain.append(connection)
    return plain, failures


def _report(failures: _Failures, raise_exceptions: bool) -> None:
    if raise_exceptions and failures:
        raise ExceptionGroup("skipped broadcast", [exc for _, exc in failures])
    for connection, exc in failures:
        connection.logger.warning("skipped broadcast: %s", exc)
