"""One case: contenders in processes of their own, on one CPU, the native peer on another, in turns."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite import native, payloads
from suite.peers import Environment
from suite.processes import Failure, Process, Skipped
from suite.scenarios import KIB, MIB, Case, Contender

CONTENDERS = Path(__file__).resolve().parents[1] / "contenders"
AGAIN = " (again)"  # the second process of the first contender
FIRST_CONNECTIONS = 50  # pay for what all connections of a process share
MEMORY_ROUNDS = 3


@dataclass(frozen=True)
class Bench:
    """Where and how to measure.

    Attributes:
        environments: Of each peer that could be had.
        programs: The native programs.
        cpus: For what is measured, and for its peer.
        folder: For files of messages and certificates.
        rounds: Samples of each contender.
        restarts: How often the processes are started anew, so that the layout of one process decides nothing.
        seconds: What one sample takes.
    """

    environments: Mapping[str, Environment]
    programs: Mapping[str, Path]
    cpus: tuple[int, int]
    folder: Path
    rounds: int
    restarts: int
    seconds: float

    def has(self, contender: Contender) -> bool:
        return contender.peer in (*self.environments, "native")


@dataclass
class Entry:
    """A contender that is running.

    Attributes:
        name: Its name in the report.
        measured: The process whose CPU time counts.
        driver: Who is asked: a load generator, or the measured process itself.
        port: Where a contender that serves listens.
        count: Operations of one sample.
    """

    name: str
    measured: Process
    driver: Process
    port: int = 0
    count: int = 0

    def close(self) -> None:
        self.driver.close()
        if self.measured is not self.driver:
            self.measured.close()


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
    contenders = {contender.name: contender for contender in case.contenders if bench.has(contender)}
    skipped = {contender.name: "not installed" for contender in case.contenders if not bench.has(contender)}
    if case.tls and "tls_echo" not in bench.programs:
        contenders, skipped = {}, {contender.name: "needs OpenSSL's headers" for contender in case.contenders}
    samples: dict[str, Samples] = {}
    if case.metric in ("idle", "peak"):
        _measure_memory(case, bench, contenders, samples, skipped)
    else:
        if contenders:
            first = next(iter(contenders.values()))
            contenders[first.name + AGAIN] = first
        with _partner(case, bench) as partner:
            for _ in range(bench.restarts):
                _measure_in_turns(case, bench, partner, contenders, samples, skipped)
    for name, reason in skipped.items():
        samples.pop(name, None)
        if reason != "not installed":
            tell(f"  {name}: {reason}")
    found = {name: dataclasses.asdict(each) for name, each in samples.items()}
    return {name: getattr(case, name) for name in ("scenario", "label", "loop", "metric", "size")} | {
        "contenders": found,
        "skipped": skipped,
    }


@dataclass(frozen=True)
class Partner:
    """The native server that all contenders of a case share; None, and port 0, where they are servers themselves."""

    process: Process | None
    port: int


@contextlib.contextmanager
def _partner(case: Case, bench: Bench) -> Iterator[Partner]:
    """Start the native server, and what keeps CPUs awake."""
    with contextlib.ExitStack() as stack:
        if case.awake:
            for cpu in set(bench.cpus):
                spinner = Process([str(bench.programs["keep_awake"]), str(cpu)], cpu)
                stack.callback(spinner.kill)
                spinner.answer()
        if case.driver:
            yield Partner(None, 0)
            return
        if case.tls:
            files = native.make_certificate(bench.folder)
            server = Process([str(bench.programs["tls_echo"]), *map(str, files)], bench.cpus[1])
            stack.callback(server.kill)
        else:
            server = Process([str(bench.programs["echo_server"])], bench.cpus[1])
            stack.callback(server.close)
        yield Partner(server, server.answer()["port"])


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
            with _skipping(name, skipped):
                entry = start(name, contender, case, bench, partner.port)
                stack.callback(entry.close)
                _calibrate(entry, case, bench)
                entries.append(entry)
        for turn in range(math.ceil(bench.rounds / bench.restarts)):
            for entry in entries if turn % 2 == 0 else reversed(entries):
                with _skipping(entry.name, skipped):
                    peer = partner.process or entry.driver
                    _sample(entry, peer, case, samples.setdefault(entry.name, Samples()))
    for name in skipped:
        contenders.pop(name, None)


@contextlib.contextmanager
def _skipping(name: str, skipped: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except (Failure, Skipped) as exc:
        skipped[name] = str(exc)


def start(name: str, contender: Contender, case: Case, bench: Bench, port: int) -> Entry:
    """Start a contender, and the driver that talks to it."""
    if contender.program == "floor_client":
        command = [str(bench.programs["floor_client"]), str(port), case.role, str(case.size), contender.mode]
        process = Process(command, bench.cpus[0])
        process.answer()
        return Entry(name, process, process)
    if contender.peer == "native":
        measured = Process([str(bench.programs[contender.program])], bench.cpus[0])
    else:
        environment = bench.environments[contender.peer]
        program = CONTENDERS / f"{contender.program}.py"
        job = json.dumps(_job(contender, case, bench, port))
        command = [str(environment.python), str(program), job]
        measured = Process(command, bench.cpus[0], environment.variables())
    try:
        answer = measured.answer()
        driver = _start_driver(case, bench, answer["port"]) if case.driver else measured
    except BaseException:
        measured.close()
        raise
    return Entry(name, measured, driver, answer.get("port", 0))


def _job(contender: Contender, case: Case, bench: Bench, port: int) -> dict[str, Any]:
    certificate = str(native.make_certificate(bench.folder)[0]) if case.tls else ""
    messages = str(payloads.write_files(case.size or KIB, bench.folder)[0]) if case.compression else ""
    return {
        "role": contender.role or case.role,
        "loop": case.loop,
        "port": port,
        "size": case.size,
        "connections": case.connections,
        "certificate": certificate,
        "messages": messages,
        "mode": contender.mode,
        "keywords": dict(contender.keywords),
    }


def _start_driver(case: Case, bench: Bench, port: int) -> Process:
    command = [str(bench.programs[case.driver]), str(port), str(case.connections)]
    if case.driver == "load":
        command += [str(case.burst), str(case.size)]
        if case.compression:
            command.append(str(payloads.write_files(case.size, bench.folder)[1]))
    elif case.driver == "receivers":
        command += [str(case.stopped), *(["permessage-deflate"] if case.compression else [])]
    driver = Process(command, bench.cpus[1])
    try:
        driver.answer()
    except BaseException:
        driver.close()
        raise
    return driver


def _asked(entry: Entry, case: Case) -> Process:
    """Who makes the operations: receivers only receive."""
    return entry.measured if case.driver == "receivers" else entry.driver


def _calibrate(entry: Entry, case: Case, bench: Bench) -> None:
    """Warm up, and find how many operations take the time of a sample."""
    count = max(case.warm_up, case.connections * case.burst if case.driver != "receivers" else 1)
    while (seconds := _asked(entry, case).run(count)["seconds"]) < bench.seconds / 2:
        count *= max(2, min(16, int(bench.seconds / max(seconds, 1e-6))))
    entry.count = max(1, round(count * bench.seconds / seconds))


def _sample(entry: Entry, peer: Process, case: Case, samples: Samples) -> None:
    before, peer_before = entry.measured.cpu_seconds(), peer.cpu_seconds()
    answer = _asked(entry, case).run(entry.count)
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
    with _partner(case, bench) as partner:
        for _ in range(min(MEMORY_ROUNDS, bench.rounds)):
            for name, contender in contenders.items():
                if name in skipped:
                    continue
                with _skipping(name, skipped):
                    samples.setdefault(name, Samples()).values.append(take(name, contender, case, bench, partner.port))


def _idle_kib(name: str, contender: Contender, case: Case, bench: Bench, port: int) -> float:
    """Resident KiB of a server for each connection that does nothing."""
    few = dataclasses.replace(case, connections=FIRST_CONNECTIONS)
    with contextlib.closing(start(name, contender, few, bench, port)) as entry:
        before = _settled_bytes(entry, contender)
        with contextlib.closing(_start_driver(case, bench, entry.port)):
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
