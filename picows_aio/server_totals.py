"""What the connections of a server and their streams measure, added up; counters keep what ended ones counted."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from picows_aio.connection_stats import ConnectionStats
from picows_aio.protocol import State
from picows_aio.send_policy import PushStats

if TYPE_CHECKING:
    from picows_aio.lifecycle import Server
    from picows_aio.server import ServerConnection
    from picows_aio.stream_queue import StreamStats

_Combine = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a server.

    Attributes:
        name: Its name for metrics, which ends in the unit.
        text: What it tells.
        is_counter: Whether it never decreases; otherwise it is a gauge.
    """

    name: str
    text: str
    is_counter: bool


@dataclass(frozen=True, slots=True)
class ConnectionMeasure(Measure):
    """A number of the connections of a server."""

    value: Callable[[ConnectionStats, PushStats], float]
    combine: _Combine = operator.add


@dataclass(frozen=True, slots=True)
class StreamMeasure(Measure):
    """A number of the open streams of a server that have one policy."""

    value: Callable[[StreamStats], float]
    combine: _Combine = operator.add


_GAUGES = (
    ConnectionMeasure("connections", "Open connections", False, lambda stats, _: stats.state is State.OPEN),
    ConnectionMeasure(
        "messages_waiting",
        "Messages that came and were not received yet",
        False,
        lambda stats, _: stats.messages_waiting,
    ),
    ConnectionMeasure(
        "bytes_waiting", "Bytes of messages that were not received yet", False, lambda stats, _: stats.bytes_waiting
    ),
    ConnectionMeasure(
        "reading_paused",
        "Connections from which nothing is read",
        False,
        lambda stats, _: stats.is_reading_paused,
    ),
    ConnectionMeasure(
        "write_backlog_bytes", "Bytes that sockets have not taken yet", False, lambda stats, _: stats.write_backlog
    ),
    ConnectionMeasure(
        "latency_seconds",
        "Greatest latency of an open connection, by the last pong of each",
        False,
        lambda stats, _: stats.latency if stats.state is State.OPEN else 0.0,
        max,
    ),
    ConnectionMeasure(
        "push_messages_kept", "Pushed messages kept aside until clients keep up", False, lambda _, push: push.kept
    ),
    ConnectionMeasure("push_bytes_kept", "Bytes of pushed messages kept aside", False, lambda _, push: push.kept_bytes),
)
_COUNTERS = (
    ConnectionMeasure("frames_sent", "Frames sent", True, lambda stats, _: stats.frames_sent),
    ConnectionMeasure("frames_received", "Frames received", True, lambda stats, _: stats.frames_received),
    ConnectionMeasure("bytes_sent", "Bytes sent, frame headers included", True, lambda stats, _: stats.bytes_sent),
    ConnectionMeasure(
        "bytes_received", "Bytes received, frame headers included", True, lambda stats, _: stats.bytes_received
    ),
    ConnectionMeasure("pings_sent", "Pings sent", True, lambda stats, _: stats.pings_sent),
    ConnectionMeasure("pings_received", "Pings received", True, lambda stats, _: stats.pings_received),
    ConnectionMeasure("push_messages", "Messages pushed under a policy", True, lambda _, push: push.pushed),
    ConnectionMeasure(
        "push_messages_dropped", "Pushed messages dropped by their policy", True, lambda _, push: push.dropped
    ),
    ConnectionMeasure(
        "push_messages_replaced", "Pushed messages that newer ones replaced", True, lambda _, push: push.replaced
    ),
    ConnectionMeasure(
        "push_evictions", "Connections closed because clients did not keep up", True, lambda _, push: push.is_evicted
    ),
)
CONNECTION_MEASURES = (*_GAUGES, *_COUNTERS)

_STREAM_GAUGES = (
    StreamMeasure("stream_messages_waiting", "Messages that wait in streams", False, lambda stream: stream.depth),
    StreamMeasure("stream_bytes_waiting", "Bytes that wait in streams", False, lambda stream: stream.depth_bytes),
    StreamMeasure(
        "stream_messages_high_water",
        "Most messages that ever waited in one of the streams",
        False,
        lambda stream: stream.high_water,
        max,
    ),
    StreamMeasure(
        "stream_oldest_age_seconds",
        "Greatest age of a message that waits in a stream",
        False,
        lambda stream: stream.oldest_age or 0.0,
        max,
    ),
)
# In the order of Connection.stream_totals(), which has them of closed streams as well.
_STREAM_COUNTERS = tuple(
    Measure(f"stream_messages_{word}", f"Messages {word} by streams", True)
    for word in ("received", "delivered", "dropped", "filtered")
)
STREAM_MEASURES: tuple[Measure, ...] = (*_STREAM_GAUGES, *_STREAM_COUNTERS)


class Totals:
    """The measures of several connections together.

    Attributes:
        connections: Values by the names of the measures.
        streams: The same for the streams of each policy.
    """

    def __init__(self) -> None:
        self.connections = dict.fromkeys((measure.name for measure in CONNECTION_MEASURES), 0.0)
        self.streams: dict[str, dict[str, float]] = {}

    def add(self, connection: ServerConnection) -> None:
        """Add a connection as it is now."""
        stats = self._add_connection(connection, CONNECTION_MEASURES)
        for stream in stats.streams:
            totals = self._of_policy(stream.overflow)
            for measure in _STREAM_GAUGES:
                totals[measure.name] = measure.combine(totals[measure.name], measure.value(stream))

    def add_ended(self, connection: ServerConnection) -> None:
        """Add what a connection counted that will count no more."""
        self._add_connection(connection, _COUNTERS)

    def _add_connection(self, connection: ServerConnection, measures: Iterable[ConnectionMeasure]) -> ConnectionStats:
        stats, push = connection.stats(), connection.push_stats()
        for measure in measures:
            total = self.connections[measure.name]
            self.connections[measure.name] = measure.combine(total, measure.value(stats, push))
        for policy, counts in connection.stream_totals().items():
            totals = self._of_policy(policy)
            for counter, count in zip(_STREAM_COUNTERS, counts, strict=True):
                totals[counter.name] += count
        return stats

    def _of_policy(self, policy: str) -> dict[str, float]:
        if policy not in self.streams:
            self.streams[policy] = dict.fromkeys((measure.name for measure in STREAM_MEASURES), 0.0)
        return self.streams[policy]


class ServerTotals:
    """The measures of one server, since this was made. It knows no connection whose handler has ended.

    Args:
        server: The server.

    Attributes:
        server: The same.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._ended = Totals()
        server.call_when_ended(self._ended.add_ended)

    def read(self) -> Totals:
        """The totals as they are now; to be called in the event loop of the server, if that runs."""
        now = copy.deepcopy(self._ended)
        for connection in self.server.served:
            now.add(connection)
        return now
