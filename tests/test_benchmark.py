"""The benchmark runs: with this package alone, quickly, and with the shape of results that its report is made of."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "examples" / "benchmark" / "run.py"
ARGUMENTS = ["--quick", "--peers", "--rounds", "2", "--seconds", "0.01", "--ours-python", sys.executable]
CHOICE = [
    "--loops",
    "asyncio",
    "--scenario",
    "roundtrip",
    "server_burst",
    "idle",
    "--label",
    "256 B",
    "16 x",
    "no comp",
]
CAN_COUNT = all(shutil.which(tool) for tool in ("valgrind", "strace"))
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the native programs are for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="the native programs take a C compiler"),
]


def run(folder: Path, *arguments: object) -> str:
    """Run the benchmark with its files in `folder`; what it tells while it works."""
    places = ["--venvs", folder / "venvs", "--json", folder / "results.json", "--report", folder / "report"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDEVMODE"}
    done = subprocess.run(
        [sys.executable, PROGRAM, *ARGUMENTS, *map(str, arguments), *places],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run: results.json, and the report."""
    folder = tmp_path_factory.mktemp("benchmark")
    assert "aio" in run(folder, *CHOICE)
    return folder


@pytest.fixture(scope="module")
def results(output: Path) -> dict[str, dict]:
    """The case of each scenario."""
    document = json.loads((output / "results.json").read_text())
    assert document["machine"]["kernel"].startswith("Linux")
    assert list(document["versions"]) == ["ours"]
    return {case["scenario"]: case for case in document["cases"]}


def test_clients_are_measured_beside_their_floor(results: dict[str, dict]) -> None:
    contenders = results["roundtrip"]["contenders"]
    assert list(contenders) == ["core", "aio", "aio async for", "C blocking", "C polling", "core (again)"]
    for samples in contenders.values():
        assert len(samples["values"]) == len(samples["cpu_us"]) == 2
        assert all(value > 0 for value in samples["values"])


def test_servers_are_measured_with_latencies(results: dict[str, dict]) -> None:
    contenders = results["server_burst"]["contenders"]
    assert {"core", "aio", "core coalesce", "C epoll"} <= contenders.keys()
    for samples in contenders.values():
        assert all(
            p50 <= p99 <= p999
            for p50, p99, p999 in zip(*map(samples["latencies"].get, ("p50", "p99", "p999")), strict=True)
        )


def test_memory_is_measured(results: dict[str, dict]) -> None:
    assert {"core", "aio"} <= results["idle"]["contenders"].keys()


def test_who_is_missing_is_named(results: dict[str, dict]) -> None:
    assert results["roundtrip"]["skipped"]["websockets"] == "not installed"


def test_the_report_has_a_chart_and_a_table_of_each_scenario(output: Path, results: dict[str, dict]) -> None:
    markdown, rst = ((output / "report" / f"report.{suffix}").read_text() for suffix in ("md", "rst"))
    for scenario in results:
        assert (output / "report" / f"{scenario}.svg").read_text().startswith("<svg ")
        assert f"\n## {scenario}\n" in markdown
        assert f"\n{scenario}\n{'-' * len(scenario)}\n" in rst
    assert "aio async for / core" in markdown


def test_a_report_is_made_of_several_files(output: Path, tmp_path: Path) -> None:
    files = [output / "results.json"] * 2
    command = [sys.executable, PROGRAM, "--from", *files, "--report", tmp_path]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
    once, twice = ((folder / "report.md").read_text() for folder in (output / "report", tmp_path))
    heading = "### idle, no compression, asyncio"
    assert (once.count(heading), twice.count(heading)) == (1, 2)


def perf_can_count() -> bool:
    """Whether perf is here, and may see system calls."""
    command = ["perf", "stat", "--event=raw_syscalls:sys_enter", "true"]
    return bool(shutil.which("perf")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not CAN_COUNT, reason="valgrind and strace count")
def test_instructions_and_system_calls_stand_beside_times(output: Path, tmp_path: Path) -> None:
    run(tmp_path, "--count", "--loops", "asyncio", "--scenario", "server_burst")
    (case,) = json.loads((tmp_path / "results.json").read_text())["cases"]
    floor, core, coalescing = (case["counts"][name] for name in ("C epoll", "core", "core coalesce"))
    assert 0 < floor["instructions"] < coalescing["instructions"] < core["instructions"]
    assert core["system_calls"]["sendto"] == pytest.approx(1, abs=0.01)
    assert coalescing["system_calls"]["sendto"] == pytest.approx(1 / 16, abs=0.01)

    files = [output / "results.json", tmp_path / "results.json"]
    command = [sys.executable, PROGRAM, "--from", *files, "--report", tmp_path / "both"]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
    report = (tmp_path / "both" / "report.md").read_text()
    assert report.count("### server_burst") == 1
    assert "| instructions | system calls |" in report


@pytest.mark.skipif(not CAN_COUNT or not perf_can_count(), reason="valgrind, strace and perf count")
def test_system_calls_of_what_goes_by_the_clock_are_counted(tmp_path: Path) -> None:
    run(tmp_path, "--count", "--loops", "asyncio", "--scenario", "busy_poll", "send", "--label", "256 B, usual", "64 B")
    polling, sending = json.loads((tmp_path / "results.json").read_text())["cases"]
    for name in ("core busy_poll", "core", "C polling"):
        assert polling["counts"][name].keys() == {"system_calls"}
        assert polling["counts"][name]["system_calls"]["sendto"] == pytest.approx(1, abs=0.01)
    assert polling["counts"]["core busy_poll"]["system_calls"].get("epoll_wait", 0) < 0.5
    assert 0 < sending["counts"]["aio"]["system_calls"]["sendto"] < 0.1
    assert sending["counts"]["core"]["instructions"] > 0
    assert "| core busy_poll | - |" in (tmp_path / "report" / "report.md").read_text()
