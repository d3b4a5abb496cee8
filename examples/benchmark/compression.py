"""What permessage-deflate costs with each engine: time, size and memory, for JSON messages of several sizes.

Every variant is a codec of picows_aio as a connection has it. "auto" is the default: zlib with the window of the
connection for what is small, ISA-L for the rest; on the client's side ISA-L for all of it. The variants run in turn, in
short rounds, so that a busy machine slows all of them; a row has the median of the rounds, with the 10th to 90th
percentile in parentheses. Times are CPU time of one thread for compressing and for decompressing one message, without
network and event loop. KiB are what a compressor and a decompressor hold between messages, once they have worked; what
connections share is not in it.

The messages look like market data, with few different field names and many different numbers. Text compresses better,
noise not at all.

    pip install zlib-ng && python examples/benchmark/compression.py
"""

import itertools
import json
import platform
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator

from picows_aio.deflate import DeflateCodec, DeflateParameters

SIZES = {64: 200, 256: 150, 1024: 100, 4096: 50, 65536: 6}  # bytes of a message, and how many there are
SIZES_WITH_LARGE_WINDOWS = {1024, 65536}
ENGINES = ["auto", "auto, client", "zlib", "zlib-ng", "isal"]
SETTINGS = {12: {"memLevel": 5}, 15: {"memLevel": 8}}  # by window bits
ROUNDS = 40
MORE_CONNECTIONS = 10  # of which memory is the mean
Times = list[tuple[float, float, float]]
Variant = tuple[int, bool, str]  # window bits, whether with takeover, engine
SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT"]


def make_messages(size: int, count: int) -> list[bytes]:
    """Messages of about this size, the same on every run."""
    source = random.Random(size)
    messages = []
    for number in range(count):
        trades: list[dict[str, object]] = []
        length = 0
        while length + 50 < size or not trades:
            price, quantity = f"{source.uniform(1, 60000):.2f}", f"{source.random():.5f}"
            trade = {"s": source.choice(SYMBOLS), "p": price, "q": quantity, "t": 1_700_000_000_000 + number}
            trades.append(trade | {"e": "trade", "m": source.random() < 0.5} if size > 64 else trade)
            length += len(json.dumps(trades[-1], separators=(",", ":"))) + 1
        messages.append(json.dumps(trades if size > 64 else trades[0], separators=(",", ":")).encode())
    return messages


def make_codec(engine: str, bits: int, has_takeover: bool) -> DeflateCodec:
    name, *side = engine.split(", ")
    return DeflateCodec(
        DeflateParameters(
            has_takeover, has_takeover, bits, bits, SETTINGS[bits], engine=name, is_client_side=bool(side)
        )
    )


def time_once(codec: DeflateCodec, messages: list[bytes]) -> tuple[float, float, float]:
    """Microseconds to compress and to decompress a message, and what part of its size is left."""
    start = time.process_time()
    payloads = [codec.compress(message, True) for message in messages]
    middle = time.process_time()
    for payload in payloads:
        codec.decompress(payload, True, 1 << 20)
    end = time.process_time()
    scale = 1e6 / len(messages)
    ratio = sum(map(len, payloads)) / sum(map(len, messages))
    return (middle - start) * scale, (end - middle) * scale, ratio


def measure_memory(engine: str, bits: int, has_takeover: bool, messages: list[bytes]) -> tuple[float, float]:
    """KiB that compressor and decompressor hold between messages: what more connections add to one."""
    codecs = [make_codec(engine, bits, has_takeover) for _ in range(1 + MORE_CONNECTIONS)]

    def work(step: Callable[[DeflateCodec], object]) -> float:
        step(codecs[0])  # what is shared exists now
        before = tracemalloc.get_traced_memory()[0]
        for codec in codecs[1:]:
            step(codec)
        return (tracemalloc.get_traced_memory()[0] - before) / MORE_CONNECTIONS / 1024

    tracemalloc.start()
    try:
        send = work(lambda codec: [codec.compress(message, True) for message in messages])
        payload = make_codec(engine, bits, has_takeover).compress(messages[0], True)
        return send, work(lambda codec: codec.decompress(payload, True, 1 << 20))
    finally:
        tracemalloc.stop()


def installed_engines() -> Iterator[str]:
    for engine in ENGINES:
        try:
            make_codec(engine, 12, True)
        except ImportError as exc:
            print(exc)
        else:
            yield engine


def spread(values: list[float]) -> str:
    tenths = statistics.quantiles(values, n=10)
    return f"{statistics.median(values):7.1f} ({tenths[0]:6.1f} to {tenths[-1]:6.1f})"


def time_rounds(messages: list[bytes], variants: list[Variant]) -> dict[Variant, Times]:
    times: dict[Variant, Times] = {variant: [] for variant in variants}
    order = random.Random(1)
    for _ in range(ROUNDS):
        for bits, has_takeover, engine in order.sample(variants, len(variants)):
            results = time_once(make_codec(engine, bits, has_takeover), messages)
            times[bits, has_takeover, engine].append(results)
    return times


def main() -> None:
    engines = list(installed_engines())
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.platform()}")
    print(f"{'compress, us':28}  {'decompress, us':28}  ratio  KiB to send + receive")
    for size, count in SIZES.items():
        messages = make_messages(size, count)
        windows = [12, 15] if size in SIZES_WITH_LARGE_WINDOWS else [12]
        variants = list(itertools.product(windows, (True, False), engines))
        for (bits, has_takeover, engine), results in time_rounds(messages, variants).items():
            compress, decompress, ratios = map(list, zip(*results, strict=True))
            send, receive = measure_memory(engine, bits, has_takeover, messages)
            print(
                f"{spread(compress)}  {spread(decompress)}  {ratios[0]:.3f}  {send:5.1f} + {receive:4.1f}  "
                f"{size} B, {bits} bits, {'with' if has_takeover else 'no'} takeover, {engine}"
            )


if __name__ == "__main__":
    main()
