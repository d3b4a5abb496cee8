"""A connection may be cut after any byte: each callback comes exactly once, and nothing is left behind."""

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest

from picows import WSError, WSFrame, WSTransport, WSUpgradeRequest, ws_connect
from tests.support import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    Frame,
    RawPeer,
    close_payload,
    connect_raw_peer,
    encode_frame,
    encode_head,
    switching_fields,
    upgrade_fields,
)
from tests.support.recorder import Accepted, Echo, Recorder
from tests.support.relay import CuttingRelay

KEY = b"\x77\x00\xff\x80"
HANDSHAKE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SCRIPT = [
    Frame(TEXT, b"hello"),
    Frame(BINARY, b"first", fin=False),
    Frame(PING, b"are you there"),
    Frame(CONTINUATION, bytes(range(130))),
    Frame(TEXT, b""),
    Frame(CLOSE, close_payload(1000, "bye")),
]
AT_ONCE = 20  # connections that are cut side by side


class Chatty(Recorder):
    """Sends in every callback, so that the cut also meets writes."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        transport.send_message("welcome")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        transport.send_message("thanks")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        super().on_ws_disconnected(transport)
        transport.send_message("nobody hears that")


def script_bytes(key: bytes | None) -> list[bytes]:
    """The script's frames as they stand on the wire."""
    return [encode_frame(frame.opcode, frame.payload, fin=frame.fin, key=key) for frame in SCRIPT]


def frames_within(size: int, key: bytes | None) -> list[Frame]:
    """The frames that so many bytes of the script complete, but for the ping, which is not delivered."""
    ends = itertools.accumulate(map(len, script_bytes(key)))
    return [frame for frame, end in zip(SCRIPT, ends, strict=True) if end <= size and frame.opcode != PING]


def check(listener: Recorder, frames: list[Frame]) -> None:
    """Each callback exactly once, in order, and no frame lost or invented."""
    assert listener.frames == frames
    assert listener.calls == ["on_ws_connected", *["on_ws_frame"] * len(frames), "on_ws_disconnected"]
    assert listener.transport.is_disconnected


async def in_groups(coroutines: list[Coroutine[Any, Any, None]]) -> None:
    """Run them, some at a time."""
    for begin in range(0, len(coroutines), AT_ONCE):
        await asyncio.gather(*coroutines[begin : begin + AT_ONCE])


async def cut(peer: RawPeer, way: str) -> None:
    """End the connection: politely, as a process that dies does, or with a reset."""
    if way == "FIN":
        peer.half_close()
        await peer.read_to_end()
    elif way == "RST":
        peer.reset()
    peer.close()


every_way = pytest.mark.parametrize("way", ["FIN", "close", "RST"])


def request_to_be_cut_after(size: int) -> bytes:
    """A request that says after how many bytes its connection will be cut; all have the same length."""
    return encode_head(f"GET /{size:05} HTTP/1.1", [("Host", "localhost"), *upgrade_fields(HANDSHAKE_KEY)])


@pytest.mark.links("plain", "unix")
@pytest.mark.parametrize("options", [{}, {"busy_poll": 30, "coalesce": True}], ids=["default", "polling"])
@every_way
async def test_a_server_survives_a_cut_after_every_byte(serve, way, options):
    head_size = len(request_to_be_cut_after(0))
    total = head_size + sum(map(len, script_bytes(KEY)))
    listeners: dict[int, Chatty] = {}

    def make_listener(request: WSUpgradeRequest) -> Chatty:
        return listeners.setdefault(int(request.path[1:]), Chatty())

    async def cut_after(size: int) -> None:
        async with await connect_raw_peer(endpoint) as peer:
            peer.write_bytes((request_to_be_cut_after(size) + b"".join(script_bytes(KEY)))[:size])
            await cut(peer, way)

    async with asyncio.timeout(20), serve(make_listener, **options) as endpoint:
        await in_groups([cut_after(size) for size in range(1, total + 1)])
        while len(listeners) < total - head_size + 1:
            await asyncio.sleep(0)
        for size, listener in listeners.items():
            await listener.disconnected.wait()
            check(listener, frames_within(size - head_size, KEY))
        assert min(listeners) == head_size


@pytest.mark.links("plain", "unix")
@every_way
async def test_a_client_survives_a_cut_after_every_byte(raw_server, way):
    script = b"".join(script_bytes(None))

    async def serve_cut(peer: RawPeer) -> None:
        request = await peer.read_http_head()
        size = int(request.target[1:])
        head = encode_head("HTTP/1.1 101 Switching Protocols", switching_fields(request))
        head_sizes.add(len(head))
        peer.write_bytes((head + script)[:size])
        await cut(peer, way)

    async def serve_all(group: asyncio.TaskGroup) -> None:
        while True:
            group.create_task(serve_cut(await server.accept(upgrade=False)))

    async def be_cut_after(size: int) -> None:
        try:
            transport, listener = await ws_connect(Chatty, f"{server.url}{size:05}", **server.connect_options)
        except (WSError, OSError):
            refused.add(size)
            return
        with contextlib.suppress(OSError):  # of our own writes
            await transport.wait_disconnected()
        check(listener, frames_within(size - min(head_sizes), None))

    head_sizes: set[int] = set()
    refused: set[int] = set()
    async with asyncio.timeout(20), raw_server() as server, asyncio.TaskGroup() as group:
        serving = group.create_task(serve_all(group))
        await be_cut_after(1)
        (head_size,) = head_sizes
        await in_groups([be_cut_after(size) for size in range(2, head_size + len(script) + 1)])
        serving.cancel()
        assert refused == set(range(1, head_size))


class Scripted(Recorder):
    """A client that says its lines and closes when they have all come back."""

    LINES = ("hello", b"bytes " * 200, "bye")

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        for line in self.LINES:
            transport.send_message(line)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        if len(self.frames) == len(self.LINES):
            transport.send_close(1000)


def check_order(listener: Recorder) -> None:
    """One beginning, one end, and only frames between them."""
    assert listener.calls[0] == "on_ws_connected"
    assert listener.calls[-1] == "on_ws_disconnected"
    assert set(listener.calls[1:-1]) <= {"on_ws_frame"}


@pytest.mark.links("plain", "tls")
@pytest.mark.parametrize("way", ["FIN", "RST"])
@pytest.mark.parametrize("direction", ["client", "server"])
async def test_both_ends_survive_a_cut_between_them(serve, link, direction, way):
    """The same with a relay in the middle, which also cuts TLS inside its records and its handshake."""

    async def is_finished_in_spite_of_a_cut_after(size: int) -> bool:
        async with CuttingRelay(endpoint.address, direction, size, way) as relay:
            url = f"{endpoint.url.partition(':')[0]}://127.0.0.1:{relay.port}/"
            try:
                transport, listener = await ws_connect(Scripted, url, **endpoint.connect_options)
            except (WSError, OSError):
                return False
            with contextlib.suppress(OSError):
                await transport.wait_disconnected()
            check_order(listener)
            return transport.close_handshake is not None and transport.close_handshake.recv is not None

    accepted = Accepted(Echo)
    sizes = itertools.count(1, 5 if link.kind == "plain" else 29)
    async with asyncio.timeout(20), serve(accepted) as endpoint:
        while not await is_finished_in_spite_of_a_cut_after(next(sizes)):
            pass
        for _ in accepted.requests:
            listener = await accepted.next()
            await listener.disconnected.wait()
            check_order(listener)
