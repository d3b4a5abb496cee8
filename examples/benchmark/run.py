"""The benchmark: this package beside its peers, in turns, on one machine.

    python examples/benchmark/run.py --quick

Makes an environment for each peer, compiles the native programs, measures case after case, and prints ratios.
Needs Linux, a C compiler and two CPUs that have nothing else to do.
"""

import argparse
import json
import math
import os
import resource
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite import count, machine, native, peers, report, targets
from suite.entries import Bench
from suite.figures import compare
from suite.measure import AGAIN, measure
from suite.scenarios import Case, all_cases

LOOPS = ("asyncio", "uvloop")
CACHE = peers.ROOT / ".benchmark"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    names = list(dict.fromkeys(case.scenario for case in all_cases(("asyncio",), quick=True)))
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="scenarios: " + ", ".join(names),
    )
    others = [peer for peer in peers.REQUIREMENTS if peer != "ours"]
    parser.add_argument(
        "--quick", action="store_true", help="few and short rounds, fewer connections: ratios are rough"
    )
    parser.add_argument("--scenario", nargs="+", choices=names, default=names, metavar="NAME", help="only these")
    parser.add_argument("--label", nargs="+", default=[], help="only cases whose label contains one of these")
    parser.add_argument("--peers", nargs="*", choices=others, default=others, help="whom to compare with; default all")
    parser.add_argument("--loops", type=lambda text: tuple(text.split(",")), default=LOOPS, help="asyncio,uvloop")
    parser.add_argument("--rounds", type=int, help="samples of each contender, in threes; default 33; --quick: 6")
    parser.add_argument("--seconds", type=float, help="length of a sample; default 0.06, with --quick 0.05")
    parser.add_argument(
        "--count",
        action="store_true",
        help="instructions and system calls instead of time; takes valgrind and strace, perf for some",
    )
    parser.add_argument("--json", type=Path, help="write all samples to this file")
    parser.add_argument("--from", dest="files", type=Path, nargs="+", help="measure nothing: report what --json wrote")
    parser.add_argument("--report", type=Path, help="folder for report.md, report.rst and charts; default in --venvs")
    parser.add_argument("--venvs", type=Path, default=CACHE, help="where environments are kept; default .benchmark/")
    parser.add_argument(
        "--ours-python",
        type=Path,
        help="run this checkout, built in place, with this interpreter",
    )
    options = parser.parse_args(arguments)
    if not set(options.loops) <= set(LOOPS):
        parser.error(f"--loops takes {','.join(LOOPS)}")
    if options.count and (missing := count.missing_tools()):
        parser.error(f"--count needs {' and '.join(missing)}")
    options.restarts = 1 if options.quick else 3
    options.rounds = math.ceil((options.rounds or (6 if options.quick else 33)) / options.restarts) * options.restarts
    options.seconds = options.seconds or (0.05 if options.quick else 0.06)
    return options


def prepare(options: argparse.Namespace) -> Bench:
    """Environments, native programs, CPUs."""
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))  # contenders inherit it
    folder = options.venvs.resolve()
    programs = native.build(folder / "native", tell)
    ours = options.ours_python and Path(os.path.abspath(options.ours_python))  # a link tells where the environment is
    environments = peers.prepare(["ours", *options.peers], folder, ours, tell)
    if "ours" not in environments:
        sys.exit("without this package there is nothing to measure")
    measured, other = machine.choose_cpus()
    if measured == other:
        tell("there is only one CPU: contenders and native programs share it")
    return Bench(environments, programs, (measured, other), folder, options.rounds, options.restarts, options.seconds)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(result: dict[str, Any]) -> None:
    """The medians of a case, and their ratios to that of the first contender."""
    contenders = result["contenders"]
    first = next(iter(contenders.values()), None)
    for name, samples in contenders.items():
        if not name.endswith(AGAIN):
            ratio = compare(first["values"], samples["values"])
            value = report.format_value(statistics.median(samples["values"]) * report.scale(result))
            cpu = f"{statistics.median(samples['cpu_us']):9.3f} µs CPU" if samples["cpu_us"] else ""
            spread = f"first / this: {ratio.median:7.3f}  ({ratio.low:.3f} to {ratio.high:.3f})"
            tell(f"  {name:20}{value:>14}   {spread:46}{cpu}")
    if (noise := targets.noise(result)) is not None:
        tell(f"  A/A: ±{noise:.3f}")


def show_counts(result: dict[str, Any]) -> None:
    """What was counted, and how it compares to the first contender."""
    counts = result["counts"]
    first = next(iter(counts.values()), None)
    for name, each in counts.items():
        words = [f"{targets.total_calls(each):.4g} system calls"]
        if "instructions" in each:
            ratio = each["instructions"] / first["instructions"]
            words.insert(0, f"{each['instructions']:14,.0f} instructions   this / first: {ratio:7.3f}")
        tell(f"  {name:20}" + "   ".join(words))


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    return [
        case
        for case in all_cases(options.loops, options.quick)
        if case.scenario in options.scenario
        and (not options.label or any(part in case.label for part in options.label))
        and (not options.count or count.can_be_counted(case))
    ]


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Run the cases that were chosen; the document that `--json` writes."""
    work, method, display = (
        (count.count, "as many as it takes", show_counts)
        if options.count
        else (measure, f"{options.rounds} of {options.seconds} s", show)
    )
    bench = prepare(options)
    cases = chosen_cases(options)
    document: dict[str, Any] = {
        "machine": machine.describe(peers.ROOT) | {"rounds": method},
        "versions": {peer: peers.versions(peer, each) for peer, each in bench.environments.items()},
        "cases": [],
    }
    for number, case in enumerate(cases, 1):
        tell(f"[{number}/{len(cases)}] {case.scenario}: {case.label}, {case.loop} ({report.UNITS[case.metric]})")
        result = work(case, bench, tell)
        display(result)
        document["cases"].append(result)
        if options.json:  # after every case: an interrupted run loses nothing
            options.json.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return document


def read_all(files: Sequence[Path]) -> dict[str, Any]:
    """One document of several: runs of different scenarios, on one machine, with the same peers."""
    documents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    merged: dict[str, Any] = documents[0]
    for file, document in zip(files[1:], documents[1:], strict=True):
        for name in ("CPU", "CPUs", "kernel"):
            if document["machine"][name] != merged["machine"][name]:
                sys.exit(f"{file} was measured on another machine than {files[0]}: its {name} differs")
        for peer, version in document["versions"].items():
            if merged["versions"].setdefault(peer, version) != version:
                sys.exit(f"{file} was measured with {version}, {files[0]} with {merged['versions'][peer]}")
        parts = ", ".join(dict.fromkeys(case["scenario"] for case in document["cases"]))
        if any("counts" in case for case in document["cases"]):
            parts = f"instructions and system calls of {parts}"
        for name in ("date", "revision", "load before", "rounds"):
            if document["machine"][name] != merged["machine"][name]:
                merged["machine"][name] += f"; {parts}: {document['machine'][name]}"
        merged["cases"] += document["cases"]
    merged["cases"] = join_counts(merged["cases"])
    order = {case.scenario: rank for rank, case in enumerate(all_cases(LOOPS, quick=False))}
    merged["cases"].sort(key=lambda case: order[case["scenario"]])
    return merged


def join_counts(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lay what was counted beside what was measured of the same case."""

    def key(case: dict[str, Any]) -> tuple[str, ...]:
        return case["scenario"], case["label"], case["loop"]

    counted = {key(case): case for case in cases if "counts" in case}
    measured = [case for case in cases if "counts" not in case]
    joined = [case | {"counts": counted[key(case)]["counts"]} if key(case) in counted else case for case in measured]
    return joined + [case for name, case in counted.items() if name not in {key(each) for each in measured}]


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    document = read_all(options.files) if options.files else measure_all(options)
    rows = targets.rows(document["cases"])
    tell(f"targets: {targets.summary(rows)}")
    for row in rows:
        print("  ".join(row))
    folder = options.report or options.venvs / "report"
    report.write(document, folder)
    tell(f"report and charts: {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
