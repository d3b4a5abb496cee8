"""The end of a connection: disconnect(), wait_disconnected(), and what the peer does to it."""

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest

from picows import WSFrame, WSMsgType, WSTransport
from tests.support import BINARY, PING, TEXT, Frame, encode_frame
from tests.support.recorder import Accepted, Recorder

pytestmark = pytest.mark.links("plain")

KEY = b"\x01\x02\x00\x80"
LARGE = bytes(range(256)) * (32 << 10)  # 8 MiB: more than socket buffers take
CALLBACKS = ["on_ws_connected", "on_ws_frame", "on_read_end", "is_user_specific_pong", "on_ws_disconnected"]
EVERY_LINK = pytest.mark.links("plain", "tls", "unix")


class Interrupting(Recorder):
    """Does something to the transport in the callback with this name, and notes what it led to."""

    def __init__(self, name: str, action: Any) -> None:
        super().__init__()
        self.name = name
        self.action = action
        self.was_nested = False
        self.is_inside = False

    def _maybe(self, name: str, transport: WSTransport) -> None:
        if name == self.name:
            self.is_inside = True
            self.action(transport)
            self.is_inside = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        self._maybe("on_ws_connected", transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        self._maybe("on_ws_frame", transport)

    def on_read_end(self, transport: WSTransport) -> None:
        self.calls.append("on_read_end")
        self._maybe("on_read_end", transport)

    def is_user_specific_pong(self, frame: WSFrame) -> bool:
        self._maybe("is_user_specific_pong", self.transport)
        return False

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.was_nested = self.is_inside
        super().on_ws_disconnected(transport)
        self._maybe("on_ws_disconnected", transport)


async def expect_pong(transport: WSTransport) -> None:
    """Let the library ask for pongs, until the connection ends."""
    with pytest.raises(ConnectionResetError):
        await transport.measure_roundtrip_time(1)


# disconnect()


@EVERY_LINK
@pytest.mark.parametrize("graceful", [True, False], ids=["graceful", "abort"])
@pytest.mark.parametrize("name", CALLBACKS)
async def test_any_callback_may_disconnect(open_session, side, name, graceful):
    """`on_ws_disconnected` follows in a later turn of the loop, once, and no frame comes in between."""

    def disconnect_twice(transport: WSTransport) -> None:
        transport.disconnect(graceful)
        transport.disconnect(graceful)

    frames = encode_frame(TEXT, b"one", key=KEY if side == "server" else None) * 3
    async with asyncio.timeout(5), open_session(lambda: Interrupting(name, disconnect_twice)) as session:
        listener = session.listener
        async with asyncio.TaskGroup() as group:
            if name == "is_user_specific_pong":
                group.create_task(expect_pong(session.transport))
                assert (await session.peer.read_frame()).opcode == PING
            session.peer.write_bytes(frames)
            if name == "on_ws_disconnected":
                session.peer.half_close()
            await session.peer.read_eof()
            session.peer.close()
            await session.transport.wait_disconnected()
        assert listener.calls[0] == "on_ws_connected"
        assert listener.calls[-1] == "on_ws_disconnected"
        assert listener.calls.count("on_ws_disconnected") == 1
        assert not listener.was_nested
        assert len(listener.frames) == {"on_ws_connected": 0, "on_ws_frame": 1}.get(name, len(listener.frames))
        assert session.transport.is_disconnected


@EVERY_LINK
@pytest.mark.parametrize("action", ["abort", "disconnect", "send_close"])
async def test_pause_writing_may_end_the_connection(open_session, action):
    """It is called from inside `send`, when a slow peer has let too much pile up: some drop it then and there."""

    class Strict(Recorder):
        def pause_writing(self) -> None:
            self.calls.append("pause_writing")
            if action == "send_close":
                self.transport.send_close(1008)
            else:
                self.transport.disconnect(graceful=action == "disconnect")

    async with asyncio.timeout(10), open_session(Strict) as session:
        session.transport.send(WSMsgType.BINARY, LARGE)
        session.transport.send(WSMsgType.BINARY, LARGE)
        assert session.listener.calls == ["on_ws_connected", "pause_writing"]
        if action == "abort":
            assert len(await session.peer.read_to_end()) < len(LARGE)
        else:
            assert await session.peer.read_frame() == Frame(BINARY, LARGE)
        if action == "send_close":
            assert (await session.peer.read_frame()).close_code == 1008
            session.peer.write_close(1008)
            session.peer.half_close()
        await session.peer.read_eof()
        session.peer.close()
        await session.transport.wait_disconnected()
        assert session.transport.stats().sends_after_close == 1


@pytest.mark.parametrize("graceful", [True, False])
async def test_disconnect_may_be_repeated_at_any_time(open_session, graceful):
    async with asyncio.timeout(5), open_session() as session:
        session.transport.disconnect(graceful)
        session.transport.disconnect(not graceful)
        await session.transport.wait_disconnected()
        session.transport.disconnect(graceful)
        await session.peer.read_eof()
        assert session.listener.calls == ["on_ws_connected", "on_ws_disconnected"]


@EVERY_LINK
async def test_disconnect_writes_out_what_is_queued(open_session):
    async with asyncio.timeout(20), open_session() as session:
        session.transport.send(WSMsgType.BINARY, LARGE)
        with session.transport.cork():
            session.transport.send(WSMsgType.TEXT, "gathered")
            session.transport.disconnect()
        assert await session.peer.read_frames(2) == [Frame(BINARY, LARGE), Frame(TEXT, b"gathered")]
        await session.peer.read_eof()
        session.peer.close()
        await session.transport.wait_disconnected()


@EVERY_LINK
async def test_abort_drops_what_is_queued(open_session):
    async with asyncio.timeout(5), open_session() as session:
        session.transport.send(WSMsgType.BINARY, LARGE)
        session.transport.disconnect(graceful=False)
        await session.transport.wait_disconnected()
        assert len(await session.peer.read_to_end()) < len(LARGE)


async def test_a_graceful_disconnect_that_hangs_can_be_aborted(serve, raw_peer):
    accepted = Accepted()
    async with asyncio.timeout(5), serve(accepted) as endpoint, raw_peer(endpoint, receive_buffer_size=4096):
        transport = (await accepted.next()).transport
        transport.send(WSMsgType.BINARY, LARGE)
        transport.disconnect()
        assert not transport.is_disconnected
        transport.disconnect(graceful=False)
        await transport.wait_disconnected()


async def test_nothing_is_delivered_after_disconnect(open_session):
    async with asyncio.timeout(5), open_session() as session:
        session.transport.send(WSMsgType.BINARY, LARGE)
        session.transport.disconnect()
        session.peer.write_frame(TEXT, "late")
        await session.peer.read_to_end()
        await session.transport.wait_disconnected()
        assert session.listener.frames == []


async def test_the_transport_belongs_to_the_thread_of_its_loop(open_session):
    """A call from elsewhere would race with the loop; it is refused with words instead."""
    async with asyncio.timeout(5), open_session() as session:
        transport = session.transport
        calls = {
            "send": lambda: transport.send(WSMsgType.TEXT, "x"),
            "send_message": lambda: transport.send_message("x"),
            "send_ping": transport.send_ping,
            "send_pong": transport.send_pong,
            "send_close": transport.send_close,
            "send_reuse": lambda: transport.send_reuse_external_bytearray(WSMsgType.TEXT, bytearray(20), 14),
            "disconnect": transport.disconnect,
            "pause_reading": transport.pause_reading,
            "resume_reading": transport.resume_reading,
            "flush": transport.flush,
            "cork": transport.cork,
            "notify": transport.notify_user_specific_pong_received,
        }
        complaints: dict[str, BaseException] = {}

        def call_all() -> None:
            for name, call in calls.items():
                try:
                    call()
                except RuntimeError as exc:
                    complaints[name] = exc

        thread = threading.Thread(target=call_all)
        thread.start()
        thread.join()
        assert complaints.keys() == calls.keys()
        assert all("thread" in str(complaint) for complaint in complaints.values())
        transport.send(WSMsgType.TEXT, "unharmed")
        assert await session.peer.read_frame() == Frame(TEXT, b"unharmed")


# The peer ends the connection.


@EVERY_LINK
@pytest.mark.parametrize("way", ["close", "half_close", "reset"])
async def test_the_peer_may_go_without_a_closing_handshake(open_session, way):
    """What arrived whole before is delivered; nothing is wrong on our side, so nothing is raised."""
    async with asyncio.timeout(5), open_session() as session:
        session.peer.write_frame(TEXT, "whole")
        assert await session.listener.next_frame() == Frame(TEXT, b"whole")
        session.peer.write_frame(BINARY, b"part", announced_size=100)
        getattr(session.peer, way)()
        await session.transport.wait_disconnected()
        assert session.listener.calls == ["on_ws_connected", "on_ws_frame", "on_ws_disconnected"]
        assert session.transport.close_handshake is None


@EVERY_LINK
@pytest.mark.parametrize(("size", "count"), [(150, 2000), (20_000, 40), (300_000, 3)])
async def test_frames_that_arrive_together_with_the_end_are_delivered(open_session, size, count):
    """Under TLS the loop may hold a lot that is decrypted only when it is asked for."""
    sent = [b"%05d" % number * (size // 5) for number in range(count)]
    async with asyncio.timeout(10), open_session() as session:
        for payload in sent:
            session.peer.write_frame(BINARY, payload)
        await session.peer.drain()
        session.peer.half_close()
        await session.transport.wait_disconnected()
        assert len(session.listener.frames) == count
        assert [frame.payload for frame in session.listener.frames] == sent


async def test_what_was_queued_reaches_a_peer_that_ended_only_its_side(open_session):
    async with asyncio.timeout(10), open_session() as session:
        session.transport.send(WSMsgType.BINARY, LARGE)
        session.peer.half_close()
        assert await session.peer.read_frame() == Frame(BINARY, LARGE)
        await session.peer.read_eof()
        await session.transport.wait_disconnected()


async def test_the_answer_to_the_last_frame_reaches_a_peer_that_ended_only_its_side(serve, raw_peer):
    """`printf ... | nc` sends, ends its side, and reads on."""
    async with asyncio.timeout(5), serve() as endpoint, raw_peer(endpoint) as peer:
        peer.write_frame(TEXT, "question")
        peer.half_close()
        assert await peer.read_frame() == Frame(TEXT, b"question")
        await peer.read_eof()


async def test_a_failing_write_ends_the_connection_and_is_its_cause(open_session):
    """An OSError of a direct write never escapes from `send`; `wait_disconnected` raises it."""
    async with asyncio.timeout(5), open_session() as session:
        session.transport.pause_reading()  # else the reset is found by reading
        session.peer.reset()
        for _ in range(3):
            session.transport.send(WSMsgType.TEXT, "nobody is there")
        with pytest.raises(OSError, match=r"reset|pipe") as failure:
            await session.transport.wait_disconnected()
        assert isinstance(failure.value, ConnectionResetError | BrokenPipeError)
        assert session.listener.calls == ["on_ws_connected", "on_ws_disconnected"]


async def test_what_was_received_before_a_failing_write_is_delivered(open_session):
    """A peer that sends and resets: the write fails first, but the frames are in the socket already."""
    async with asyncio.timeout(5), open_session() as session:
        for number in range(10):
            session.peer.write_frame(TEXT, str(number))
        session.peer.reset()  # reaches our socket before this returns, as everything does on a loopback
        session.transport.send(WSMsgType.TEXT, "nobody is there")
        with pytest.raises(OSError, match=r"reset|pipe"):
            await session.transport.wait_disconnected()
        assert [frame.payload for frame in session.listener.frames] == [b"%d" % number for number in range(10)]


# wait_disconnected()


async def test_waiters_wake_after_on_ws_disconnected_returned(open_session):
    order: list[str] = []

    class Late(Recorder):
        def on_ws_disconnected(self, transport: WSTransport) -> None:
            super().on_ws_disconnected(transport)
            order.append("callback begins")
            transport.disconnect()
            order.append("callback ends")

    async def wait(name: str) -> None:
        await session.transport.wait_disconnected()
        order.append(name)

    async with asyncio.timeout(5), open_session(Late) as session, asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait(name)) for name in ("first", "second", "third")]
        await asyncio.sleep(0)
        session.peer.close()
        await asyncio.gather(*tasks)
        assert order == ["callback begins", "callback ends", "first", "second", "third"]


async def test_waiting_after_the_end_returns_at_once(open_session):
    async with asyncio.timeout(5), open_session() as session:
        session.peer.close()
        await session.listener.disconnected.wait()
        for _ in range(3):
            await session.transport.wait_disconnected()
        assert session.transport.is_disconnected


async def test_a_cancelled_waiter_harms_nobody(open_session):
    async with asyncio.timeout(5), open_session() as session, asyncio.TaskGroup() as group:
        patient = group.create_task(session.transport.wait_disconnected())
        hasty = [group.create_task(session.transport.wait_disconnected()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in hasty:
            task.cancel()
        for task in hasty:
            with pytest.raises(asyncio.CancelledError):
                await task
        session.peer.write_frame(TEXT, "still open")
        assert await session.listener.next_frame() == Frame(TEXT, b"still open")
        session.peer.close()
        await patient


async def test_a_waiter_may_give_up_a_thousand_times(open_session):
    """Waiting with a timeout in a loop is a common way to poll."""
    async with asyncio.timeout(5), open_session() as session:
        for _ in range(1000):
            waiting = asyncio.ensure_future(session.transport.wait_disconnected())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        session.peer.close()
        await session.transport.wait_disconnected()


async def test_every_waiter_gets_the_failure(open_session):
    async with asyncio.timeout(5), open_session() as session:
        waiting = [asyncio.ensure_future(session.transport.wait_disconnected()) for _ in range(3)]
        await asyncio.sleep(0)
        session.transport.pause_reading()
        session.peer.reset()
        session.transport.send(WSMsgType.TEXT, "nobody is there")
        failures = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(failure, OSError) for failure in failures)
        with pytest.raises(OSError, match=r"reset|pipe"):
            await session.transport.wait_disconnected()


# What is left.


@EVERY_LINK
@pytest.mark.parametrize("way", ["close", "disconnect", "abort", "reset"])
async def test_a_listener_is_freed_without_the_garbage_collector(open_session, way):
    """No reference cycle holds it once the connection is gone and the user lets go of it."""
    gc.collect()
    gc.disable()
    try:
        async with asyncio.timeout(5), open_session() as session:
            listener = weakref.ref(session.listener)
            if way == "close":
                session.transport.send_close(1000)
                session.peer.write_close(1000)
            elif way == "reset":
                session.peer.reset()
            else:
                session.transport.disconnect(graceful=way == "disconnect")
            await session.peer.read_to_end() if way != "reset" else None
            session.peer.close()
            await session.transport.wait_disconnected()
        del session
        for _ in range(10):  # what the loop and the fixtures still hold goes with their next turns
            await asyncio.sleep(0)
        assert listener() is None
    finally:
        gc.enable()
