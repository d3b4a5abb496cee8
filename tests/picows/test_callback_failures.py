"""What happens when the user's own code raises."""

import asyncio
import logging
from typing import Any

import pytest

from picows import WSCloseCode, WSFrame, WSMsgType, WSProtocolError, WSTransport, ws_connect, ws_create_server
from tests.support import BINARY, CLOSE, CONTINUATION, PING, TEXT, Frame, close_payload, encode_frame
from tests.support.recorder import Recorder

pytestmark = pytest.mark.links("plain")

KEY = b"\x10\x20\x00\xff"
LARGE = bytes(8 << 20)
SECRET = "what went wrong inside is nobody else's business"

WHILE_OPEN = [
    "on_ws_connected",
    "on_ws_frame",
    "on_read_end",
    "is_user_specific_pong",
    "send_user_specific_ping",
    "pause_writing",
    "resume_writing",
]
FAST_PINGS = {"enable_auto_ping": True, "auto_ping_idle_timeout": 0.02, "auto_ping_reply_timeout": 0.02}


class Failing(Recorder):
    """Raises in the callbacks with these names."""

    def __init__(self, **failures: BaseException) -> None:
        super().__init__()
        self.failures = failures

    def _called(self, name: str) -> None:
        if name in self.failures:
            raise self.failures[name]

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        self._called("on_ws_connected")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        self._called("on_ws_frame")

    def on_read_end(self, transport: WSTransport) -> None:
        self._called("on_read_end")

    def is_user_specific_pong(self, frame: WSFrame) -> bool:
        self._called("is_user_specific_pong")
        return False

    def send_user_specific_ping(self, transport: WSTransport) -> None:
        self._called("send_user_specific_ping")
        transport.send_ping()

    def pause_writing(self) -> None:
        self._called("pause_writing")

    def resume_writing(self) -> None:
        self._called("resume_writing")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        super().on_ws_disconnected(transport)
        self._called("on_ws_disconnected")


def provoke(session: Any, name: str) -> None:
    """Make the callback with this name be called, now or soon."""
    if name in ("on_ws_frame", "on_read_end", "is_user_specific_pong"):
        session.peer.write_frame(TEXT, "x")
    elif name in ("pause_writing", "resume_writing"):
        session.transport.send(WSMsgType.BINARY, LARGE)
    elif name == "on_ws_disconnected":
        session.peer.half_close()


async def read_close(session: Any) -> Frame:
    """The peer's next frame but for those that provoke something."""
    while (frame := await session.peer.read_frame()).opcode in (PING, BINARY):
        pass
    return frame


async def outcome(session: Any, expected: BaseException, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """core-api: a client's `wait_disconnected` raises what a callback raised, a server logs it."""
    if session.is_client:
        with pytest.raises(type(expected)) as failure:
            await session.transport.wait_disconnected()
        assert failure.value is expected
        return
    await session.transport.wait_disconnected()
    records = [record for record in caplog.records if record.exc_info and record.exc_info[1] is expected]
    assert [record.levelno for record in records] == [logging.ERROR]
    assert name in records[0].getMessage()


@pytest.mark.parametrize("name", WHILE_OPEN)
async def test_an_exception_ends_the_connection_with_1011(open_session, name, caplog):
    """The peer learns that, and not a word more."""
    failure = LookupError(SECRET)
    options = FAST_PINGS if name == "send_user_specific_ping" else {}
    with caplog.at_level(logging.ERROR, "picows"):
        async with asyncio.timeout(10), open_session(lambda: Failing(**{name: failure}), **options) as session:
            measuring = measure(session, name)
            await asyncio.sleep(0)
            provoke(session, name)
            assert await read_close(session) == Frame(CLOSE, close_payload(WSCloseCode.INTERNAL_ERROR))
            await session.peer.read_eof()
            session.peer.close()
            await outcome(session, failure, name, caplog)
            await measuring
            assert session.listener.calls.count("on_ws_disconnected") == 1
            assert session.listener.calls[-1] == "on_ws_disconnected"
            assert session.transport.close_handshake.sent.reason is None


def measure(session: Any, name: str) -> asyncio.Task[None]:
    """Have the library ask for pongs when the test is about that."""

    async def fail() -> None:
        if name == "is_user_specific_pong":
            with pytest.raises(ConnectionResetError):
                await session.transport.measure_roundtrip_time(1)

    return asyncio.create_task(fail())


async def test_an_exception_of_on_ws_disconnected_is_not_lost(open_session, caplog):
    failure = LookupError(SECRET)
    with caplog.at_level(logging.ERROR, "picows"):
        async with asyncio.timeout(5), open_session(lambda: Failing(on_ws_disconnected=failure)) as session:
            session.peer.close()
            await outcome(session, failure, "on_ws_disconnected", caplog)


async def test_the_first_exception_is_the_one_that_counts(open_session, side, caplog):
    first, second = LookupError("first"), ArithmeticError("second")
    with caplog.at_level(logging.ERROR, "picows"):
        listener = Failing(on_ws_frame=first, on_ws_disconnected=second)
        async with asyncio.timeout(5), open_session(lambda: listener) as session:
            session.peer.write_frame(TEXT, "x")
            await read_close(session)
            session.peer.close()
            await outcome(session, first, "on_ws_frame", caplog)
    if side == "server":
        assert [record.exc_info[1] for record in caplog.records] == [first, second]


@pytest.mark.parametrize(
    ("failure", "payload"),
    [
        (WSProtocolError(WSCloseCode.UNSUPPORTED_DATA, "only text"), close_payload(1003, "only text")),
        (WSProtocolError(WSCloseCode.POLICY_VIOLATION, "no"), close_payload(1008, "no")),
        (WSProtocolError(4321, "own code"), close_payload(4321, "own code")),
        (WSProtocolError(WSCloseCode.POLICY_VIOLATION, ""), close_payload(1008)),
        (WSProtocolError(WSCloseCode.POLICY_VIOLATION, "x" * 500), close_payload(1008, "x" * 123)),
        (WSProtocolError(WSCloseCode.POLICY_VIOLATION, "€" * 100), close_payload(1008, "€" * 41)),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_protocol_error_of_the_user_picks_code_and_reason(open_session, caplog, failure, payload):
    with caplog.at_level(logging.ERROR, "picows"):
        async with asyncio.timeout(5), open_session(lambda: Failing(on_ws_frame=failure)) as session:
            session.peer.write_frame(TEXT, "x")
            assert await session.peer.read_frame() == Frame(CLOSE, payload)
            session.peer.close()
            await outcome(session, failure, "on_ws_frame", caplog)


@pytest.mark.parametrize("code", [WSCloseCode.NO_INFO, WSCloseCode.ABNORMAL_CLOSURE, 1005, 1015, 5000, 70000, -1])
async def test_a_code_that_must_not_travel_becomes_1011(open_session, caplog, code):
    failure = WSProtocolError(code, "odd")
    with caplog.at_level(logging.ERROR, "picows"):
        async with asyncio.timeout(5), open_session(lambda: Failing(on_ws_frame=failure)) as session:
            session.peer.write_frame(TEXT, "x")
            assert (await session.peer.read_frame()).close_code == WSCloseCode.INTERNAL_ERROR
            session.peer.close()
            await outcome(session, failure, "on_ws_frame", caplog)


async def test_frames_behind_the_one_that_failed_are_not_delivered(open_session, side, caplog):
    failure = LookupError()
    key = KEY if side == "server" else None
    with caplog.at_level(logging.CRITICAL, "picows"):
        async with asyncio.timeout(5), open_session(lambda: Failing(on_ws_frame=failure)) as session:
            session.peer.write_bytes(encode_frame(TEXT, "one", key=key) + encode_frame(TEXT, "two", key=key))
            await read_close(session)
            session.peer.write_frame(TEXT, "three")
            session.peer.half_close()
            await session.peer.read_eof()
            assert session.listener.frames == [Frame(TEXT, b"one")]


@pytest.mark.parametrize("alias", ["disconnect_on_exception", "disconnect_on_error"])
async def test_exceptions_of_on_ws_frame_may_be_only_logged(open_session, side, caplog, alias):
    failure = LookupError(SECRET)
    key = KEY if side == "server" else None
    sent = [Frame(TEXT, b"one"), Frame(BINARY, b"two", fin=False), Frame(CONTINUATION, b"three")]
    stream = b"".join(encode_frame(frame.opcode, frame.payload, fin=frame.fin, key=key) for frame in sent)
    with caplog.at_level(logging.ERROR, "picows"):
        listener = Failing(on_ws_frame=failure)
        async with asyncio.timeout(5), open_session(lambda: listener, **{alias: False}) as session:
            session.peer.write_bytes(stream)
            assert [await session.listener.next_frame() for _ in sent] == sent
            session.transport.send(WSMsgType.TEXT, "still open")
            assert await session.peer.read_frame() == Frame(TEXT, b"still open")
            session.peer.close()
            await session.transport.wait_disconnected()
    assert [record.exc_info[1] for record in caplog.records] == [failure] * len(sent)
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


async def test_a_close_is_answered_though_the_callback_failed(open_session, caplog):
    """With disconnect_on_exception=False a failing callback neither answered nor disconnected: we do."""
    with caplog.at_level(logging.CRITICAL, "picows"):
        listener = Failing(on_ws_frame=LookupError())
        async with asyncio.timeout(5), open_session(lambda: listener, disconnect_on_exception=False) as session:
            session.peer.write_close(1001, "bye")
            assert await session.peer.read_frame() == Frame(CLOSE, close_payload(1001))
            session.peer.half_close()
            await session.peer.read_eof()
            await session.transport.wait_disconnected()


@pytest.mark.parametrize("name", ["on_ws_connected", "on_read_end", "is_user_specific_pong"])
async def test_other_callbacks_disconnect_all_the_same(open_session, caplog, name):
    """disconnect_on_exception=False is about `on_ws_frame` alone."""
    failure = LookupError(SECRET)
    with caplog.at_level(logging.ERROR, "picows"):
        listener = Failing(**{name: failure})
        async with asyncio.timeout(5), open_session(lambda: listener, disconnect_on_exception=False) as session:
            measuring = measure(session, name)
            await asyncio.sleep(0)
            provoke(session, name)
            assert await read_close(session) == Frame(CLOSE, close_payload(WSCloseCode.INTERNAL_ERROR))
            session.peer.close()
            await outcome(session, failure, name, caplog)
            await measuring


async def test_both_names_of_the_option_at_once_are_refused():
    both: dict[str, Any] = {"disconnect_on_exception": False, "disconnect_on_error": False}
    with pytest.raises(TypeError, match="disconnect_on_error"):
        await ws_connect(Recorder, "ws://127.0.0.1:1/", **both)
    with pytest.raises(TypeError, match="disconnect_on_error"):
        await ws_create_server(lambda request: Recorder(), "127.0.0.1", 0, **both)


async def test_an_exception_after_disconnect_is_reported_too(open_session, caplog):
    failure = LookupError(SECRET)

    class Leaving(Failing):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            transport.disconnect()
            super().on_ws_frame(transport, frame)

    with caplog.at_level(logging.ERROR, "picows"):
        async with asyncio.timeout(5), open_session(lambda: Leaving(on_ws_frame=failure)) as session:
            session.peer.write_frame(TEXT, "x")
            await session.peer.read_eof()
            await outcome(session, failure, "on_ws_frame", caplog)
