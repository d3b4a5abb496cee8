"""One message to many connections.

The module is not named `broadcast`: as an attribute of the package, that is the function.
"""

from __future__ import annotations

from collections.abc import Iterable

import picows
from picows_aio.broadcast_report import BroadcastReport, SkippedConnection
from picows_aio.connection import Connection
from picows_aio.deflate import SharedPayloads
from picows_aio.exceptions import ConcurrencyError
from picows_aio.protocol import State
from picows_aio.send_budget import SendBudget
from picows_aio.send_policy import PushOutcome, SendPolicy
from picows_aio.typing import DataLike

__all__ = ["broadcast"]

# For every connection: looking a member up in its enum takes longer than the rest.
_SENT = PushOutcome.SENT
_OVER = PushOutcome.OVER


def broadcast(
    connections: Iterable[Connection],
    message: DataLike,
    *,
    text: bool | None = None,
    raise_exceptions: bool = False,
    policy: SendPolicy | None = None,
) -> BroadcastReport:
    """Send a message to many connections, waiting for none of them.

    The message is encoded once, and connections without compression share one frame; with compression, servers compress
    it once for all connections that were sent the same before. A slow client delays nobody: what it does not take waits
    in memory, until keepalive drops it, or as its policy says. Connections that are not open are skipped.

    Args:
        connections: Connections, of servers or clients.
        message: A str is sent as text, bytes-like objects as binary.
        text: True sends bytes as text, False a str as binary.
        raise_exceptions: Raise what went wrong, after all connections had their turn, instead of logging it.
        policy: What to do where too much waits to be sent; None: what each connection has as `send_policy`.

    Returns:
        How many were sent the message, who was skipped, and whose queue is too long.

    Raises:
        TypeError: The message or the policy has another type; nothing was sent. Or one of the connections is none:
            those before it were sent the message, those after it were not.
        ExceptionGroup: With ``raise_exceptions``: one exception for each connection that was left out because it sends
            a fragmented message (ConcurrencyError), or whose send or whose policy's ``key`` failed (RuntimeError).
    """
    if not isinstance(message, str | bytes | bytearray | memoryview):
        raise TypeError("data must be str or bytes")
    if policy is not None and not isinstance(policy, SendPolicy):
        raise TypeError(f"policy must be a SendPolicy or None, not {type(policy).__name__}")
    delivery = _Delivery(message, isinstance(message, str) if text is None else text)
    report = delivery.deliver(connections, policy)
    _tell(report, raise_exceptions)
    return report


class _Delivery:
    """One message on its way to many connections."""

    def __init__(self, message: DataLike, is_text: bool) -> None:
        self._message = message
        self._msg_type = picows.WSMsgType.TEXT if is_text else picows.WSMsgType.BINARY
        self._payload = message.encode() if isinstance(message, str) else bytes(message)
        self._keyed: tuple[SendPolicy | None, object] = (None, None)
        self._compressed: SharedPayloads = {}
        self._sharing: list[Connection] = []  # of one frame
        self._transports: list[picows.WSTransport] = []  # theirs
        self._admitted: list[tuple[Connection, SendBudget]] = []
        self._sent = self._kept = self._replaced = 0
        self._skipped: list[SkippedConnection] = []
        self._unwritten: set[Connection] = set()  # of those that were admitted, or have no policy

    def deliver(self, connections: Iterable[Connection], policy: SendPolicy | None) -> BroadcastReport:
        """Send it, and tell what came of it."""
        try:
            self.offer(connections, policy)
        finally:  # also where one is no connection: what was admitted before it is written
            self.write()
            report = self.report()
        return report

    def offer(self, connections: Iterable[Connection], policy: SendPolicy | None) -> None:
        """Serve the connections that need a frame of their own; remember those that can share one."""
        share, add_transport = self._sharing.append, self._transports.append
        for connection in connections:
            try:  # costs nothing, unlike asking each for its type
                transport = connection.shareable_transport() if policy is None else None
            except AttributeError:
                raise _not_a_connection(connection) from None
            if transport is None:
                self._offer_one(connection, policy)
            else:
                share(connection)
                add_transport(transport)

    def write(self) -> None:
        """Write one frame to all connections that can share it."""
        result = picows.broadcast(self._transports, self._msg_type, self._payload)
        self._sent += result.sent
        if result.failed or result.skipped:
            by_transport = {
                id(transport): connection for transport, connection in zip(self._transports, self._sharing, strict=True)
            }
            for transport, exc in result.failed:
                self._fail_write(by_transport[id(transport)], exc)
            for transport in result.skipped:
                self._unwritten.add(connection := by_transport[id(transport)])
                self._skipped.append(SkippedConnection(connection, PushOutcome.CLOSED))

    def report(self) -> BroadcastReport:
        """Count what was written; only then it is known who is over the mark."""
        over = [
            connection
            for connection, budget in self._admitted
            if connection not in self._unwritten and budget.written() is _OVER
        ]
        return BroadcastReport(self._sent, self._kept, self._replaced, tuple(self._skipped), tuple(over))

    def _offer_one(self, connection: Connection, policy: SendPolicy | None) -> None:
        """What is not open, or has a policy, extensions or a fragmented message under way."""
        if not isinstance(connection, Connection):
            raise _not_a_connection(connection)
        if connection.state is not State.OPEN:
            self._skipped.append(SkippedConnection(connection, PushOutcome.CLOSED))
            return
        chosen = connection.send_policy if policy is None else policy
        if chosen is not None:
            if not self._is_admitted(connection, chosen):
                return
        elif connection.is_sending_fragments():
            self._fail(connection, ConcurrencyError("sending a fragmented message"))
            return
        if connection.protocol.extensions:
            self._send_alone(connection)
        else:
            self._sharing.append(connection)
            self._transports.append(connection.core_transport)

    def _is_admitted(self, connection: Connection, policy: SendPolicy) -> bool:
        """Whether the message is to be written; if not, what becomes of it is settled."""
        budget = connection.send_budget()
        try:
            outcome = budget.admit(policy, not connection.is_sending_fragments())
        except ConcurrencyError as exc:
            self._fail(connection, exc)
            return False
        if outcome is _SENT:
            self._admitted.append((connection, budget))
            return True
        if outcome is PushOutcome.KEPT:
            self._keep(connection, budget, policy)
        else:
            self._skipped.append(SkippedConnection(connection, outcome))
        return False

    def _keep(self, connection: Connection, budget: SendBudget, policy: SendPolicy) -> None:
        try:
            outcome = budget.keep(self._msg_type, self._payload, self._key_for(policy))
        except Exception as exc:  # of the policy's key function
            error = RuntimeError("the key of the send policy failed")
            error.__cause__ = exc
            self._fail(connection, error)
        else:
            self._kept += 1
            self._replaced += outcome is PushOutcome.REPLACED

    def _key_for(self, policy: SendPolicy) -> object:
        """Connections mostly share their policy: its key is asked for once."""
        if policy is not self._keyed[0]:
            self._keyed = (policy, None if policy.key is None else policy.key(self._message))
        return self._keyed[1]

    def _send_alone(self, connection: Connection) -> None:
        try:
            connection.send_shared(self._msg_type, self._payload, self._compressed)
            self._sent += 1
        except Exception as exc:  # an extension's own
            self._fail_write(connection, exc)

    def _fail_write(self, connection: Connection, exc: Exception) -> None:
        self._unwritten.add(connection)
        error = RuntimeError("failed to write message")
        error.__cause__ = exc
        self._fail(connection, error)

    def _fail(self, connection: Connection, exc: Exception) -> None:
        self._skipped.append(SkippedConnection(connection, PushOutcome.FAILED, exc))


def _not_a_connection(thing: object) -> TypeError:
    return TypeError(f"broadcast() takes connections, not {type(thing).__name__}")


def _tell(report: BroadcastReport, raise_exceptions: bool) -> None:
    """Raise or log what went wrong; what a policy chose to do is in the report."""
    failures = [(skip.connection, skip.exception) for skip in report.skipped if skip.exception is not None]
    if raise_exceptions and failures:
        raise ExceptionGroup("skipped broadcast", [exc for _, exc in failures])
    for connection, exc in failures:
        connection.logger.warning("skipped broadcast: %s", exc)
