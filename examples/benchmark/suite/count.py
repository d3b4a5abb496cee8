"""Instructions and system calls of each operation, for what is too close for a clock.

callgrind counts the instructions of the measured process, without the kernel's; strace counts its system calls. Each
watches a process of its own, from the end of the warm-up on.
"""

import contextlib
import dataclasses
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from suite.entries import NOT_INSTALLED, Bench, Entry, asked, calibrate, choose, open_partner, skipping, start
from suite.processes import Failure
from suite.scenarios import Case, Contender

TOOLS = ("valgrind", "vgdb", "strace")
CALLGRIND = ("valgrind", "--tool=callgrind", "--instr-atstart=no")
SECONDS = 0.5  # at least, of the work that is counted, at the pace of a watched process
TOOL_TIMEOUT = 60  # seconds


def missing_tools() -> list[str]:
    """What has to be installed first."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def can_be_counted(case: Case) -> bool:
    """Whether the figures of a case would tell something: one that polls counts its turns, not its work."""
    return case.metric == "rate" and case.scenario != "busy_poll" and not case.awake


def count(case: Case, bench: Bench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Count for all contenders of a case.

    Returns:
        For the report: the case's names, and under "counts" the figures of each contender, for one operation.
    """
    contenders, skipped = choose(case, bench)
    for name in [name for name, contender in contenders.items() if _gathers_by_time(contender, case)]:
        del contenders[name]
        skipped[name] = "not counted: it gathers for some microseconds, which are many more where every step is watched"
    bench = dataclasses.replace(bench, seconds=SECONDS)
    counts = {}
    with open_partner(case, bench) as partner:
        for name, contender in contenders.items():
            with skipping(name, skipped):
                counts[name] = {
                    "instructions": _instructions(contender, case, bench, partner.port),
                    "system_calls": _system_calls(contender, case, bench, partner.port),
                }
    for name, reason in skipped.items():
        if reason != NOT_INSTALLED:
            tell(f"  {name}: {reason}")
    return case.names() | {"contenders": {}, "skipped": {}, "counts": counts}


def _gathers_by_time(contender: Contender, case: Case) -> bool:
    return case.role == "send" and (contender.program == "aio" or "coalesce" in contender.keywords)


def _instructions(contender: Contender, case: Case, bench: Bench, port: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "callgrind")
        observer = [*CALLGRIND, f"--callgrind-out-file={file}"]
        with contextlib.closing(start(contender.name, contender, case, bench, port, observer)) as entry:
            _ask_valgrind(entry, "instrumentation on")
            for _ in range(2):  # valgrind is slow where code runs for the first time
                calibrate(entry, case, bench)
            _ask_valgrind(entry, "dump")
            operations: int = asked(entry, case).run(entry.count)["operations"]
            _ask_valgrind(entry, "dump")
        return _total(file.with_suffix(".2")) / operations


def _ask_valgrind(entry: Entry, command: str) -> None:
    ask = ["vgdb", f"--pid={entry.measured.pid}", command]
    done = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=TOOL_TIMEOUT)
    if done.returncode:
        raise Failure(done.stderr)


def _total(dump: Path) -> int:
    with dump.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("summary: "):
                return int(line.split()[1])
    raise Failure(f"{dump} has no summary")


def _system_calls(contender: Contender, case: Case, bench: Bench, port: int) -> dict[str, float]:
    """How often each system call was made."""
    with contextlib.closing(start(contender.name, contender, case, bench, port)) as entry:
        calibrate(entry, case, bench)
        with tempfile.NamedTemporaryFile("r") as file:
            with _tracing(entry, file.name):
                operations: int = asked(entry, case).run(entry.count)["operations"]
            rows = [line.split() for line in file]
    calls = {row[-1]: int(row[3]) / operations for row in rows if len(row) >= 5 and row[3].isdigit()}
    calls.pop("total", None)
    if not calls:
        raise Failure("strace saw no system calls")
    return calls


@contextlib.contextmanager
def _tracing(entry: Entry, file: str) -> Iterator[None]:
    """Let strace count, and write its table when the context ends."""
    command = ["strace", "-f", "-c", "-o", file, "-p", str(entry.measured.pid)]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    try:
        if "attached" not in (line := tracer.stderr.readline()):
            raise Failure(f"strace cannot watch the process: {line.strip()}")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=TOOL_TIMEOUT)
