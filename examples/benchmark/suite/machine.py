"""What the figures were measured on."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def describe(root: Path) -> dict[str, str]:
    """What a reader has to know beside the figures."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "revision": _first_line("git", "-C", str(root), "describe", "--always", "--dirty"),
        "CPU": _cpu_model(),
        "CPUs": str(len(os.sched_getaffinity(0))),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "C compiler": _first_line("cc", "--version"),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def choose_cpus() -> tuple[int, int]:
    """A CPU for what is measured and one for its peer: of different cores where there are two."""
    available = sorted(os.sched_getaffinity(0))
    measured = available[0]
    siblings = _siblings(measured)
    others = [cpu for cpu in available if cpu not in siblings] or available[1:] or available
    return measured, others[0]


def _siblings(cpu: int) -> set[int]:
    """CPUs of the same core, itself among them."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    if not path.exists():
        return {cpu}
    found = set()
    for part in path.read_text().strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"
