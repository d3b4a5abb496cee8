"""What this package promises: ratios to other contenders, and absolute figures, each met or not in a measurement."""

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite.figures import Ratio, compare
from suite.measure import AGAIN

BOTH = ("asyncio", "uvloop")
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """A floor under the ratio of two contenders of a case.

    Attributes:
        scenario: Name of the scenario.
        ours: The contender that should be faster.
        peer: The one it is compared with.
        floor: The ratio to reach.
        labels: How the labels of the cases end that it is for; empty: all.
        loops: Event loops it is for.
    """

    scenario: str
    ours: str
    peer: str
    floor: float
    labels: tuple[str, ...] = ()
    loops: tuple[str, ...] = BOTH

    def is_for(self, result: Result) -> bool:
        label = result["label"]
        return (
            result["scenario"] == self.scenario
            and result["loop"] in self.loops
            and (not self.labels or label.endswith(self.labels))
        )


@dataclass(frozen=True)
class Limit:
    """An upper bound of an absolute figure; a target as above otherwise."""

    scenario: str
    ours: str
    most: float
    unit: str
    label: str


def _by_loop(scenario: str, ours: str, peer: str, asyncio: float, uvloop: float, *labels: str) -> tuple[Target, Target]:
    return (
        Target(scenario, ours, peer, asyncio, labels, ("asyncio",)),
        Target(scenario, ours, peer, uvloop, labels, ("uvloop",)),
    )


def _by_label(scenario: str, ours: str, peer: str, floors: Mapping[str, float]) -> Iterator[Target]:
    for label, floor in floors.items():
        yield Target(scenario, ours, peer, floor, (label,))


PYPI, DROP_IN, ORIGINAL = "PyPI core", "picows.websockets", "websockets"
SMALL = ("16 B", "256 B")
MET, MISSED, UNKNOWN = "met", "not met", "lost in noise"
NOT_WORSE, WORSE, UNTOLD = "not worse", "worse", "not told apart"
AWAKE, USUAL = "CPUs kept awake", "usual"
TARGETS = (
    Target("roundtrip", "core", PYPI, 1.04, SMALL),
    *_by_loop("roundtrip", "aio", DROP_IN, 1.07, 1.04, *SMALL),
    *_by_loop("roundtrip", "aio", ORIGINAL, 1.35, 1.28, *SMALL),
    *_by_label("busy_poll", "core busy_poll", PYPI, {AWAKE: 1.3, USUAL: 2.2}),
    *_by_label("busy_poll", "aio busy_poll", DROP_IN, {AWAKE: 1.7, USUAL: 2.0}),
    *_by_label("busy_poll", "aio busy_poll", ORIGINAL, {AWAKE: 2.6, USUAL: 3.0}),
    *_by_label("roundtrip_large", "core", PYPI, {"128 KiB": 1.12, "512 KiB": 1.2, "1 MiB": 1.15}),
    *_by_label("roundtrip_large", "aio", DROP_IN, {"128 KiB": 1.12, "512 KiB": 1.2, "1 MiB": 1.15}),
    *_by_label("roundtrip_large", "aio", ORIGINAL, {"128 KiB": 1.45, "512 KiB": 1.4, "1 MiB": 1.35}),
    Target("tls", "core", PYPI, 1.03),
    Target("tls", "core aiofastnet", PYPI, 1.03),
    Target("tls", "aio", DROP_IN, 1.05),
    Target("tls", "aio aiofastnet", DROP_IN, 1.05),
    Target("tls", "aio", ORIGINAL, 1.3),
    Target("clients_32", "core", PYPI, 1.06, (USUAL,)),
    *_by_loop("clients_32", "aio", DROP_IN, 1.15, 1.08, USUAL),
    Target("clients_32", "aio", ORIGINAL, 2.1, (USUAL,)),
    *_by_label("firehose", "core", PYPI, {"64 B": 1.4, "1 KiB": 1.1, "9 KiB": 1.4}),
    *_by_label("firehose", "aio", DROP_IN, {"64 B": 3, "1 KiB": 1.5, "9 KiB": 1.3}),
    Target("firehose", "aio", ORIGINAL, 35, ("64 B",)),
    Target("firehose", "aio batches()", PYPI, 2, ("64 B",)),
    Target("send", "core", PYPI, 1),
    Target("send", "core cork()", PYPI, 20),
    Target("send", "aio", DROP_IN, 20),
    Target("send", "aio", ORIGINAL, 35),
    Target("server_256", "core", PYPI, 1.07),
    *_by_loop("server_256", "aio", DROP_IN, 1.18, 1.1),
    Target("server_256", "aio", ORIGINAL, 2.1),
    Target("server_burst", "core coalesce", PYPI, 8),
    Target("server_burst", "aio", DROP_IN, 9),
    Target("server_burst", "aio", ORIGINAL, 18),
    Target("broadcast", "core", PYPI, 1.06),
    Target("broadcast", "aio", DROP_IN, 1.06),
    Target("broadcast", "aio", ORIGINAL, 1.4),
    Target("handshakes", "core", PYPI, 1.2),
    Target("handshakes", "aio", DROP_IN, 1.6),
    Target("handshakes", "aio", ORIGINAL, 2.5),
    *(
        target
        for scenario in ("deflate_client", "deflate_server")
        for peer, floors in ((DROP_IN, {"1 KiB": 1.3, "64 KiB": 4}), (ORIGINAL, {"1 KiB": 1.6, "64 KiB": 4}))
        for target in _by_label(scenario, "aio", peer, floors)
    ),
    *(
        Target(scenario, "aio engine=isal", DROP_IN, 1.3, ("1 KiB",))
        for scenario in ("deflate_client", "deflate_server")
    ),
    Target("roundtrip", "aio async for", "core", 0.95),
    Target("clients_32", "aio", "core", 0.88, (AWAKE,)),
    Target("firehose", "aio", "core", 1),
)
LIMITS = (
    Limit("idle", "core", 5, "KiB", "no compression"),
    Limit("idle", "aio", 7, "KiB", "no compression"),
    Limit("idle", "aio", 9, "KiB", "deflate"),
    Limit("peak_memory", "core", 17, "MiB", "16 MiB"),
    Limit("peak_memory", "aio", 17, "MiB", "16 MiB"),
)
LEAST_ABOVE = 10  # latencies above a percentile that is worth telling
HEADERS = (
    *("scenario", "case", "loop", "pair", "target"),
    *("medians", "pairs, 95 %", "A/A ±", "CPU", "instructions, calls", ""),
)


def summary(rows: Sequence[Sequence[str]]) -> str:
    """How many lines of the table are as they should be, and how many nobody can tell."""
    count = Counter(row[-1] for row in rows)
    targets = count[MET] + count[UNKNOWN] + count[MISSED]
    return (
        f"{count[MET]} of {targets} targets are met, {count[UNKNOWN]} are lost in noise, {count[MISSED]} are not met; "
        f"of {count[NOT_WORSE] + count[WORSE] + count[UNTOLD]} comparisons of latencies and of sizes "
        f"{count[WORSE]} are worse, {count[NOT_WORSE]} are not, and {count[UNTOLD]} cannot be told apart"
    )


def percentile(samples: Mapping[str, Any], name: str) -> list[float] | None:
    """A high percentile of each round, "p99" or "p999"; None where fewer than ten latencies of a round are above it."""
    above = {"p50": 0.5, "p99": 0.01, "p999": 0.001}[name] * min(samples.get("bursts") or [0])
    values: list[float] | None = samples["latencies"].get(name)
    return values if above >= LEAST_ABOVE else None


def noise(result: Result, latency: str = "") -> float | None:
    """The half-width of the A/A run of this case, for its values or for a percentile; None: there was none."""
    contenders = result["contenders"]
    for name, samples in contenders.items():
        if name.endswith(AGAIN) and (first := contenders.get(name.removesuffix(AGAIN))):
            pair = [percentile(each, latency) if latency else each["values"] for each in (samples, first)]
            return compare(*pair).half_width if None not in pair else None
    return None


def rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """The table of targets, as far as the results go; its columns are HEADERS."""
    found = [row for target in TARGETS for row in _ratio_rows(target, results)]
    found += [row for limit in LIMITS for row in _limit_rows(limit, results)]
    return [*found, *_sweep_rows(results), *_latency_rows(results)]


def _ratio_rows(target: Target, results: Iterable[Result]) -> Iterator[tuple[str, ...]]:
    for result in filter(target.is_for, results):
        contenders = result["contenders"]
        if target.ours not in contenders or target.peer not in contenders:
            continue
        ratio = compare(contenders[target.ours]["values"], contenders[target.peer]["values"])
        uncertainty = noise(result)
        cpu = [statistics.median(contenders[name]["cpu_us"]) for name in (target.ours, target.peer)]
        yield (
            *(target.scenario, result["label"], result["loop"], f"{target.ours} / {target.peer}"),
            *(f"≥ {target.floor:g}", f"{ratio.of_medians:.2f}"),
            f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
            "" if uncertainty is None else f"{uncertainty:.2f}",
            f"{cpu[1] / cpu[0]:.2f}",
            _compare_counts(result, target.ours, target.peer),
            _verdict(ratio, uncertainty, target.floor),
        )


def total_calls(counts: Mapping[str, Any]) -> float:
    """System calls of one operation."""
    return float(sum(counts["system_calls"].values()))


def _compare_counts(result: Result, ours: str, peer: str) -> str:
    """Times the instructions, and times the system calls, that the peer makes; "" or "-" where they are not known."""
    counts = result.get("counts", {})
    if ours not in counts or peer not in counts:
        return ""
    mine, others = counts[ours], counts[peer]
    known = "instructions" in mine and "instructions" in others
    instructions = f"{others['instructions'] / mine['instructions']:.2f}" if known else "-"
    return f"{instructions}, {total_calls(others) / total_calls(mine):.3g}"


def _verdict(ratio: Ratio, uncertainty: float | None, floor: float) -> str:
    """Whether the floor is reached; noise can forbid to say so."""
    if uncertainty is None or ratio.low - uncertainty < floor <= ratio.high + uncertainty:
        return UNKNOWN
    return MET if ratio.low - uncertainty >= floor else MISSED


def _compared(ratio: Ratio, uncertainty: float | None) -> str:
    """The same for two that should not differ, in other words."""
    return {MET: NOT_WORSE, MISSED: WORSE, UNKNOWN: UNTOLD}[_verdict(ratio, uncertainty, 1)]


def _limit_rows(limit: Limit, results: Iterable[Result]) -> Iterator[tuple[str, ...]]:
    for result in results:
        samples = result["contenders"].get(limit.ours)
        if (result["scenario"], result["label"]) != (limit.scenario, limit.label) or samples is None:
            continue
        values = samples["values"]
        yield (
            *(limit.scenario, result["label"], result["loop"], limit.ours, f"≤ {limit.most:g} {limit.unit}"),
            *(f"{statistics.median(values):.1f}", f"{min(values):.1f} to {max(values):.1f}", "", "", ""),
            MET if max(values) <= limit.most else MISSED,
        )


def _sweep_rows(results: Iterable[Result]) -> Iterator[tuple[str, ...]]:
    """Bytes per second must not be fewer than those of any smaller size."""
    best: dict[tuple[str, ...], Result] = {}
    for result in (each for each in results if each["metric"] == "bytes"):
        for ours in ("core", "aio"):
            key = (result["scenario"], result["loop"], ours)
            if ours not in result["contenders"]:
                continue
            values = result["contenders"][ours]["values"]
            before = best.get(key)
            if before is None or statistics.median(values) > statistics.median(before["contenders"][ours]["values"]):
                best[key] = result
            if before is None:
                continue
            ratio = compare(values, before["contenders"][ours]["values"])
            uncertainty = noise(result)
            yield (
                *(result["scenario"], f"{before['label']} to {result['label']}", result["loop"], ours, "does not fall"),
                *(f"{ratio.of_medians:.2f}", f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"),
                *("" if uncertainty is None else f"{uncertainty:.2f}", "", ""),
                _compared(ratio, uncertainty),
            )


def _latency_rows(results: Iterable[Result]) -> Iterator[tuple[str, ...]]:
    """High percentiles no worse than those of the best peer, in paired rounds."""
    for result in results:
        contenders = result["contenders"]
        for ours in ("core", "aio"):
            for name, words in (("p99", "p99"), ("p999", "p99.9")):
                taken = {
                    peer: values
                    for peer in (ours, PYPI, DROP_IN, ORIGINAL, "aiohttp")
                    if peer in contenders and (values := percentile(contenders[peer], name))
                }
                best = min(set(taken) - {ours}, key=lambda peer: statistics.median(taken[peer]), default=None)
                if ours not in taken or best is None:
                    continue
                ratio, uncertainty = compare(taken[best], taken[ours]), noise(result, name)
                yield (
                    *(result["scenario"], result["label"], result["loop"], f"{words}: {best} / {ours}", "≥ 1"),
                    *(f"{ratio.of_medians:.2f}", f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"),
                    *("" if uncertainty is None else f"{uncertainty:.2f}", "", "", _compared(ratio, uncertainty)),
                )
