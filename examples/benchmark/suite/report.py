"""The report: what was measured on what, charts, a table for each scenario, and the targets."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from suite import chart, targets
from suite.figures import compare, quartiles
from suite.markup import Document
from suite.measure import AGAIN
from suite.scenarios import MIB, Contender, all_cases

UNITS = {
    "rate": "operations a second",
    "bytes": "MiB/s",
    "idle": "KiB for each connection, less is better",
    "peak": "MiB above idle, less is better",
}
HEADERS = ("contender", "median", "quartiles", "ratio to the first, 95 %", "CPU µs", "busy, peer", "p50, p99, p99.9 µs")
COUNT_HEADERS = ("contender", "instructions", "system calls", "which")
LEAST_CALLS = 0.005  # for each operation; rarer system calls are not named
METHOD = (
    "core is the package picows of this project, aio its package picows_aio; C is what no library can beat. "
    "Every contender has a process of its own, on one CPU; the native peer has another CPU. "
    "All contenders of a case are measured in turns, A B C, C B A; a ratio pairs the samples of a round. "
    "Its interval comes from order statistics. A/A is the first contender, run twice: what its interval is away from 1 "
    "is noise. A target is met when the lower end of the interval, less the noise, reaches it, and lost in noise when "
    "the upper end with the noise would. "
    "CPU µs is what the measured process took for each operation; busy is the part of the time in which it and its "
    "native peer had their CPU: a peer near 100 % beside a contender that waits would be the bottleneck. "
    "A percentile is told where ten latencies of each round are above it, and compared with the best peer's. "
    "Bytes per second as messages grow are compared with the best smaller size, which was measured at another time. "
    "Such comparisons are called worse, or not, where the interval and the noise are on one side of 1. "
    "Instructions (without the kernel's, counted by callgrind) and system calls are those of one operation, in runs of "
    "their own; in the table of targets they are ratios like the others, the peer's to ours. Of programs that go by "
    "the clock perf counted the system calls, and instructions would not be those of a program that nobody watches."
)


def write(document: Mapping[str, Any], folder: Path) -> None:
    """Write report.md, report.rst and the charts.

    Args:
        document: What `run.py --json` writes.
        folder: Where to; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = Document()
    page.heading("Benchmark report", 1)
    page.paragraph(METHOD)
    page.table(("on", "what"), [*document["machine"].items(), *document["versions"].items()])
    page.heading("Targets", 2)
    rows = targets.rows(document["cases"])
    page.paragraph(f"{targets.summary(rows)}.")
    page.table(targets.HEADERS, rows)
    for scenario, group in groupby(document["cases"], key=lambda result: str(result["scenario"])):
        _add_scenario(page, scenario, list(group), folder)
    folder.joinpath("report.md").write_text("\n".join(page.markdown), encoding="utf-8")
    folder.joinpath("report.rst").write_text("\n".join(page.rst), encoding="utf-8")


def _add_scenario(page: Document, scenario: str, results: Sequence[Mapping[str, Any]], folder: Path) -> None:
    page.heading(scenario, 2)
    groups = {f"{result['label']}, {result['loop']}": list(_bars(result)) for result in results}
    groups = {name: bars for name, bars in groups.items() if bars}
    if groups:
        file = f"{scenario}.svg"
        folder.joinpath(file).write_text(chart.draw(f"{scenario}: {_unit(results[0])}", groups), encoding="utf-8")
        page.image(file, f"{scenario}: medians, with quartiles")
    for result in results:
        page.heading(f"{scenario}, {result['label']}, {result['loop']}: {_unit(result)}", 3)
        page.table(HEADERS, list(_rows(result)))
        page.table(COUNT_HEADERS, list(_count_rows(result)))
        if result["skipped"]:
            page.paragraph("Not measured: " + "; ".join(f"{n} ({why})" for n, why in result["skipped"].items()) + ".")


def _unit(result: Mapping[str, Any]) -> str:
    return UNITS[result["metric"]]


def _bars(result: Mapping[str, Any]) -> Iterator[chart.Bar]:
    kinds = {contender.name: contender.peer for contender in _known_contenders()}
    for name, samples in result["contenders"].items():
        if not name.endswith(AGAIN):
            low, middle, high = (value * scale(result) for value in quartiles(samples["values"]))
            yield chart.Bar(name, middle, low, high, format_value(middle), kinds.get(name, ""))


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    contenders = result["contenders"]
    first = next(iter(contenders.values()), None)
    for name, samples in contenders.items():
        low, middle, high = (value * scale(result) for value in quartiles(samples["values"]))
        ratio = compare(samples["values"], first["values"])
        latencies = [
            statistics.median(values) for name in samples["latencies"] if (values := targets.percentile(samples, name))
        ]
        yield (
            *(name, format_value(middle), f"{format_value(low)} to {format_value(high)}"),
            f"{ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})",
            f"{statistics.median(samples['cpu_us']):.3f}" if samples["cpu_us"] else "",
            ", ".join(f"{statistics.median(samples[key]):.0%}" for key in ("busy", "peer_busy") if samples[key]),
            ", ".join(f"{value:.0f}" for value in latencies),
        )


def _count_rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, counts in result.get("counts", {}).items():
        often = {call: times for call, times in counts["system_calls"].items() if times >= LEAST_CALLS}
        instructions = format_value(round(counts["instructions"])) if "instructions" in counts else "-"
        yield (
            *(name, instructions, f"{targets.total_calls(counts):.3g}"),
            ", ".join(f"{call} {times:.3g}" for call, times in sorted(often.items(), key=lambda item: -item[1])),
        )


def scale(result: Mapping[str, Any]) -> float:
    """From what was measured to the unit of the report."""
    return 1 / MIB if result["metric"] == "bytes" else 1


def format_value(value: float) -> str:
    """Three or four digits that count."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _known_contenders() -> Iterator[Contender]:
    for case in all_cases(("asyncio",), quick=True):
        yield from case.contenders
