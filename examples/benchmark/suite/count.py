"""Instructions and system calls of each operation, for what is too close for a clock.

callgrind counts the instructions of the measured process, without the kernel's; strace counts its system calls. Each
watches a process of its own, from the end of the warm-up on. Both make a program slow, but not the clock: who polls, or
gathers for some microseconds, would do other work than it does unwatched. Of those perf counts the system calls, which
costs them next to nothing, and instructions stay unknown.
"""

import contextlib
import dataclasses
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from suite.entries import NOT_INSTALLED, Bench, Entry, asked, calibrate, choose, open_partner, skipping, start
from suite.processes import Failure, Skipped
from suite.scenarios import Case, Contender

TOOLS = ("valgrind", "vgdb", "strace")
PERF = ("perf", "stat", "--field-separator=,")
# By name; of all others the sum, because it takes perf long to let go of each.
NAMED = ("sendto", "sendmsg", "write", "writev", "recvfrom", "recvmsg", "read", "epoll_wait", "epoll_pwait", "ppoll")
ALL_CALLS, EACH_CALL = "raw_syscalls:sys_enter", "syscalls:sys_enter_"
TRACEPOINTS = "/sys/kernel/tracing/events/syscalls"
CALLGRIND = ("valgrind", "--tool=callgrind", "--instr-atstart=no")
SECONDS = 0.5  # at least, of the work that is counted, at the pace of a watched process
TOOL_TIMEOUT = 60  # seconds
Watch = Callable[[Entry, str], contextlib.AbstractContextManager[None]]


def missing_tools() -> list[str]:
    """What has to be installed first."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def can_be_counted(case: Case) -> bool:
    """Whether the case is one of operations."""
    return case.metric == "rate"


def count(case: Case, bench: Bench, tell: Callable[[str], None]) -> dict[str, Any]:
    """Count for all contenders of a case.

    Returns:
        For the report: the case's names, and under "counts" the figures of each contender, for one operation.
    """
    contenders, skipped = choose(case, bench)
    bench = dataclasses.replace(bench, seconds=SECONDS)
    counts = {}
    with open_partner(case, bench) as partner:
        for name, contender in contenders.items():
            with skipping(name, skipped):
                if _goes_by_the_clock(contender, case):
                    counts[name] = {"system_calls": _system_calls(_at_full_speed, contender, case, bench, partner.port)}
                    continue
                counts[name] = {
                    "instructions": _instructions(contender, case, bench, partner.port),
                    "system_calls": _system_calls(_tracing, contender, case, bench, partner.port),
                }
    for name, reason in skipped.items():
        if reason != NOT_INSTALLED:
            tell(f"  {name}: {reason}")
    return case.names() | {"contenders": {}, "skipped": {}, "counts": counts}


def _goes_by_the_clock(contender: Contender, case: Case) -> bool:
    """Whether it polls, or is beside one that does, or gathers for some microseconds."""
    gathers = contender.program == "aio" or "coalesce" in contender.keywords
    return case.scenario == "busy_poll" or (case.role == "send" and gathers)


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


def _system_calls(watch: Watch, contender: Contender, case: Case, bench: Bench, port: int) -> dict[str, float]:
    """How often each system call was made."""
    with contextlib.closing(start(contender.name, contender, case, bench, port)) as entry:
        calibrate(entry, case, bench)
        with tempfile.NamedTemporaryFile("r") as file:
            with watch(entry, file.name):
                operations: int = asked(entry, case).run(entry.count)["operations"]
            read = _read_perf if watch is _at_full_speed else _read_strace
            calls = {name: count / operations for name, count in read(file).items() if count}
    if not calls:
        raise Failure("no system calls were seen")
    return calls


def _read_strace(lines: Iterable[str]) -> dict[str, int]:
    rows = [line.split() for line in lines]
    calls = {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit()}
    calls.pop("total", None)
    return calls


def _read_perf(lines: Iterable[str]) -> dict[str, int]:
    rows = [line.split(",") for line in lines]
    calls = {row[2].removeprefix(EACH_CALL): int(row[0]) for row in rows if len(row) > 2 and row[0].isdigit()}
    calls["others"] = calls.pop(ALL_CALLS, 0) - sum(calls.values())
    return calls


@contextlib.contextmanager
def _tracing(entry: Entry, file: str) -> Iterator[None]:
    """Let strace count, and write its table when the context ends."""
    command = ["strace", "-f", "-c", "-o", file, "-p", str(entry.measured.pid)]
    with _watching(command) as tracer:
        assert tracer.stderr is not None
        if "attached" not in (line := tracer.stderr.readline()):
            raise Failure(f"strace cannot watch the process: {line.strip()}")
        yield


@contextlib.contextmanager
def _at_full_speed(entry: Entry, file: str) -> Iterator[None]:
    """The same by perf, which does not stop the process at each call."""
    if shutil.which(PERF[0]) is None:
        raise Skipped("goes by the clock: perf could count its system calls, and is not installed")
    named = [EACH_CALL + name for name in NAMED if Path(TRACEPOINTS, f"sys_enter_{name}").exists()]
    with contextlib.ExitStack() as stack:
        files = []
        for _ in range(2):
            for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True):
                files.append(stack.enter_context(open(end, mode, buffering=0)))
        orders, our_orders, our_answers, answers = files
        command = [
            *(*PERF, f"--event={','.join((ALL_CALLS, *named))}", f"--output={file}", f"--pid={entry.measured.pid}"),
            *("--delay=-1", f"--control=fd:{orders.fileno()},{answers.fileno()}"),
        ]
        with _watching(command, (orders.fileno(), answers.fileno())) as watcher:
            orders.close()
            answers.close()
            with contextlib.suppress(BrokenPipeError):
                our_orders.write(b"enable\n")
            if not select.select([our_answers], [], [], TOOL_TIMEOUT)[0] or not our_answers.read(16):
                watcher.kill()
                _, words = watcher.communicate()
                raise Skipped(f"goes by the clock: perf could count its system calls, but {' '.join(words.split())}")
            yield


@contextlib.contextmanager
def _watching(command: Sequence[str], descriptors: Sequence[int] = ()) -> Iterator[subprocess.Popen[str]]:
    """Run what watches a process until the context ends; then it is interrupted, and writes what it saw."""
    watcher = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, pass_fds=descriptors
    )
    try:
        yield watcher
    finally:
        watcher.send_signal(signal.SIGINT)
        try:
            watcher.wait(TOOL_TIMEOUT)
        except subprocess.TimeoutExpired:
            watcher.kill()
            watcher.wait()
        if watcher.stderr is not None:
            watcher.stderr.close()
