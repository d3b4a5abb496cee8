"""The processes of a case: each contender on one CPU, its native peer on another."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite import native, payloads
from suite.peers import Environment
from suite.processes import Failure, Process, Skipped
from suite.scenarios import KIB, Case, Contender

CONTENDERS = Path(__file__).resolve().parents[1] / "contenders"
NOT_INSTALLED = "not installed"


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


def choose(case: Case, bench: Bench) -> tuple[dict[str, Contender], dict[str, str]]:
    """The contenders of a case that are here, and why the others are not."""
    if case.tls and "tls_echo" not in bench.programs:
        return {}, {contender.name: "needs OpenSSL's headers" for contender in case.contenders}
    here = {contender.name: contender for contender in case.contenders if bench.has(contender)}
    return here, {contender.name: NOT_INSTALLED for contender in case.contenders if not bench.has(contender)}


@dataclass(frozen=True)
class Partner:
    """The native server that all contenders of a case share; None, and port 0, where they are servers themselves."""

    process: Process | None
    port: int


@contextlib.contextmanager
def open_partner(case: Case, bench: Bench) -> Iterator[Partner]:
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


@contextlib.contextmanager
def skipping(name: str, skipped: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except (Failure, Skipped) as exc:
        skipped[name] = str(exc)


def start(name: str, contender: Contender, case: Case, bench: Bench, port: int, observer: Sequence[str] = ()) -> Entry:
    """Start a contender, under the command `observer` where there is one, and the driver that talks to it."""
    if contender.program == "floor_client":
        command = [*observer, str(bench.programs["floor_client"]), str(port), case.role, str(case.size), contender.mode]
        process = Process(command, bench.cpus[0])
        process.answer()
        return Entry(name, process, process)
    if contender.peer == "native":
        measured = Process([*observer, str(bench.programs[contender.program])], bench.cpus[0])
    else:
        environment = bench.environments[contender.peer]
        program = CONTENDERS / f"{contender.program}.py"
        job = json.dumps(_job(contender, case, bench, port))
        command = [*observer, str(environment.python), str(program), job]
        measured = Process(command, bench.cpus[0], environment.variables())
    try:
        answer = measured.answer()
        driver = start_driver(case, bench, answer["port"]) if case.driver else measured
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


def start_driver(case: Case, bench: Bench, port: int) -> Process:
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


def asked(entry: Entry, case: Case) -> Process:
    """Who makes the operations: receivers only receive."""
    return entry.measured if case.driver == "receivers" else entry.driver


def calibrate(entry: Entry, case: Case, bench: Bench) -> None:
    """Warm up, and find how many operations take the time of a sample."""
    count = max(case.warm_up, case.connections * case.burst if case.driver != "receivers" else 1)
    while (seconds := asked(entry, case).run(count)["seconds"]) < bench.seconds / 2:
        count *= max(2, min(16, int(bench.seconds / max(seconds, 1e-6))))
    entry.count = max(1, round(count * bench.seconds / seconds))
