"""Metrics of servers, connections and streams for ``prometheus-client``, the extra ``metrics``.

Nothing is counted for this: a collector reads the totals that exist when it is asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as exc:
    raise ImportError(
        "picows_aio.metrics needs the package prometheus-client: pip install 'picows-aio[metrics]'"
    ) from exc

from picows_aio.server_totals import CONNECTION_MEASURES, STREAM_MEASURES, Measure, ServerTotals, Totals

if TYPE_CHECKING:
    from picows_aio.lifecycle import Server

__all__ = ["ServerCollector"]

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LOOP_TIMEOUT = 10  # seconds that a collector in another thread waits for the event loop


class ServerCollector(Collector):
    """A collector for a server, or several: ``REGISTRY.register(ServerCollector(server))``.

    Counters keep what connections and streams counted whose handlers have ended since the server was given to the
    collector. It may be asked in any thread, and has the event loop of each server answer.

    A registry takes a name once, whatever the labels: it refuses a second collector with the same prefix (ValueError,
    "Duplicated timeseries"). Give other servers to the first with :meth:`add`.

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
        _check_name("prefix", prefix)
        self._prefix = prefix
        self._label_names = tuple(labels or ())
        self._servers: dict[tuple[str, ...], ServerTotals] = {}  # by the values of their labels
        self.add(server, labels)

    def add(self, server: Server, labels: Mapping[str, str] | None = None) -> None:
        """Collect the metrics of another server, too.

        Args:
            server: The server; it may be started later.
            labels: Its labels: the names are those of the first server, and the values tell the two apart.

        Raises:
            ValueError: The names of the labels are others, another server has the same values, or the collector has
                this server already.
            TypeError: The value of a label is no str.
        """
        labels = labels or {}
        _check_labels(labels)
        if labels.keys() != set(self._label_names):
            expected = ", ".join(map(repr, self._label_names)) or "none"
            raise ValueError(f"servers of one collector have the same labels, here {expected}, not {list(labels)}")
        values = tuple(labels[name] for name in self._label_names)
        if values in self._servers:
            raise ValueError(f"another server of this collector has the labels {dict(labels)}: give each its own")
        if any(totals.server is server for totals in self._servers.values()):
            raise ValueError("the collector has this server already")
        self._servers[values] = ServerTotals(server)

    def describe(self) -> Iterable[Metric]:
        """Called by ``prometheus-client``, which refuses names that its registry has already."""
        return self._families([])

    def collect(self) -> Iterable[Metric]:
        """Called by ``prometheus-client``: the metrics as they are now.

        Raises:
            TimeoutError: In another thread: the event loop of a server is blocked.
        """
        return self._families([(values, _read(totals)) for values, totals in tuple(self._servers.items())])

    def _families(self, readings: list[tuple[tuple[str, ...], Totals]]) -> list[Metric]:
        """Each name once, with the values of all servers."""
        families: list[Metric] = []
        for measure in CONNECTION_MEASURES:
            family = self._family(measure, self._label_names)
            for values, totals in readings:
                family.add_metric(values, totals.connections[measure.name])
            families.append(family)
        for stream_measure in STREAM_MEASURES:
            family = self._family(stream_measure, (*self._label_names, "overflow"))
            for values, totals in readings:
                for policy, of_policy in sorted(totals.streams.items()):
                    family.add_metric((*values, policy), of_policy[stream_measure.name])
            families.append(family)
        return families

    def _family(self, measure: Measure, label_names: tuple[str, ...]) -> CounterMetricFamily | GaugeMetricFamily:
        kind = CounterMetricFamily if measure.is_counter else GaugeMetricFamily
        return kind(f"{self._prefix}_{measure.name}", measure.text, labels=label_names)


def _read(totals: ServerTotals) -> Totals:
    """Have the event loop of the server answer, unless it does not run, or runs here."""
    try:
        loop = totals.server.get_loop()
    except RuntimeError:  # not started yet
        return totals.read()
    if _is_running_here(loop) or not loop.is_running():
        return totals.read()
    return asyncio.run_coroutine_threadsafe(_read_in_loop(totals), loop).result(_LOOP_TIMEOUT)


async def _read_in_loop(totals: ServerTotals) -> Totals:
    return totals.read()


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _check_name(what: str, name: str) -> None:
    """Refuse what `prometheus-client` would write down without being asked whether it can be read."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{what} must consist of letters, digits and underscores, not {name!r}")


def _check_labels(labels: Mapping[str, str]) -> None:
    for label, value in labels.items():
        _check_name("label", label)
        if label == "overflow":
            raise ValueError("the label 'overflow' tells the policy of streams: choose another name")
        if not isinstance(value, str):
            raise TypeError(f"label {label!r} must be a str, not {type(value).__name__}")
