"""Work that must not become slower: instructions of fixed work, counted by callgrind, against those written down.

Counts do not depend on what else the machine does, but on interpreter, compiler and instruction set: instructions.json
has figures for each. After a change that is worth its instructions, or with another interpreter, write them with
``UPDATE_INSTRUCTIONS=1 python -m pytest tests/test_instructions.py``.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from picows._codec import available_mask_impls
from tests.support.counted_work import COUNT, SEGMENTS

ROOT = Path(__file__).resolve().parents[1]
FIGURES = Path(__file__).with_name("instructions.json")
SLACK = 1.05
MARK = "getppid"  # the C function of the mark in counted_work.py
HOW_TO_UPDATE = "UPDATE_INSTRUCTIONS=1 python -m pytest tests/test_instructions.py"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="callgrind is for Linux")]


def environment_key() -> str:
    """What the figures depend on: Python, machine, compiler, masking kernel."""
    version = ".".join(platform.python_version_tuple()[:2])
    done = subprocess.run(["cc", "-dumpversion"], capture_output=True, text=True, check=False)
    compiler = done.stdout.strip().partition(".")[0] or "unknown"
    return f"Python {version}, {platform.machine()}, cc {compiler}, {available_mask_impls()[0]}"


def read_counts(folder: Path) -> dict[str, int]:
    """Instructions for one operation of each segment; dump 1 is what came before the first mark."""
    totals = []
    for number in range(2, len(SEGMENTS) + 2):
        text = folder.joinpath(f"callgrind.{number}").read_text()
        totals.append(next(int(line.split()[1]) for line in text.splitlines() if line.startswith("totals:")))
    baseline = totals[0]
    return {name: (total - baseline) // COUNT for name, total in zip(SEGMENTS[1:], totals[1:], strict=True)}


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Run the work under callgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None and os.environ.get("REQUIRE_PEERS"):
        pytest.fail("counting instructions takes valgrind: apt install valgrind")
    if valgrind is None:
        pytest.skip("counting instructions takes valgrind: apt install valgrind")
    folder = tmp_path_factory.mktemp("callgrind")
    options = ["--tool=callgrind", f"--dump-before={MARK}", f"--callgrind-out-file={folder / 'callgrind'}"]
    program = [sys.executable, "-m", "tests.support.counted_work"]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    environment.pop("PYTHONDEVMODE", None)
    run = subprocess.run(
        [valgrind, *options, *program],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return read_counts(folder)


@pytest.fixture(scope="module")
def figures(counts: dict[str, int]) -> dict[str, int]:
    """What is written down for this environment."""
    known: dict[str, dict[str, int]] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    key = environment_key()
    if os.environ.get("UPDATE_INSTRUCTIONS"):
        known[key] = counts
        FIGURES.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    if key not in known:
        pytest.skip(f"no figures for {key}; write them with {HOW_TO_UPDATE}")
    return known[key]


@pytest.mark.parametrize("segment", SEGMENTS[1:])
def test_work_takes_no_more_instructions_than_before(
    segment: str, counts: dict[str, int], figures: dict[str, int]
) -> None:
    assert counts[segment] <= figures.get(segment, 0) * SLACK, (
        f"{segment}: {counts[segment]} instructions for one operation, were {figures.get(segment)}. "
        f"If that is worth it: {HOW_TO_UPDATE}, and commit {FIGURES.name}."
    )
