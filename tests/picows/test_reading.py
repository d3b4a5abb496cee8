"""Delivery of what was read: pausing it, its end, and where a frame stands in its read."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from picows import WSFrame, WSListener, WSTransport
from tests.support import BINARY, CONTINUATION, PING, PONG, TEXT, Frame, encode_frame
from tests.support.recorder import Recorder

pytestmark = pytest.mark.links("plain")

EVERY_LINK = pytest.mark.links("plain", "tls", "unix")
KEY = b"\x00\x11\x80\xfe"


def stream_for(side: str, *frames: Frame) -> bytes:
    """Bytes of these frames as the peer of `side` sends them."""
    key = KEY if side == "server" else None
    return b"".join(encode_frame(f.opcode, f.payload, fin=f.fin, rsv=f.rsv, key=key) for f in frames)


def numbered(count: int) -> list[Frame]:
    """Frames that can be told apart."""
    return [Frame(TEXT, b"number %d" % number) for number in range(count)]


class Acting(Recorder):
    """Calls a function after each frame, with the transport and the count of frames."""

    def __init__(self, act: Callable[[WSTransport, int], None]) -> None:
        super().__init__()
        self.act = act

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        self.act(transport, len(self.frames))


async def turns(count: int = 5) -> None:
    """Let the loop go round: whatever was ready has then happened."""
    for _ in range(count):
        await asyncio.sleep(0)


async def nothing_is_delivered(session: Any) -> None:
    """The peer's frames wait, though the loop had every opportunity to deliver them."""
    before = len(session.listener.frames)
    await turns(20)
    assert len(session.listener.frames) == before


# pause_reading() and resume_reading()


async def test_a_read_that_brings_nothing_leaves_nothing(open_session, side):
    """A TLS transport asks where to put data before it knows that there is none; then the buffer it got is void."""
    async with asyncio.timeout(10), open_session(Recorder) as session:
        protocol = session.transport.underlying_transport.get_protocol()
        session.transport.pause_reading()
        protocol.get_buffer(-1)
        session.transport.resume_reading()
        await turns()
        session.peer.write_bytes(stream_for(side, Frame(TEXT, b"small")))
        assert await session.listener.next_frame() == Frame(TEXT, b"small")
        whole = stream_for(side, Frame(BINARY, bytes(100_000)))
        session.peer.write_bytes(whole[:80_000])
        await session.has_read(len(stream_for(side, Frame(TEXT, b"small"))) + 80_000)
        protocol.get_buffer(-1)
        session.transport.pause_reading()
        protocol.data_received(whole[80_000:])
        session.transport.resume_reading()
        assert await session.listener.next_frame() == Frame(BINARY, bytes(100_000))
        session.peer.write_bytes(stream_for(side, Frame(TEXT, b"last")))
        assert await session.listener.next_frame() == Frame(TEXT, b"last")


@EVERY_LINK
async def test_a_pause_inside_on_ws_frame_holds_the_next_frame(open_session, side):
    """It takes effect before the next frame, though that was read already."""

    def pause(transport: WSTransport, count: int) -> None:
        if count in (1, 3):
            transport.pause_reading()

    frames = numbered(5)
    async with asyncio.timeout(5), open_session(lambda: Acting(pause)) as session:
        session.peer.write_bytes(stream_for(side, *frames))
        await session.listener.next_frame()
        await nothing_is_delivered(session)
        assert session.listener.frames == frames[:1]
        session.transport.resume_reading()
        assert session.listener.frames == frames[:1], "frames are delivered in the next turn of the loop"
        while len(session.listener.frames) < 3:
            await asyncio.sleep(0)
        await nothing_is_delivered(session)
        assert session.listener.frames == frames[:3]
        session.transport.resume_reading()
        while len(session.listener.frames) < 5:
            await asyncio.sleep(0)
        assert session.listener.frames == frames


@EVERY_LINK
async def test_a_pause_outside_of_callbacks_holds_everything(open_session, side):
    frames = numbered(3)
    async with asyncio.timeout(5), open_session() as session:
        session.transport.pause_reading()
        session.peer.write_bytes(stream_for(side, *frames))
        await nothing_is_delivered(session)
        session.transport.resume_reading()
        assert [await session.listener.next_frame() for _ in frames] == frames


async def test_a_pause_in_on_ws_connected_holds_what_came_with_the_handshake(open_session, side):
    class Pausing(Recorder):
        def on_ws_connected(self, transport: WSTransport) -> None:
            super().on_ws_connected(transport)
            transport.pause_reading()

    frames = numbered(3)
    async with asyncio.timeout(5), open_session(Pausing) as session:
        session.peer.write_bytes(stream_for(side, *frames))
        await nothing_is_delivered(session)
        session.transport.resume_reading()
        assert [await session.listener.next_frame() for _ in frames] == frames


@EVERY_LINK
async def test_a_pause_slows_the_peer_down(open_session):
    """Nothing is read that is not delivered: the kernel's buffers fill, and TCP stops the peer."""
    payload = bytes(1 << 20)
    async with asyncio.timeout(20), open_session() as session:
        session.transport.pause_reading()
        for _ in range(20):
            session.peer.write_frame(BINARY, payload)
        await nothing_is_delivered(session)
        assert session.transport.stats().bytes_received <= 1 << 20
        session.transport.resume_reading()
        for _ in range(20):
            assert await session.listener.next_frame() == Frame(BINARY, payload)


@EVERY_LINK
async def test_one_frame_at_a_time(open_session, side):
    """A consumer that takes each frame in a task of its own loses none and gets no two."""

    def pause(transport: WSTransport, count: int) -> None:
        transport.pause_reading()

    frames = [*numbered(50), Frame(BINARY, bytes(200_000)), *numbered(50)]
    async with asyncio.timeout(10), open_session(lambda: Acting(pause)) as session:
        session.peer.write_bytes(stream_for(side, *frames))
        for count, frame in enumerate(frames, 1):
            assert await session.listener.next_frame() == frame
            await asyncio.sleep(0)
            assert len(session.listener.frames) == count
            session.transport.resume_reading()


async def test_a_pause_that_is_taken_back_in_the_same_callback_is_none(open_session, side):
    def pause_and_resume(transport: WSTransport, count: int) -> None:
        transport.pause_reading()
        transport.resume_reading()

    frames = numbered(200)
    async with asyncio.timeout(5), open_session(lambda: Acting(pause_and_resume)) as session:
        session.peer.write_bytes(stream_for(side, *frames))
        assert [await session.listener.next_frame() for _ in frames] == frames


@pytest.mark.parametrize("way", ["resume, pause", "pause, pause, resume", "resume, resume"])
async def test_pauses_do_not_nest(open_session, way):
    async with asyncio.timeout(5), open_session() as session:
        session.transport.pause_reading()
        for step in way.split(", "):
            getattr(session.transport, f"{step}_reading")()
        session.peer.write_frame(TEXT, "x")
        if way == "resume, pause":
            await nothing_is_delivered(session)
            session.transport.resume_reading()
        assert await session.listener.next_frame() == Frame(TEXT, b"x")


async def test_a_pause_holds_pings_too(open_session, side):
    """While paused, pings are not answered: nothing behind the frame that paused is looked at."""

    def pause(transport: WSTransport, count: int) -> None:
        if count == 1:
            transport.pause_reading()

    async with asyncio.timeout(5), open_session(lambda: Acting(pause)) as session:
        session.peer.write_bytes(stream_for(side, Frame(TEXT, b"x"), Frame(PING, b"later"), Frame(TEXT, b"y")))
        await session.listener.next_frame()
        await turns()
        assert session.transport.stats().pings_received == 0
        session.transport.resume_reading()
        assert await session.peer.read_frame() == Frame(PONG, b"later")
        assert await session.listener.next_frame() == Frame(TEXT, b"y")


async def test_a_large_frame_may_be_paused_in_the_middle(open_session):
    payload = bytes(range(256)) * 8192
    async with asyncio.timeout(10), open_session() as session:
        session.peer.write_frame(BINARY, payload[: 1 << 20], announced_size=len(payload))
        await session.has_read(1 << 20)
        session.transport.pause_reading()
        if session.is_client:
            session.peer.write_bytes(payload[1 << 20 :])
            await nothing_is_delivered(session)
            session.transport.resume_reading()
            assert await session.listener.next_frame() == Frame(BINARY, payload)


@EVERY_LINK
@pytest.mark.parametrize("way", ["half_close", "close", "reset"])
async def test_what_arrived_before_the_end_is_delivered_after_a_pause(open_session, side, way):
    """No message received whole before the fault is lost, though nobody wanted it just then."""

    def pause(transport: WSTransport, count: int) -> None:
        if count == 2:
            transport.pause_reading()

    frames = numbered(5)
    async with asyncio.timeout(5), open_session(lambda: Acting(pause)) as session:
        session.peer.write_bytes(stream_for(side, *frames))
        await session.listener.next_frame()
        await session.listener.next_frame()
        getattr(session.peer, way)()
        await turns()
        session.transport.resume_reading()
        await session.transport.wait_disconnected()
        assert session.listener.frames == frames
        assert session.listener.calls[-1] == "on_ws_disconnected"


@pytest.mark.links("tls")
@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_the_last_frames_come_even_to_a_listener_that_pauses_at_each(open_session, side):
    """asyncio's own TLS takes the peer's end in the same read: who pauses then has the choice between now and never."""

    def pause(transport: WSTransport, count: int) -> None:
        transport.pause_reading()

    frames = numbered(5)
    async with asyncio.timeout(5), open_session(lambda: Acting(pause), use_aiofastnet=False) as session:
        session.peer.write_bytes(stream_for(side, *frames))
        session.peer.half_close()
        await session.transport.wait_disconnected()
        assert session.listener.frames == frames


@EVERY_LINK
@pytest.mark.parametrize("graceful", [True, False])
async def test_a_paused_connection_whose_peer_is_gone_can_be_dropped(open_session, graceful):
    async with asyncio.timeout(5), open_session() as session:
        session.transport.pause_reading()
        session.peer.half_close()
        await turns(20)
        session.transport.disconnect(graceful)
        session.peer.close()
        await session.transport.wait_disconnected()


async def test_a_paused_connection_can_be_dropped(open_session, side):
    async with asyncio.timeout(5), open_session() as session:
        session.transport.pause_reading()
        session.peer.write_bytes(stream_for(side, *numbered(3)))
        await turns()
        session.transport.disconnect()
        session.transport.resume_reading()
        session.transport.pause_reading()
        await session.transport.wait_disconnected()
        assert session.listener.frames == []


async def test_pausing_a_connection_that_is_gone_does_nothing(open_session):
    async with asyncio.timeout(5), open_session() as session:
        session.peer.close()
        await session.transport.wait_disconnected()
        session.transport.pause_reading()
        session.transport.resume_reading()
        assert session.listener.calls == ["on_ws_connected", "on_ws_disconnected"]


# on_read_end


class Batching(Recorder):
    """Notes how many frames had come at the end of each read."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def on_read_end(self, transport: WSTransport) -> None:
        self.batches.append(len(self.frames))


async def test_on_read_end_comes_once_after_the_frames_of_a_read(open_session, side):
    async with asyncio.timeout(5), open_session(Batching) as session:
        for count in (1, 5, 20):
            stream = stream_for(side, *numbered(count))
            await session.write_in_pieces(stream, [])
        assert session.listener.batches == [1, 6, 26]


async def test_on_read_end_comes_after_reads_without_a_whole_frame_or_with_only_pings(open_session, side):
    async with asyncio.timeout(5), open_session(Batching) as session:
        stream = stream_for(side, Frame(PING, b"x"), Frame(TEXT, b"two pieces"))
        await session.write_in_pieces(stream, [len(stream) - 3])
        assert session.listener.batches[-1] == 1
        assert set(session.listener.batches[:-1]) <= {0}


async def test_on_read_end_may_pause_and_send(open_session, side):
    class Answering(Batching):
        def on_read_end(self, transport: WSTransport) -> None:
            super().on_read_end(transport)
            transport.send_message(f"{len(self.frames)} so far")
            transport.pause_reading()

    async with asyncio.timeout(5), open_session(Answering) as session:
        session.peer.write_bytes(stream_for(side, *numbered(3)))
        assert await session.peer.read_frame() == Frame(TEXT, b"3 so far")
        session.peer.write_bytes(stream_for(side, *numbered(2)))
        await nothing_is_delivered(session)
        session.transport.resume_reading()
        assert await session.peer.read_frame() == Frame(TEXT, b"5 so far")


async def test_on_read_end_comes_before_the_close_that_a_violation_causes(open_session, side):
    """Frames that came before a violation in the same read can still be answered."""

    class Answering(Batching):
        def on_read_end(self, transport: WSTransport) -> None:
            super().on_read_end(transport)
            transport.send_message(f"{len(self.frames)} so far")

    async with asyncio.timeout(5), open_session(Answering) as session:
        session.peer.write_bytes(stream_for(side, *numbered(3)) + stream_for(side, Frame(11, b"reserved opcode")))
        assert await session.peer.read_frame() == Frame(TEXT, b"3 so far")
        assert (await session.peer.read_frame()).payload[:2] == (1002).to_bytes(2, "big")


# Reassignment


async def test_a_callback_may_be_replaced_while_frames_are_delivered(open_session, side):
    """An attribute of the instance counts from the next frame on, also within one read."""
    seen: list[tuple[str, bytes]] = []

    class Changing(WSListener):
        def on_ws_connected(self, transport: WSTransport) -> None:
            self.transport = transport
            self.done = asyncio.get_running_loop().create_future()

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            seen.append(("method", frame.get_payload_as_bytes()))
            self.on_ws_frame = self.replacement  # type: ignore[method-assign]

        def replacement(self, transport: WSTransport, frame: WSFrame) -> None:
            seen.append(("attribute", frame.get_payload_as_bytes()))
            if frame.get_payload_as_bytes() == b"number 2":
                del self.on_ws_frame
            if frame.get_payload_as_bytes() == b"number 5":
                self.done.set_result(None)

    async with asyncio.timeout(5), open_session(Changing) as session:
        session.peer.write_bytes(stream_for(side, *numbered(6)))
        await session.listener.done
        who = ["method", "attribute", "attribute", "method", "attribute", "attribute"]
        assert seen == [(name, b"number %d" % number) for number, name in enumerate(who)]


@pytest.mark.parametrize("name", ["on_ws_frame", "on_read_end"])
async def test_a_callback_may_be_given_to_an_instance_from_outside(open_session, side, name):
    async with asyncio.timeout(5), open_session(Batching) as session:
        session.peer.write_frame(TEXT, "before")
        await session.listener.next_frame()
        called = asyncio.get_running_loop().create_future()
        setattr(session.listener, name, lambda *arguments: called.done() or called.set_result(arguments))
        session.peer.write_frame(TEXT, "after")
        arguments = await called
        assert arguments[0] is session.transport


class Bare(WSListener):
    """Keeps its transport and nothing else."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport


class Collecting(Bare):
    """Collects payloads; `Bare` with a callback of the same name in the class."""

    def __init__(self, payloads: list[bytes]) -> None:
        self.payloads = payloads

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.payloads.append(frame.get_payload_as_bytes())


def assigned_lambda(listener, payloads):
    listener.on_ws_frame = lambda transport, frame: payloads.append(bytes(frame))


def dictionary_entry(listener, payloads):
    vars(listener)["on_ws_frame"] = lambda transport, frame: payloads.append(bytes(frame))


def method_of_another_listener(listener, payloads):
    listener.on_ws_frame = Collecting(payloads).on_ws_frame


def method_of_another_in_the_dictionary(listener, payloads):
    vars(listener)["on_ws_frame"] = Collecting(payloads).on_ws_frame


def partial_function(listener, payloads):
    vars(listener)["on_ws_frame"] = functools.partial(lambda kept, _, frame: kept.append(bytes(frame)), payloads)


@pytest.mark.parametrize(
    "give",
    [
        assigned_lambda,
        dictionary_entry,
        method_of_another_listener,
        method_of_another_in_the_dictionary,
        partial_function,
    ],
)
@pytest.mark.parametrize("make", [Bare, lambda: Collecting([])], ids=["Bare", "Collecting"])
async def test_callbacks_may_be_given_before_the_connection(open_session, give, make):
    payloads: list[bytes] = []

    def make_listener() -> WSListener:
        listener = make()
        give(listener, payloads)
        return listener

    async with asyncio.timeout(5), open_session(make_listener) as session:
        session.peer.write_frame(TEXT, "given")
        while not payloads:
            await asyncio.sleep(0)
        assert payloads == [b"given"]


async def test_callbacks_of_any_kind_in_the_class(open_session):
    payloads: list[bytes] = []

    class Static(Bare):
        @staticmethod
        def on_ws_frame(transport: WSTransport, frame: WSFrame) -> None:  # type: ignore[override]
            payloads.append(frame.get_payload_as_bytes())

    class Computed(Bare):
        @property
        def on_ws_frame(self):  # type: ignore[override]
            return Static.on_ws_frame

    for listener_class in (Static, Computed):
        async with asyncio.timeout(5), open_session(listener_class) as session:
            session.peer.write_frame(TEXT, listener_class.__name__)
            while payloads[-1:] != [listener_class.__name__.encode()]:
                await asyncio.sleep(0)


# last_in_buffer and tail_size


class Measuring(Recorder):
    """Keeps what frames say about their place in the read."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[tuple[bool, int]] = []

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        self.places.append((frame.last_in_buffer, frame.tail_size))


TEXT_A, BINARY_B, PING_C = Frame(TEXT, b"abc"), Frame(BINARY, b"de", fin=False, rsv=4), Frame(PING, b"p")


@pytest.mark.parametrize(
    ("reads", "places"),
    [
        pytest.param([[TEXT_A]], [(True, 0)], id="alone"),
        pytest.param([[TEXT_A, BINARY_B, Frame(CONTINUATION, b"f")]], [(False, 2), (False, 1), (True, 0)], id="three"),
        pytest.param([[TEXT_A], [TEXT_A]], [(True, 0), (True, 0)], id="two reads"),
        pytest.param([[TEXT_A, PING_C]], [(False, 1)], id="before a ping that is answered"),
        pytest.param([[PING_C, TEXT_A, Frame(PONG, b"zz")]], [(False, 1), (True, 0)], id="behind a ping"),
    ],
)
async def test_frames_tell_their_place_in_the_read(open_session, side, reads, places):
    """`last_in_buffer`: no whole frame follows; `tail_size`: bytes behind it. The PyPI package 2.3.1 means the same."""
    expected = []
    async with asyncio.timeout(5), open_session(Measuring) as session:
        for frames in reads:
            await session.write_in_pieces(stream_for(side, *frames), [])
            expected += [len(stream_for(side, *frames[number:])) for number in range(1, len(frames) + 1)]
        assert [last for last, _ in session.listener.places] == [last for last, _ in places]
        assert {size for _, size in session.listener.places} <= set(expected)
        assert [bool(size) for _, size in session.listener.places] == [bool(behind) for _, behind in places]


@pytest.mark.parametrize("tail", [1, 2, 3, 5])
async def test_part_of_a_frame_behind_does_not_make_another_one_last(open_session, side, tail):
    whole = stream_for(side, TEXT_A)
    follows = stream_for(side, Frame(BINARY, b"defg"))
    async with asyncio.timeout(5), open_session(Measuring) as session:
        await session.write_in_pieces(whole + follows[:tail], [])
        assert session.listener.places == [(True, tail)]
        await session.write_in_pieces(follows[tail:] + whole, [])
        assert session.listener.places[1:] == [(False, len(whole)), (True, 0)]


async def test_a_frame_before_a_violation_is_the_last(open_session, side):
    follows = stream_for(side, Frame(3, b"p"))
    async with asyncio.timeout(5), open_session(Measuring) as session:
        session.peer.write_bytes(stream_for(side, TEXT_A) + follows)
        await session.listener.next_frame()
        assert session.listener.places == [(True, len(follows))]


async def test_a_large_frame_tells_its_place_too(open_session, side):
    large = stream_for(side, Frame(BINARY, bytes(300_000)))
    async with asyncio.timeout(5), open_session(Measuring) as session:
        await session.write_in_pieces(large, [])
        assert session.listener.places == [(True, 0)]
        await session.write_in_pieces(large + stream_for(side, TEXT_A), [len(large)])
        assert session.listener.places[1:] == [(True, 0), (True, 0)]
