"""What is measured: every scenario, its cases, and who takes part.

A *case* is one line of the report: a scenario at one size on one event loop. Names of scenarios and contenders are
stable, the targets refer to them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

KIB, MIB = 1024, 1024 * 1024
BUSY_POLL = 50  # microseconds


@dataclass(frozen=True)
class Contender:
    """A program that takes part.

    Attributes:
        name: Its name in the report.
        peer: Whose environment it needs; "native": a C program.
        program: File in contenders/, or in native/.
        mode: A way to do it, of those the program knows.
        role: What it does, where that is not the role of the case.
        keywords: Settings of the library.
    """

    name: str
    peer: str
    program: str
    mode: str = ""
    role: str = ""
    keywords: Mapping[str, Any] = field(default_factory=dict)


CORE = Contender("core", "ours", "picows_core")
AIO = Contender("aio", "ours", "aio")
PYPI_CORE = Contender("PyPI core", "picows", "picows_core")
PYPI_AIO = Contender("picows.websockets", "picows", "picows_websockets")
WEBSOCKETS = Contender("websockets", "websockets", "websockets_")
AIOHTTP = Contender("aiohttp", "aiohttp", "aiohttp_")
WEBSOCKET_RS = Contender("websocket-rs", "websocket-rs", "websocket_rs_")
C_BLOCKING = Contender("C blocking", "native", "floor_client", mode="blocking")
C_POLLING = Contender("C polling", "native", "floor_client", mode="polling")
C_KEEPING = Contender("C keeping", "native", "floor_client", mode="keeping")
C_SERVER = Contender("C epoll", "native", "echo_server")

AIO_ITERATING = Contender("aio async for", "ours", "aio", role="iterate")
CORE_POLLING = Contender("core busy_poll", "ours", "picows_core", keywords={"busy_poll": BUSY_POLL})
AIO_POLLING = Contender("aio busy_poll", "ours", "aio", keywords={"busy_poll": BUSY_POLL})
AIO_BATCHES = Contender("aio batches()", "ours", "aio", mode="batches")
AIO_VIEWS = Contender("aio views()", "ours", "aio", mode="views")
CORE_AIOFASTNET = Contender("core aiofastnet", "ours", "picows_core", keywords={"use_aiofastnet": True})
AIO_AIOFASTNET = Contender("aio aiofastnet", "ours", "aio", keywords={"use_aiofastnet": True})
AIO_ISAL = Contender("aio engine=isal", "ours", "aio", mode="isal")
CORE_CORKED = Contender("core cork()", "ours", "picows_core", mode="cork")
CORE_COALESCING = Contender("core coalesce", "ours", "picows_core", keywords={"coalesce": True})

LIBRARIES = (CORE, AIO, PYPI_CORE, PYPI_AIO, WEBSOCKETS, AIOHTTP)
CLIENTS = (*LIBRARIES, WEBSOCKET_RS)
SERVERS = (*LIBRARIES, C_SERVER)
PICOWS_LIKE = (CORE, AIO, PYPI_CORE, PYPI_AIO, WEBSOCKETS)
COMPRESSING = (AIO, PYPI_AIO, WEBSOCKETS, AIOHTTP, AIO_ISAL)


@dataclass(frozen=True)
class Case:
    """One line of the report.

    Attributes:
        scenario: Name for ``--scenario``.
        label: What tells it from the scenario's other cases, except for the loop.
        loop: "asyncio" or "uvloop".
        role: What the contenders do.
        contenders: Who takes part; noise is judged by running the first one twice.
        driver: Native program that talks to the contender and counts; "": the contender counts, against the C server.
        metric: "rate" (operations per second), "bytes" (per second), "idle" (KiB per connection) or "peak" (MiB).
        size: Payload in bytes.
        connections: Connections to the measured process, or from it.
        burst: Messages that a client sends at once.
        warm_up: Operations before the first measurement, at least.
        compression: permessage-deflate is negotiated.
        tls: The native server speaks TLS.
        awake: CPUs are kept from sleeping.
        stopped: Connections that do not read.
    """

    scenario: str
    label: str
    loop: str
    role: str
    contenders: tuple[Contender, ...]
    driver: str = ""
    metric: str = "rate"
    size: int = 0
    connections: int = 1
    burst: int = 1
    warm_up: int = 1
    compression: bool = False
    tls: bool = False
    awake: bool = False
    stopped: int = 0

    def names(self) -> dict[str, Any]:
        """What the case is called in results."""
        return {name: getattr(self, name) for name in ("scenario", "label", "loop", "metric", "size")}


def size_label(size: int) -> str:
    """`size` in bytes, for people."""
    if size >= MIB:
        return f"{size // MIB} MiB"
    return f"{size // KIB} KiB" if size >= KIB else f"{size} B"


def _clients(loop: str) -> Iterator[Case]:
    floors = (C_BLOCKING, C_POLLING)
    for size in (16, 256, 4 * KIB):
        contenders = (*CLIENTS, AIO_ITERATING, *floors)
        yield Case("roundtrip", size_label(size), loop, "roundtrip", contenders, size=size)
    for size in (16, 256):
        for awake in (False, True):
            label = f"{size_label(size)}, {'CPUs kept awake' if awake else 'usual'}"
            contenders = (CORE_POLLING, AIO_POLLING, *PICOWS_LIKE, *floors)
            yield Case("busy_poll", label, loop, "roundtrip", contenders, size=size, awake=awake)
    for size in (128 * KIB, 512 * KIB, MIB):
        yield Case("roundtrip_large", size_label(size), loop, "roundtrip", (*CLIENTS, C_BLOCKING), size=size)
    contenders = (*CLIENTS, CORE_AIOFASTNET, AIO_AIOFASTNET)
    yield Case("tls", "256 B", loop, "roundtrip", contenders, size=256, tls=True)
    for awake in (False, True):
        label = f"64 B, {'CPUs kept awake' if awake else 'usual'}"
        yield Case("clients_32", label, loop, "roundtrip", CLIENTS, size=64, connections=32, awake=awake)


def _streams(loop: str) -> Iterator[Case]:
    for size in (64, KIB, 9 * KIB):
        contenders = (*LIBRARIES, AIO_BATCHES, AIO_VIEWS, C_BLOCKING)
        yield Case("firehose", size_label(size), loop, "firehose", contenders, size=size)
    contenders = (*LIBRARIES, CORE_CORKED, CORE_COALESCING, C_BLOCKING)
    yield Case("send", "64 B", loop, "send", contenders, size=64)
    for role, scenario in (("firehose", "sweep_receive"), ("send", "sweep_send")):
        for size in (64 * 4**power for power in range(10)):
            label, contenders = size_label(size), (*PICOWS_LIKE, C_BLOCKING)
            if role == "firehose":
                contenders += (C_KEEPING,)
            yield Case(scenario, label, loop, role, contenders, metric="bytes", size=size)


def _servers(loop: str, quick: bool) -> Iterator[Case]:
    yield Case("server_latency", "1 client, 256 B", loop, "echo", SERVERS, driver="load", size=256)
    yield Case("server_256", "256 clients, 64 B", loop, "echo", SERVERS, driver="load", size=64, connections=256)
    bursts = (*SERVERS, CORE_COALESCING)
    yield Case("server_burst", "32 clients, 16 x 64 B", loop, "echo", bursts, "load", size=64, connections=32, burst=16)
    yield Case("handshakes", "16 at a time", loop, "echo", SERVERS, driver="handshakes", connections=16)
    members = 200 if quick else 1000
    for stopped in (0, members // 100):
        label = f"{members} clients, {'1 % of them stopped' if stopped else 'all reading'}"
        yield Case(
            *("broadcast", label, loop, "broadcast", PICOWS_LIKE, "receivers"),
            size=KIB,
            connections=members,
            warm_up=200,  # fills the buffers of those who do not read
            stopped=stopped,
        )


def _deflate(loop: str) -> Iterator[Case]:
    for size in (KIB, 64 * KIB):
        label = size_label(size)
        yield Case("deflate_client", label, loop, "roundtrip", COMPRESSING, size=size, compression=True)
        yield Case("deflate_server", label, loop, "echo", COMPRESSING, "load", size=size, compression=True)


def _memory(loop: str, quick: bool) -> Iterator[Case]:
    count = 500 if quick else 5000
    yield Case("idle", "no compression", loop, "echo", SERVERS, "receivers", "idle", connections=count)
    yield Case("idle", "deflate", loop, "echo", COMPRESSING, "receivers", "idle", connections=count, compression=True)
    yield Case("peak_memory", "16 MiB", loop, "firehose", LIBRARIES, metric="peak", size=16 * MIB)


def all_cases(loops: tuple[str, ...], quick: bool) -> list[Case]:
    """Every case, scenario by scenario.

    Args:
        loops: Event loops.
        quick: Fewer connections where there are many.
    """
    cases = [
        case
        for loop in loops
        for cases_of in (_clients(loop), _streams(loop), _servers(loop, quick), _deflate(loop), _memory(loop, quick))
        for case in cases_of
    ]
    order = {name: rank for rank, name in enumerate(dict.fromkeys(case.scenario for case in cases))}
    return sorted(cases, key=lambda case: order[case.scenario])
