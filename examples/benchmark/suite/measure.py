"""One case: contenders in processes of their own, on one CPU, the native peer on another, in turns."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from suite.entries import (
    NOT_INSTALLED,
    Bench,
    Entry,
    Partner,
    asked,
    calibrate,
    choose,
    open_partner,
    skipping,
    start,
    start_driver,
)
from suite.processes import Process
from suite.scenarios import KIB, MIB, Case, Contender

AGAIN = " (again)"  # the second process of the first contender
FIRST_CONNECTIONS = 50  # pay for what all connections of a process share
MEMORY_ROUNDS = 3


@dataclass
class Samples:
    """What one contender reached, a value for each round.

    Attributes:
        values: In the unit of the case's metric.
        cpu_us: CPU microseconds of the measured process per operation.
        busy: Part of the time that the measured process had its CPU.
        peer_busy: The same of the native peer. Near 1, with the measured process waiting, the peer is the bottleneck.
        latencies: Percentiles in microseconds, where the load generator took them.
        bursts: Latencies behind each percentile.
    """

    values: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    peer_busy: list[float] = field(default_factory=list)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    bursts: list[int] = field(default_factory=list)


def measure(case: Case, bench: Bench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure all contenders of a case.

    Returns:
        For the report: the case's names, the samples of each contender, and why others have none.
    """
    contenders, skipped = choose(case, bench)
    samples: dict[str, Samples] = {}
    if case.metric in ("idle", "peak"):
        _measure_memory(case, bench, contenders, samples, skipped)
    else:
        if contenders:
            first = next(iter(contenders.values()))
            contenders[first.name + AGAIN] = first
        with open_partner(case, bench) as partner:
            for _ in range(bench.restarts):
                _measure_in_turns(case, bench, partner, contenders, samples, skipped)
    for name, reason in skipped.items():
        samples.pop(name, None)
        if reason != NOT_INSTALLED:
            tell(f"  {name}: {reason}")
    found = {name: dataclasses.asdict(each) for name, each in samples.items()}
    return case.names() | {"contenders": found, "skipped": skipped}


def _measure_in_turns(
    case: Case,
    bench: Bench,
    partner: Partner,
    contenders: dict[str, Contender],
    samples: dict[str, Samples],
    skipped: dict[str, str],
) -> None:
    """Fresh processes; a part of the rounds, A B C, C B A, ..."""
    entries: list[Entry] = []
    with contextlib.ExitStack() as stack:
        for name, contender in contenders.items():
            with skipping(name, skipped):
                entry = start(name, contender, case, bench, partner.port)
                stack.callback(entry.close)
                calibrate(entry, case, bench)
                entries.append(entry)
        for turn in range(math.ceil(bench.rounds / bench.restarts)):
            for entry in entries if turn % 2 == 0 else reversed(entries):
                with skipping(entry.name, skipped):
                    peer = partner.process or entry.driver
                    _sample(entry, peer, case, samples.setdefault(entry.name, Samples()))
    for name in skipped:
        contenders.pop(name, None)


def _sample(entry: Entry, peer: Process, case: Case, samples: Samples) -> None:
    before, peer_before = entry.measured.cpu_seconds(), peer.cpu_seconds()
    answer = asked(entry, case).run(entry.count)
    cpu, peer_cpu = entry.measured.cpu_seconds() - before, peer.cpu_seconds() - peer_before
    operations, seconds = answer["operations"], answer["seconds"]
    unit = case.size if case.metric == "bytes" else 1
    samples.values.append(operations * unit / seconds)
    samples.cpu_us.append(cpu * 1e6 / operations)
    samples.busy.append(cpu / seconds)
    samples.peer_busy.append(peer_cpu / seconds)
    for name in ("p50", "p99", "p999"):
        if name in answer:
            samples.latencies.setdefault(name, []).append(answer[name])
    samples.bursts.append(operations // case.burst)


def _measure_memory(
    case: Case,
    bench: Bench,
    contenders: Mapping[str, Contender],
    samples: dict[str, Samples],
    skipped: dict[str, str],
) -> None:
    """Processes that did nothing before."""
    take = _idle_kib if case.metric == "idle" else _peak_mib
    with open_partner(case, bench) as partner:
        for _ in range(min(MEMORY_ROUNDS, bench.rounds)):
            for name, contender in contenders.items():
                if name in skipped:
                    continue
                with skipping(name, skipped):
                    samples.setdefault(name, Samples()).values.append(take(name, contender, case, bench, partner.port))


def _idle_kib(name: str, contender: Contender, case: Case, bench: Bench, port: int) -> float:
    """Resident KiB of a server for each connection that does nothing."""
    few = dataclasses.replace(case, connections=FIRST_CONNECTIONS)
    with contextlib.closing(start(name, contender, few, bench, port)) as entry:
        before = _settled_bytes(entry, contender)
        with contextlib.closing(start_driver(case, bench, entry.port)):
            return (_settled_bytes(entry, contender) - before) / case.connections / KIB


def _settled_bytes(entry: Entry, contender: Contender) -> int:
    if contender.peer != "native":
        entry.measured.run(1)  # collects garbage
    return entry.measured.resident_bytes()


def _peak_mib(name: str, contender: Contender, case: Case, bench: Bench, port: int) -> float:
    """Resident MiB above those of an idle client, while it receives one message."""
    with contextlib.closing(start(name, contender, case, bench, port)) as entry:
        before = entry.measured.resident_bytes()
        entry.measured.forget_peak()
        entry.measured.run(1)
        return (entry.measured.peak_bytes() - before) / MIB
