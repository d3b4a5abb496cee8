"""Speed of the text validator beside Python's decoder, by language.

The two run in turn, in short rounds, so that a busy machine slows both. A figure is the median of the rounds in
gigabytes a second, then the ratio and its 10th to 90th percentile. The decoder also makes a string, which the
validator does not; what validating early costs on top of decoding is the validator's time alone.

    taskset -c 1 python examples/benchmark/bench_utf8.py
"""

import platform
import random
import statistics
import time

from picows._codec import time_utf8

ROUNDS = 41
CALLS = 200


def words(alphabet: str, size: int) -> bytes:
    """Words of one to nine letters, in all about `size` bytes."""
    choose = random.Random(size)
    text = ""
    while len(text.encode()) < size:
        text += "".join(choose.choices(alphabet, k=choose.randint(1, 9))) + " "
    return text.encode()


TEXTS = {
    "ASCII, 60 bytes": b'{"e":"trade","s":"BTCUSDT","p":"67311.20","q":"0.00120000"}.',
    "ASCII, 4 KiB": words("abcdefghijklmnopqrstuvwxyz", 4096),
    "French, 4 KiB": words("abcdefghijklmnopqrstuvwxyzàâçéèêîôùû", 4096),
    "Greek, 4 KiB": words("αβγδεζηθικλμνξοπρστυφχψω", 4096),
    "Japanese, 4 KiB": words("漢字仮名交じり文の例です", 4096),
    "emoji, 4 KiB": words("😀😁😂ok", 4096),
}


def time_decode(data: bytes, calls: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(calls):
        data.decode()
    return (time.perf_counter_ns() - start) / calls


def main() -> None:
    print(f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}")
    print(f"{'text':>16}{'validator':>12}{'decoder':>10}{'ratio':>7}")
    for name, data in TEXTS.items():
        rounds = [(time_utf8(data, CALLS), time_decode(data, CALLS)) for _ in range(ROUNDS)]
        validator, decoder = (statistics.median(times) for times in zip(*rounds, strict=True))
        tenths = statistics.quantiles([theirs / ours for ours, theirs in rounds], n=10)
        speeds = f"{len(data) / validator:>12.1f}{len(data) / decoder:>10.1f}{decoder / validator:>6.1f}x"
        print(f"{name:>16}{speeds} ({tenths[0]:.1f}-{tenths[8]:.1f})")


if __name__ == "__main__":
    main()
