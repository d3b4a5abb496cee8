"""Metrics of servers, connections and streams for ``prometheus-client``, the extra ``metrics``.

Nothing is counted for this: a collector reads the totals that exist when it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as exc:
    raise ImportError(
        "picows_aio.metrics needs the package prometheus-client: pip install 'picows-aio[metrics]'"
    ) from exc

if TYPE_CHECKING:
    from picows_aio.connection_stats import ConnectionStats
    from picows_aio.lifecycle import Server
    from picows_aio.server import ServerConnection

__all__ = ["ServerCollector"]

_GAUGES: dict[str, tuple[str, Callable[[ConnectionStats], float]]] = {
    "messages_waiting": ("Messages that came and were not received yet", lambda stats: stats.messages_waiting),
    "bytes_waiting": ("Bytes of messages that were not received yet", lambda stats: stats.bytes_waiting),
    "reading_paused": ("Connections from which nothing is read", lambda stats: stats.is_reading_paused),
    "write_backlog_bytes": ("Bytes that sockets have not taken yet", lambda stats: stats.write_backlog),
}
_COUNTERS: dict[str, tuple[str, Callable[[ConnectionStats], int]]] = {
    "frames_sent": ("Frames sent", lambda stats: stats.frames_sent),
    "frames_received": ("Frames received", lambda stats: stats.frames_received),
    "bytes_sent": ("Bytes sent, frame headers included", lambda stats: stats.bytes_sent),
    "bytes_received": ("Bytes received, frame headers included", lambda stats: stats.bytes_received),
}
_STREAM_COUNTERS = ("received", "delivered", "dropped", "filtered")


class ServerCollector(Collector):
    """A collector for one server: ``REGISTRY.register(ServerCollector(server))``.

    Counters keep what connections and streams counted that have ended since the collector was made.

    Args:
        server: The server; it may be started later.
        labels: Labels of every metric, to tell servers apart.
        prefix: What the names of the metrics begin with.
    """

    def __init__(self, server: Server, labels: Mapping[str, str] | None = None, prefix: str = "picows_server") -> None:
        self._server = server
        self._labels = dict(labels or {})
        self._prefix = prefix
        self._ended = _Totals()
        server.call_when_ended(self._ended.add)

    def collect(self) -> Iterator[Metric]:
        """Called by ``prometheus-client``: the metrics as they are now."""
        now = self._ended.copy()
        stats = [connection.stats() for connection in self._server.connections]
        for connection in self._server.connections:
            now.add(connection)
        yield self._gauge("connections", "Open connections", len(stats))
        for name, (text, value) in _GAUGES.items():
            yield self._gauge(name, text, sum(map(value, stats)))
        for name, (text, _) in _COUNTERS.items():
            counter = CounterMetricFamily(f"{self._prefix}_{name}", text, labels=list(self._labels))
            counter.add_metric(list(self._labels.values()), now.connections[name])
            yield counter
        yield from self._stream_counters(now)

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        gauge = GaugeMetricFamily(f"{self._prefix}_{name}", text, labels=list(self._labels))
        gauge.add_metric(list(self._labels.values()), value)
        return gauge

    def _stream_counters(self, now: _Totals) -> Iterator[CounterMetricFamily]:
        for index, name in enumerate(_STREAM_COUNTERS):
            counter = CounterMetricFamily(
                f"{self._prefix}_stream_messages_{name}",
                f"Messages {name} by streams",
                labels=[*self._labels, "overflow"],
            )
            for policy, counts in sorted(now.streams.items()):
                counter.add_metric([*self._labels.values(), policy], counts[index])
            yield counter


class _Totals:
    """What connections and their streams counted, added up."""

    def __init__(self) -> None:
        self.connections = dict.fromkeys(_COUNTERS, 0)
        self.streams: dict[str, list[int]] = {}

    def add(self, connection: ServerConnection) -> None:
        stats = connection.stats()
        for name, (_, value) in _COUNTERS.items():
            self.connections[name] += value(stats)
        for policy, counts in connection.stream_totals().items():
            totals = self.streams.setdefault(policy, [0] * len(_STREAM_COUNTERS))
            for index, count in enumerate(counts):
                totals[index] += count

    def copy(self) -> _Totals:
        totals = _Totals()
        totals.connections = dict(self.connections)
        totals.streams = {policy: list(counts) for policy, counts in self.streams.items()}
        return totals
