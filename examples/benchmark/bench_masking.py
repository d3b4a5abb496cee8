"""Time of the masking kernels by payload size, and of a masking key.

Kernels run in turn, in short rounds, so that a busy machine slows all of them. A figure is the median of the rounds in
nanoseconds a call, with its 10th to 90th percentile and how many times as fast as the scalar kernel it is. Payloads
begin at changing, mostly unaligned addresses of memory that is in the second level cache. It shows the kernel alone,
called as the codec calls it: no frame header, no socket, no memory that must first be fetched.

    taskset -c 1 python examples/benchmark/bench_masking.py
"""

import os
import platform
import statistics
import sysconfig
from pathlib import Path

from picows._codec import available_mask_impls, time_mask, time_masking_keys

SIZES = (5, 16, 50, 64, 125, 256, 1024, 4096, 16384, 131072)
ROUNDS = 41


def calls_for(size: int) -> int:
    """Calls that make a round of a fraction of a millisecond."""
    return max(20, min(20_000, 4_000_000 // (size + 64)))


def percentiles(samples: list[float]) -> tuple[float, float, float]:
    tenths = statistics.quantiles(samples, n=10)
    return statistics.median(samples), tenths[0], tenths[8]


def measure(size: int, in_place: bool) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {impl: [] for impl in available_mask_impls()}
    for _ in range(ROUNDS):
        for impl, times in samples.items():
            times.append(time_mask(impl, size, calls_for(size), in_place=in_place))
    return samples


def print_kernels(title: str, in_place: bool) -> None:
    impls = available_mask_impls()
    print(f"\n{title}, ns a call\n{'bytes':>8}" + "".join(f"{impl:>32}" for impl in impls))
    for size in SIZES:
        samples = measure(size, in_place)
        scalar = statistics.median(samples["scalar"])
        cells = []
        for impl in impls:
            median, low, high = percentiles(samples[impl])
            cells.append(f"{median:10.1f} ({low:.1f}-{high:.1f}) {scalar / median:4.1f}x")
        print(f"{size:8}" + "".join(f"{cell:>32}" for cell in cells))


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    compiler = platform.python_compiler()
    print(f"{cpu_name()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}, {platform.machine()}")
    print(f"Python {platform.python_version()} built by {compiler}, flags {sysconfig.get_config_var('CFLAGS')}")
    print_kernels("In place, as received payloads are unmasked", in_place=True)
    print_kernels("Copy, as sent payloads are masked", in_place=False)
    median, low, high = percentiles([time_masking_keys(10_240) for _ in range(ROUNDS)])
    print(f"\nA masking key, its share of the source's work included: {median:.2f} ns ({low:.2f}-{high:.2f})")


if __name__ == "__main__":
    main()
