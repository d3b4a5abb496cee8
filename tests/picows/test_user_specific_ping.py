"""Pings and pongs of the user's own making, recognised in either of the two ways, by auto ping and by hand."""

import asyncio
import json

import pytest

from picows import WSMsgType, WSProtocolError
from tests.support import BINARY, CLOSE, PING, PONG, TEXT, Frame
from tests.support.recorder import Recorder

pytestmark = pytest.mark.links("plain")

OPTIONS = {"enable_auto_ping": True, "auto_ping_idle_timeout": 0.1, "auto_ping_reply_timeout": 0.1}


class TextPing(Recorder):
    """guides: TEXT frames with 'ping' and 'pong' payload, told apart before `on_ws_frame`."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def send_user_specific_ping(self, transport):
        self.calls.append("send_user_specific_ping")
        transport.send(WSMsgType.TEXT, b"ping")

    def is_user_specific_pong(self, frame):
        self.asked.append((int(frame.msg_type), frame.get_payload_as_bytes()))
        return frame.msg_type == WSMsgType.TEXT and frame.get_payload_as_memoryview() == b"pong"


class JsonPing(Recorder):
    """guides: it is better to delay the determination of a pong until after the payload has been parsed."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def send_user_specific_ping(self, transport):
        transport.send(WSMsgType.TEXT, b'{"op":"ping"}')

    def is_user_specific_pong(self, frame):
        return False

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        if frame.msg_type == WSMsgType.TEXT:
            message = json.loads(frame.get_payload_as_utf8())
            if message["op"] == "pong":
                transport.notify_user_specific_pong_received()
                return
            self.operations.append(message)


async def test_a_ping_that_is_text_is_answered_by_text(open_session):
    async with asyncio.timeout(10), open_session(TextPing, **OPTIONS) as session:
        for _ in range(2):
            assert await session.peer.read_frame() == Frame(TEXT, b"ping")
            session.peer.write_frame(TEXT, "pong")
        assert await session.peer.read_frame() == Frame(TEXT, b"ping")
        assert session.listener.frames == []
        assert session.transport.stats().last_rtt is not None
        assert session.transport.stats().pings_sent == 0, "none of them was a PING"


async def test_pongs_are_asked_for_only_while_one_is_expected(open_session):
    """core-api: asked only while a pong is expected; a frame it accepts is consumed."""
    async with asyncio.timeout(10), open_session(TextPing, **OPTIONS) as session:
        session.peer.write_frame(TEXT, "pong")
        assert await session.listener.next_frame() == Frame(TEXT, b"pong")
        assert session.listener.asked == []
        assert await session.peer.read_frame() == Frame(TEXT, b"ping")
        for opcode, payload in ((TEXT, b"data"), (BINARY, b"pong"), (PONG, b""), (TEXT, b"pong"), (TEXT, b"pong")):
            session.peer.write_frame(opcode, payload)
        frames = [await session.listener.next_frame() for _ in range(4)]
        assert frames == [Frame(TEXT, b"data"), Frame(BINARY, b"pong"), Frame(PONG), Frame(TEXT, b"pong")]
        assert session.listener.asked == [(TEXT, b"data"), (BINARY, b"pong"), (PONG, b""), (TEXT, b"pong")]


async def test_a_ping_of_the_peer_is_not_its_pong(open_session):
    """Auto pong answers PING frames whether or not a pong is expected; the listener is not asked about them."""
    async with asyncio.timeout(10), open_session(TextPing, **OPTIONS) as session:
        assert await session.peer.read_frame() == Frame(TEXT, b"ping")
        session.peer.write_frame(PING, b"pong")
        assert await session.peer.read_frame() == Frame(PONG, b"pong")
        assert session.listener.asked == []


async def test_the_wrong_answer_is_none(open_session):
    async with asyncio.timeout(10), open_session(TextPing, **OPTIONS) as session:
        assert await session.peer.read_frame() == Frame(TEXT, b"ping")
        session.peer.write_frame(TEXT, "pang")
        close = await session.peer.read_frame()
        assert (close.opcode, close.close_code) == (CLOSE, 1001)
        assert session.listener.frames == [Frame(TEXT, b"pang")]


async def test_a_pong_found_after_parsing_keeps_the_connection(open_session):
    async with asyncio.timeout(10), open_session(JsonPing, **OPTIONS) as session:
        for _ in range(3):
            assert await session.peer.read_frame() == Frame(TEXT, b'{"op":"ping"}')
            session.peer.write_frame(TEXT, '{"op":"trade"}')
            session.peer.write_frame(TEXT, '{"op":"pong"}')
        while len(session.listener.frames) < 6:
            await asyncio.sleep(0)
        assert session.listener.operations == [{"op": "trade"}] * 3
        assert session.transport.stats().last_rtt is not None


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["without auto ping", "with auto ping"])
async def test_the_notification_is_harmless_at_any_time(open_session, options):
    """core-api: `notify_user_specific_pong_received()`: safe at any time."""

    class Notifying(JsonPing):
        def on_ws_connected(self, transport):
            super().on_ws_connected(transport)
            transport.notify_user_specific_pong_received()

        def on_ws_disconnected(self, transport):
            transport.notify_user_specific_pong_received()
            super().on_ws_disconnected(transport)

    async with asyncio.timeout(10), open_session(Notifying, **options) as session:
        for _ in range(3):
            session.transport.notify_user_specific_pong_received()
        session.peer.write_frame(TEXT, '{"op":"pong"}')
        await session.listener.next_frame()
        if options:
            assert await session.peer.read_frame() == Frame(TEXT, b'{"op":"ping"}')
            session.transport.notify_user_specific_pong_received()
            session.transport.notify_user_specific_pong_received()
            assert await session.peer.read_frame() == Frame(TEXT, b'{"op":"ping"}')
        session.peer.close()
        await session.listener.disconnected.wait()
        session.transport.notify_user_specific_pong_received()
        assert "on_ws_disconnected" in session.listener.calls


async def test_a_notification_from_inside_the_ping_counts(open_session):
    """A user who knows already that the peer lives."""

    class Knowing(Recorder):
        def send_user_specific_ping(self, transport):
            transport.send_ping(b"for form's sake")
            transport.notify_user_specific_pong_received()

    async with asyncio.timeout(10), open_session(Knowing, **OPTIONS) as session:
        for _ in range(3):
            assert await session.peer.read_frame() == Frame(PING, b"for form's sake")
        session.peer.write_frame(PONG, b"delivered")
        assert await session.listener.next_frame() == Frame(PONG, b"delivered")


async def test_a_user_may_send_nothing_at_all_for_a_ping(open_session):
    """Then only the notification keeps the connection; here nobody notifies."""

    class Silent(Recorder):
        def send_user_specific_ping(self, transport):
            self.calls.append("send_user_specific_ping")

    async with asyncio.timeout(10), open_session(Silent, **OPTIONS) as session:
        assert (await session.peer.read_frame()).close_code == 1001
        assert session.listener.calls.count("send_user_specific_ping") == 1


class FailingPing(TextPing):
    """Fails in one of the two."""

    culprit = ""

    def send_user_specific_ping(self, transport):
        super().send_user_specific_ping(transport)
        if self.culprit == "send_user_specific_ping":
            raise WSProtocolError(4000, "no ping today")

    def is_user_specific_pong(self, frame):
        if self.culprit == "is_user_specific_pong":
            raise ZeroDivisionError
        return super().is_user_specific_pong(frame)


@pytest.mark.parametrize(("culprit", "code"), [("send_user_specific_ping", 4000), ("is_user_specific_pong", 1011)])
async def test_what_they_raise_ends_the_connection(open_session, caplog, culprit, code):
    async with asyncio.timeout(10), open_session(FailingPing, **OPTIONS) as session:
        session.listener.culprit = culprit
        assert await session.peer.read_frame() == Frame(TEXT, b"ping")
        session.peer.write_frame(TEXT, "pong")
        close = await session.peer.read_frame()
        assert (close.opcode, close.close_code) == (CLOSE, code)
        await session.peer.read_eof()
        session.peer.close()
        if session.is_client:
            with pytest.raises((WSProtocolError, ZeroDivisionError)):
                await session.transport.wait_disconnected()
        else:
            await session.transport.wait_disconnected()
    if not session.is_client:
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert culprit in caplog.text


async def test_disconnecting_inside_the_ping(open_session):
    class Leaving(Recorder):
        def send_user_specific_ping(self, transport):
            transport.disconnect()

    async with asyncio.timeout(10), open_session(Leaving, **OPTIONS) as session:
        await session.peer.read_eof()
        session.peer.close()
        await session.transport.wait_disconnected()
        assert session.listener.calls == ["on_ws_connected", "on_ws_disconnected"]
