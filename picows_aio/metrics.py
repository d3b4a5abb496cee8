"""Metrics of servers, connections and streams for ``prometheus-client``, the extra ``metrics``.

Nothing is counted for this: a collector reads the totals that exist when it is asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as exc:
    raise ImportError(
        "picows_aio.metrics needs the package prometheus-client: pip install 'picows-aio[metrics]'"
    ) from exc

from picows_aio.protocol import State

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
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LOOP_TIMEOUT = 10  # seconds that a collector in another thread waits for the event loop


class ServerCollector(Collector):
    """A collector for one server: ``REGISTRY.register(ServerCollector(server))``.

    Counters keep what connections and streams counted whose handlers have ended since the collector was made. It may be
    asked in any thread, and has the event loop of the server answer.

    Args:
        server: The server; it may be started later.
        labels: Labels of every metric, to tell servers apart.
        prefix: What the names of the metrics begin with.

    Raises:
        ValueError: The prefix or a label is no name for metrics, or the label is `overflow`, which those of streams
            have.
        TypeError: The value of a label is no str.
    """

    def __init__(self, server: Server, labels: Mapping[str, str] | None = None, prefix: str = "picows_server") -> None:
        self._server = server
        self._labels = dict(labels or {})
        self._prefix = prefix
        _check_names(prefix, self._labels)
        self._ended = _Totals()
        server.call_when_ended(self._add_ended)

    def collect(self) -> Iterable[Metric]:
        """Called by ``prometheus-client``: the metrics as they are now.

        Raises:
            TimeoutError: In another thread: the event loop of the server is blocked.
        """
        try:
            loop = self._server.get_loop()
        except RuntimeError:  # not started yet
            return self._collect()
        if _is_running_here(loop) or not loop.is_running():
            return self._collect()
        return asyncio.run_coroutine_threadsafe(self._collect_in_loop(), loop).result(_LOOP_TIMEOUT)

    async def _collect_in_loop(self) -> list[Metric]:
        return self._collect()

    def _collect(self) -> list[Metric]:
        now = self._ended.copy()
        stats = []
        for connection in self._server.served:
            stats.append(connection.stats())
            now.add(stats[-1], connection.stream_totals())
        open_count = sum(one.state is State.OPEN for one in stats)
        return [
            self._gauge("connections", "Open connections", open_count),
            *(self._gauge(name, text, sum(map(value, stats))) for name, (text, value) in _GAUGES.items()),
            *(self._counter(name, text, now.connections[name]) for name, (text, _) in _COUNTERS.items()),
            *self._stream_counters(now),
        ]

    def _add_ended(self, connection: ServerConnection) -> None:
        self._ended.add(connection.stats(), connection.stream_totals())

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        gauge = GaugeMetricFamily(f"{self._prefix}_{name}", text, labels=list(self._labels))
        gauge.add_metric(list(self._labels.values()), value)
        return gauge

    def _counter(self, name: str, text: str, value: int) -> CounterMetricFamily:
        counter = CounterMetricFamily(f"{self._prefix}_{name}", text, labels=list(self._labels))
        counter.add_metric(list(self._labels.values()), value)
        return counter

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

    def add(self, stats: ConnectionStats, streams: Mapping[str, Iterable[int]]) -> None:
        for name, (_, value) in _COUNTERS.items():
            self.connections[name] += value(stats)
        for policy, counts in streams.items():
            totals = self.streams.setdefault(policy, [0] * len(_STREAM_COUNTERS))
            for index, count in enumerate(counts):
                totals[index] += count

    def copy(self) -> _Totals:
        totals = _Totals()
        totals.connections = dict(self.connections)
        totals.streams = {policy: list(counts) for policy, counts in self.streams.items()}
        return totals


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _check_names(prefix: str, labels: Mapping[str, str]) -> None:
    """Refuse what `prometheus-client` would write down without being asked whether it can be read."""
    for what, name in (("prefix", prefix), *(("label", label) for label in labels)):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{what} must consist of letters, digits and underscores, not {name!r}")
    if "overflow" in labels:
        raise ValueError("the label 'overflow' tells the policy of streams: choose another name")
    for label, value in labels.items():
        if not isinstance(value, str):
            raise TypeError(f"label {label!r} must be a str, not {type(value).__name__}")
