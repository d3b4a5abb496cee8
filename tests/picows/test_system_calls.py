"""One system call where it can be one: counted by the kernel's own tracer, for a server on a plain socket."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "support" / "traced_sends.py"
COUNT = 100  # of frames, in the program
MARK = re.compile(r'write\(1, "mark ([a-z ]+) (-?\d+)\\n"')
SEND = re.compile(r"(?:sendto|sendmsg|write|writev)\((\d+),")


def count_sends(trace: str) -> dict[str, int]:
    """Calls between each mark and its end on the descriptor that the mark names."""
    counts = {}
    name, descriptor = "", ""
    for line in trace.splitlines():
        if mark := MARK.search(line):
            name, descriptor = mark.groups()
            counts[name] = 0
        elif (send := SEND.search(line)) and send[1] == descriptor:
            counts[name] += 1
    return counts


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def sends(request, tmp_path_factory, pytestconfig):
    """System calls that each way of sending took."""
    strace = shutil.which("strace")
    if strace is None and os.environ.get("REQUIRE_PEERS"):
        pytest.fail("counting system calls takes strace: apt install strace")
    if strace is None:
        pytest.skip("counting system calls takes strace: apt install strace")
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    trace = tmp_path_factory.mktemp("strace") / "trace"
    command = [strace, "-f", "-e", "trace=sendto,sendmsg,write,writev", "-o", trace]
    program = [sys.executable, PROGRAM, str(pytestconfig.rootpath), request.param]
    run = subprocess.run([*command, *program], capture_output=True, text=True, timeout=60, check=False)
    if run.returncode and "ptrace" in run.stderr:
        pytest.skip(f"strace may not trace here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    return count_sends(trace.read_text())


def test_a_frame_takes_one_call(sends):
    assert sends["direct"] == COUNT


def test_a_large_frame_takes_one_call(sends):
    """Header and payload leave together, the payload uncopied."""
    assert sends["large"] == 1


def test_a_broadcast_takes_one_call_for_each_connection(sends):
    assert sends["broadcast"] == 1


def test_a_cork_takes_one_call(sends):
    assert sends["corked"] == 1


def test_coalescing_takes_few_calls(sends):
    """The first frame of a turn leaves at once, then a part for each 100 microseconds at most."""
    assert 1 < sends["coalesced"] <= COUNT // 4


def test_answers_to_one_read_take_a_call_each(sends):
    assert sends["echo"] == COUNT


@pytest.mark.parametrize("name", ["echo corked", "echo coalesced"])
def test_gathered_answers_to_one_read_take_one_call(sends, name):
    assert sends[name] == 1
