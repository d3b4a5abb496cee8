"""A process of the benchmark: pinned to a CPU, asked over pipes, watched through /proc."""

import json
import os
import resource
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ANSWER_TIMEOUT = 120  # seconds
END_TIMEOUT = 10  # seconds
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")  # a second


class Failure(Exception):
    """A process did not answer as it should; the text says what it wrote last."""


class Skipped(Exception):
    """A contender does not do this; the text says why."""


class Process:
    """One program and the conversation with it."""

    def __init__(self, command: Sequence[str], cpu: int, variables: Mapping[str, str] | None = None) -> None:
        """Start it.

        Args:
            command: The program and its arguments.
            cpu: Where it has to run.
            variables: Environment variables to set; "" removes one.
        """
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        environment = {name: value for name, value in (os.environ | dict(variables or {})).items() if value}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            cwd="/",
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),  # noqa: PLW1509 - no thread of ours holds a lock
        )
        self.pid = self._process.pid

    def answer(self) -> dict[str, Any]:
        """What it says next."""
        assert self._process.stdout is not None
        watchdog = threading.Timer(ANSWER_TIMEOUT, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise Failure(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "skip" in answer:
            raise Skipped(answer["skip"])
        return answer

    def run(self, count: int) -> dict[str, Any]:
        """Ask for `count` operations and wait for the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"run %d\n" % count)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failure(self._last_words()) from None
        return self.answer()

    def cpu_seconds(self) -> float:
        """CPU time so far of all its threads, and of the processes that it started and that have not ended."""
        return sum(_cpu_seconds(pid) for pid in (self.pid, *_children(self.pid)))

    def resident_bytes(self) -> int:
        """Memory of the process that is in RAM now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def forget_peak(self) -> None:
        """Let `peak_bytes` begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """The most memory in RAM since it started, or since `forget_peak`."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise Failure("the kernel does not tell VmHWM")

    def close(self) -> None:
        """End it: by the end of its input, or else by force."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def kill(self) -> None:
        """End one that does not read its input."""
        self._process.kill()
        self.close()

    def _last_words(self) -> str:
        try:
            status = self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            status = None
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"exit status {status}: {' | '.join(words[-3:]) or 'no message'}"


def _children(pid: int) -> list[int]:
    """Processes that it started, where the kernel tells."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


def _cpu_seconds(pid: int) -> float:
    """Exact to the nanosecond where the kernel keeps count of that."""
    tasks = [path.joinpath("schedstat") for path in Path(f"/proc/{pid}/task").iterdir()]
    if tasks[0].exists():
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
