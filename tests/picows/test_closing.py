"""The closing handshake (RFC 6455 sections 5.5.1 and 7), whoever begins it."""

import asyncio
import logging
from typing import Any

import pytest

from picows import WSCloseCode, WSFrame, WSMsgType, WSTransport
from tests.support import BINARY, CLOSE, PING, PONG, TEXT, Frame, close_payload, encode_frame
from tests.support.clock import SkippableClock
from tests.support.recorder import Accepted, Recorder

pytestmark = pytest.mark.links("plain")

KEY = b"\x0f\xf0\x00\xff"


def stream_for(side: str, *frames: Frame) -> bytes:
    """Bytes of these frames as the peer of `side` sends them."""
    key = KEY if side == "server" else None
    return b"".join(encode_frame(frame.opcode, frame.payload, fin=frame.fin, key=key) for frame in frames)


def close_frame(code: int | None = None, reason: str = "") -> Frame:
    return Frame(CLOSE, b"" if code is None else close_payload(code, reason))


class Answering(Recorder):
    """Answers CLOSE itself, in the way the test chooses."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        if frame.msg_type == WSMsgType.CLOSE:
            self.answer(transport)


def codes(transport: WSTransport) -> tuple[Any, Any, bool]:
    """What the closing handshake consisted of."""
    closing = transport.close_handshake
    sides = (closing.recv, closing.sent)
    received, sent = (None if info is None else (int(info.code), info.reason) for info in sides)
    return received, sent, closing.recv_then_sent


# The peer begins.


@pytest.mark.links("plain", "tls", "unix")
@pytest.mark.parametrize(
    ("code", "reason"), [(None, ""), (1000, ""), (1000, "bye"), (1001, "x" * 123), (3000, "ключ"), (4999, "")]
)
async def test_a_close_is_delivered_and_echoed(open_session, side, code, reason):
    """RFC 6455 section 5.5.1: the answer typically echoes the status code."""
    async with asyncio.timeout(5), open_session() as session:
        session.peer.write_bytes(stream_for(side, Frame(TEXT, b"last"), close_frame(code, reason)))
        assert await session.peer.read_frame() == close_frame(code)
        if side == "client":
            session.peer.close()
        else:
            await session.peer.read_eof()
            session.peer.close()
        await session.transport.wait_disconnected()
        assert session.listener.frames == [Frame(TEXT, b"last"), close_frame(code, reason)]
        assert session.listener.calls == ["on_ws_connected", "on_ws_frame", "on_ws_frame", "on_ws_disconnected"]
        assert codes(session.transport) == ((code or 0, reason or None), (code or 0, None), True)


async def test_nothing_behind_a_close_is_delivered(open_session, side):
    """RFC 6455 section 1.4: after receiving a CLOSE frame, a peer discards any further data received."""
    async with asyncio.timeout(5), open_session() as session:
        session.peer.write_bytes(stream_for(side, close_frame(1000), Frame(TEXT, b"late"), Frame(PING, b"late")))
        assert await session.peer.read_frame() == close_frame(1000)
        session.peer.write_bytes(stream_for(side, Frame(BINARY, bytes(100_000)), close_frame(1001)))
        session.peer.half_close()
        await session.peer.read_eof()
        await session.transport.wait_disconnected()
        assert session.listener.frames == [close_frame(1000)]


async def test_the_callback_may_answer_with_its_own_close(open_session, side):
    def answer(transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, "my last words")
        transport.send_close(WSCloseCode.GOING_AWAY, "mine")

    async with asyncio.timeout(5), open_session(lambda: Answering(answer)) as session:
        session.peer.write_close(1000, "yours")
        assert await session.peer.read_frames(2) == [Frame(TEXT, b"my last words"), close_frame(1001, "mine")]
        session.peer.half_close()
        await session.peer.read_eof()
        await session.transport.wait_disconnected()
        assert codes(session.transport) == ((1000, "yours"), (1001, "mine"), True)


@pytest.mark.parametrize("graceful", [True, False])
async def test_nothing_is_sent_when_the_callback_disconnects(open_session, side, graceful):
    def answer(transport: WSTransport) -> None:
        transport.disconnect(graceful)

    async with asyncio.timeout(5), open_session(lambda: Answering(answer)) as session:
        session.peer.write_close(1000)
        await session.peer.read_eof()
        await session.transport.wait_disconnected()
        assert codes(session.transport) == ((1000, None), None, False)
        assert not session.transport.is_close_frame_sent


async def test_without_auto_close_the_connection_stays_open_for_the_user(open_session, side):
    """enable_auto_close=False: as on PyPI, nothing is sent."""
    async with asyncio.timeout(5), open_session(enable_auto_close=False) as session:
        session.peer.write_close(1001, "going")
        assert await session.listener.next_frame() == close_frame(1001, "going")
        assert not session.transport.is_close_frame_sent
        session.transport.send(WSMsgType.TEXT, "nothing was sent before")
        session.transport.send_close(WSCloseCode.OK)
        assert await session.peer.read_frames(2) == [Frame(TEXT, b"nothing was sent before"), close_frame(1000)]
        session.transport.disconnect()
        await session.peer.read_eof()
        await session.transport.wait_disconnected()
        assert codes(session.transport) == ((1001, "going"), (1000, None), True)


@pytest.mark.parametrize("side", ["server"])
async def test_the_server_ends_tcp_at_once(open_session):
    """RFC 6455 section 7.1.1: the server closes first, so that it is the client that holds the TIME_WAIT state."""
    async with asyncio.timeout(0.9), open_session() as session:
        session.peer.write_close(1000)
        assert await session.peer.read_frame() == close_frame(1000)
        await session.transport.wait_disconnected()
        await session.peer.read_eof()


@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.parametrize("side", ["client"])
async def test_the_client_gives_the_server_a_second_to_end_tcp(open_session):
    async with asyncio.timeout(10), open_session() as session:
        clock = SkippableClock()
        session.peer.write_close(1000)
        assert await session.peer.read_frame() == close_frame(1000)
        await clock.skip(0.9)
        assert not session.transport.is_disconnected
        await clock.skip(0.2)
        await session.transport.wait_disconnected()
        await session.peer.read_eof()


# We begin.


@pytest.mark.links("plain", "tls", "unix")
async def test_our_close_waits_for_the_answer(open_session, side):
    async with asyncio.timeout(5), open_session() as session:
        session.transport.send_close(WSCloseCode.GOING_AWAY, "enough")
        assert session.transport.is_close_frame_sent
        assert await session.peer.read_frame() == close_frame(1001, "enough")
        session.peer.write_frame(TEXT, "sent before your CLOSE arrived")
        assert await session.listener.next_frame() == Frame(TEXT, b"sent before your CLOSE arrived")
        assert not session.transport.is_disconnected
        session.peer.write_close(1001)
        if side == "client":
            session.peer.half_close()
        await session.peer.read_eof()
        session.peer.close()
        await session.transport.wait_disconnected()
        assert codes(session.transport) == ((1001, None), (1001, "enough"), False)
        assert session.listener.calls.count("on_ws_disconnected") == 1


async def test_both_sides_may_close_at_the_same_time(open_session, side):
    """RFC 6455 section 7.1.3: it is fine if both endpoints send a CLOSE frame simultaneously."""
    async with asyncio.timeout(5), open_session() as session:
        session.peer.write_close(1001, "yours")
        session.transport.send_close(WSCloseCode.OK, "mine")
        assert await session.peer.read_frame() == close_frame(1000, "mine")
        session.peer.half_close()
        await session.peer.read_eof()
        await session.transport.wait_disconnected()
        assert codes(session.transport) == ((1001, "yours"), (1000, "mine"), False)


async def test_a_close_may_be_sent_before_any_frame(open_session, side):
    class Unwilling(Recorder):
        def on_ws_connected(self, transport: WSTransport) -> None:
            super().on_ws_connected(transport)
            transport.send_close(WSCloseCode.TRY_AGAIN_LATER, "busy")

    async with asyncio.timeout(5), open_session(Unwilling) as session:
        assert await session.peer.read_frame() == close_frame(1013, "busy")
        session.peer.write_close(1013)
        session.peer.half_close()
        await session.peer.read_eof()
        await session.transport.wait_disconnected()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_an_unanswered_close_ends_in_an_abort_after_10_seconds(open_session, side):
    async with asyncio.timeout(60), open_session() as session:
        clock = SkippableClock()
        session.transport.send_close(WSCloseCode.OK)
        await clock.skip(9.5)
        assert not session.transport.is_disconnected
        await clock.skip(1)
        await session.transport.wait_disconnected()
        assert codes(session.transport) == (None, (1000, None), False)


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_without_auto_close_our_close_waits_for_ever(open_session, side):
    async with asyncio.timeout(7200), open_session(enable_auto_close=False) as session:
        clock = SkippableClock()
        session.transport.send_close(WSCloseCode.OK)
        await clock.skip(3600)
        session.peer.write_frame(TEXT, "still here")
        assert await session.listener.next_frame() == Frame(TEXT, b"still here")


@pytest.mark.links("plain", "tls")
async def test_a_peer_that_answers_and_never_ends_tcp_is_left_after_a_second(open_session, side):
    async with asyncio.timeout(3), open_session() as session:
        session.transport.send_close(WSCloseCode.OK)
        session.peer.write_close(1000)
        await session.transport.wait_disconnected()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_peer_that_does_not_read_cannot_hold_up_the_close(serve, raw_peer):
    """The CLOSE frame stands behind megabytes that the peer does not take."""
    accepted = Accepted()
    async with asyncio.timeout(60), serve(accepted) as endpoint, raw_peer(endpoint, receive_buffer_size=4096) as peer:
        listener = await accepted.next()
        listener.transport.send(WSMsgType.BINARY, bytes(20 << 20))
        peer.write_close(1000)
        assert await listener.next_frame() == close_frame(1000)
        await SkippableClock().skip(11)
        await listener.transport.wait_disconnected()


# What may be sent.


@pytest.mark.parametrize(
    ("arguments", "payload"),
    [
        ((), b""),
        ((WSCloseCode.NO_INFO,), b""),
        ((WSCloseCode.OK,), close_payload(1000)),
        ((1003,), close_payload(1003)),
        ((1007, "bad"), close_payload(1007, "bad")),
        ((1014, b"bytes"), close_payload(1014, "bytes")),
        ((3000, bytearray(b"array")), close_payload(3000, "array")),
        ((4999, memoryview(b"view")), close_payload(4999, "view")),
        ((1000, ""), close_payload(1000)),
        ((1000, "ключ"), close_payload(1000, "ключ")),
        ((1000, "x" * 123), close_payload(1000, "x" * 123)),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_send_close_writes_code_and_reason(open_session, arguments, payload):
    async with asyncio.timeout(5), open_session() as session:
        session.transport.send_close(*arguments)
        assert await session.peer.read_frame() == Frame(CLOSE, payload)
        assert session.transport.is_close_frame_sent


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        *[((code,), str(code)) for code in (1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, 66536)],
        ((0, "reason without a code"), "code"),
        ((1000, "x" * 124), "124"),
        ((1000, "ключ" * 20), "160"),
        ((1000, b"\xff"), "UTF-8"),
        ((1000, "\ud800"), "UTF-8|utf-8"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_what_must_not_travel_is_refused_before_a_byte_is_written(open_session, arguments, complaint):
    async with asyncio.timeout(5), open_session() as session:
        with pytest.raises(ValueError, match=complaint):
            session.transport.send_close(*arguments)
        assert not session.transport.is_close_frame_sent
        session.transport.send(WSMsgType.TEXT, "still open")
        assert await session.peer.read_frame() == Frame(TEXT, b"still open")


@pytest.mark.parametrize("arguments", [("1000",), (None,), (1000, 5), (-1,), (1 << 40,)], ids=repr)
async def test_what_is_no_code_or_no_text_is_refused(open_session, arguments):
    async with asyncio.timeout(5), open_session() as session:
        with pytest.raises((TypeError, OverflowError)):
            session.transport.send_close(*arguments)
        assert not session.transport.is_close_frame_sent


async def test_a_close_is_sent_once(open_session):
    async with asyncio.timeout(5), open_session() as session:
        session.transport.send_close(WSCloseCode.GOING_AWAY, "first")
        session.transport.send_close(WSCloseCode.OK, "second")
        session.transport.disconnect()
        assert await session.peer.read_frame() == close_frame(1001, "first")
        await session.peer.read_eof()
        assert codes(session.transport) == (None, (1001, "first"), False)


def send_in_every_way(transport: WSTransport) -> int:
    """Call every method that sends; returns how many there are."""
    calls = [
        lambda: transport.send(WSMsgType.TEXT, "x"),
        lambda: transport.send(WSMsgType.BINARY, bytes(100_000)),
        lambda: transport.send_message(b"x"),
        lambda: transport.send_reuse_external_bytearray(WSMsgType.BINARY, bytearray(20), 14),
        transport.send_ping,
        transport.send_pong,
    ]
    for call in calls:
        call()
    return len(calls)


@pytest.mark.parametrize("reason", ["close", "disconnect", "gone"])
async def test_sends_after_the_end_are_ignored_counted_and_logged_once(open_session, side, reason, caplog):
    async with asyncio.timeout(5), open_session() as session:
        if reason == "close":
            session.transport.send_close(WSCloseCode.OK)
        elif reason == "disconnect":
            session.transport.disconnect()
        else:
            session.peer.close()
            await session.listener.disconnected.wait()
        with caplog.at_level(logging.WARNING, "picows"):
            count = send_in_every_way(session.transport) + send_in_every_way(session.transport)
        assert session.transport.stats().sends_after_close == count
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        if reason != "gone":
            received = await session.peer.read_to_end() if reason == "disconnect" else b""
            assert received == b""
    if reason == "close":
        assert session.transport.stats().frames_sent == 1


async def test_gathered_frames_leave_before_the_close(open_session):
    async with asyncio.timeout(5), open_session(coalesce=True) as session:
        for number in range(5):
            session.transport.send(WSMsgType.TEXT, str(number))
        with session.transport.cork():
            session.transport.send(WSMsgType.TEXT, "corked")
            session.transport.send_close(WSCloseCode.OK)
        expected = [*(Frame(TEXT, b"%d" % number) for number in range(5)), Frame(TEXT, b"corked"), close_frame(1000)]
        assert await session.peer.read_frames(7) == expected


async def test_pings_are_not_answered_after_our_close(open_session, side):
    """RFC 6455 section 5.5.3: a PING is answered unless a CLOSE frame was received; 5.5.1: nothing follows our own."""
    async with asyncio.timeout(5), open_session() as session:
        session.transport.send_close(WSCloseCode.OK)
        session.peer.write_bytes(stream_for(side, Frame(PING, b"x"), Frame(PONG, b"y"), close_frame(1000)))
        session.peer.half_close()
        assert await session.peer.read_frame() == close_frame(1000)
        await session.peer.read_eof()
        assert session.transport.stats().sends_after_close == 0
        assert session.listener.frames == [Frame(PONG, b"y"), close_frame(1000)]
