"""WSFrame: what a header said, and a payload that behaves like bytes."""

import asyncio
import copy
import hashlib
import pickle
import zlib
from typing import Any

import pytest

from picows import WSCloseCode, WSFrame, WSMsgType
from tests.support import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, RSV2, RSV3, TEXT, Frame, close_payload
from tests.support.keeper import Keeper

pytestmark = pytest.mark.links("plain")

EVERY_FRAME = {"enable_auto_pong": False, "enable_auto_close": False}
LARGE_SIZE = 1 << 20


@pytest.fixture
def receive(open_session):
    """`await receive(opcode, payload, ...)`: the WSFrame that picows made of such a frame."""

    async def send_and_keep(opcode: int, payload: bytes | str = b"", **bits: Any) -> WSFrame:
        async with asyncio.timeout(10), open_session(Keeper, **EVERY_FRAME) as session:
            session.peer.write_frame(opcode, payload, **bits)
            (frame,) = await session.listener.wait_for(1)
        return frame

    return send_and_keep


@pytest.mark.parametrize("opcode", [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG])
async def test_msg_type_is_the_opcode(receive, opcode):
    frame = await receive(opcode, close_payload(1000) if opcode == CLOSE else b"x")
    assert frame.msg_type is WSMsgType(opcode)


@pytest.mark.parametrize("fin", [True, False])
async def test_fin_tells_the_last_frame_of_a_message(receive, fin):
    assert (await receive(TEXT, "part", fin=fin)).fin is fin


@pytest.mark.parametrize("bits", range(8))
async def test_reserved_bits_are_passed_on(receive, bits):
    frame = await receive(BINARY, rsv=bits)
    assert (frame.rsv1, frame.rsv2, frame.rsv3) == (bool(bits & RSV1), bool(bits & RSV2), bool(bits & RSV3))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, LARGE_SIZE])
async def test_every_getter_gives_the_whole_payload(receive, size):
    text = ("bytes and text " * (size // 15 + 1))[:size]
    payload = text.encode()
    frame = await receive(TEXT, payload)
    assert frame.payload_size == memoryview(frame).nbytes == size
    assert frame.get_payload_as_bytes() == payload
    assert frame.get_payload_as_memoryview() == payload
    assert frame.get_payload_as_utf8_text() == frame.get_payload_as_utf8() == frame.get_payload_as_ascii_text() == text


async def test_text_is_decoded_as_utf8(receive):
    text = "κόσμε 中 \U0001f600 \0"
    frame = await receive(TEXT, text)
    assert frame.get_payload_as_utf8_text() == frame.get_payload_as_utf8() == text
    with pytest.raises(UnicodeDecodeError):
        frame.get_payload_as_ascii_text()


@pytest.mark.parametrize("payload", [b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", "中".encode()[:2]], ids=bytes.hex)
async def test_what_is_not_utf8_raises_and_stays_readable(receive, payload):
    frame = await receive(TEXT, payload)
    with pytest.raises(UnicodeDecodeError):
        frame.get_payload_as_utf8_text()
    assert frame.get_payload_as_bytes() == payload


async def test_bytes_of_a_large_frame_are_not_copied(receive):
    frame = await receive(BINARY, bytes(LARGE_SIZE))
    assert frame.get_payload_as_bytes() is frame.get_payload_as_bytes()


@pytest.mark.parametrize(
    ("payload", "code", "message"),
    [
        (b"", WSCloseCode.NO_INFO, None),
        (close_payload(1000), WSCloseCode.OK, None),
        (close_payload(1001, "going"), WSCloseCode.GOING_AWAY, b"going"),
        (close_payload(1014, "ключ"), WSCloseCode.BAD_GATEWAY, "ключ".encode()),
        (close_payload(3000), 3000, None),
        (close_payload(4999, "own"), 4999, b"own"),
        (close_payload(1000, "x" * 123), WSCloseCode.OK, b"x" * 123),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_close_getters_take_the_payload_apart(receive, payload, code, message):
    """RFC 6455 section 5.5.1: a 2-byte code, then a reason in UTF-8; either may be absent."""
    frame = await receive(CLOSE, payload)
    assert frame.get_close_code() == code
    assert isinstance(frame.get_close_code(), WSCloseCode)
    assert frame.get_close_message() == message
    assert frame.get_close_reason() == (None if message is None else message.decode())


async def test_str_names_every_fact(receive):
    """The words are those of the PyPI package 2.3.1, which people have in their logs."""
    expected = "last_in_buffer=True, payload_sz=3, tail_sz=0)"
    assert str(await receive(TEXT, "abc")) == f"WSFrame(TEXT, fin=True, rsv1=False, rsv2=False, rsv3=False, {expected}"
    frame = await receive(CONTINUATION, "abc", fin=False, rsv=RSV1 | RSV3)
    assert str(frame) == f"WSFrame(CONTINUATION, fin=False, rsv1=True, rsv2=False, rsv3=True, {expected}"


async def test_an_empty_frame_is_still_a_frame(receive):
    frame = await receive(TEXT)
    assert frame
    assert bytes(frame) == b""


@pytest.mark.parametrize("size", [0, 5, LARGE_SIZE])
async def test_memoryview_is_flat_readonly_bytes(receive, size):
    payload = (b"views " * (size // 6 + 1))[:size]
    frame = await receive(BINARY, payload)
    for view in (memoryview(frame), frame.get_payload_as_memoryview()):
        assert (view.format, view.itemsize, view.ndim, view.nbytes) == ("B", 1, 1, size)
        assert view.readonly
        assert view.contiguous
        assert view.obj is frame
        assert view == payload
        assert hash(view) == hash(payload)
        assert view[2:4] == payload[2:4]


async def test_functions_that_take_bytes_take_frames(receive):
    payload = b"\x00\x00\x01\x02 any bytes"
    frame = await receive(BINARY, payload)
    assert bytes(frame) == bytearray(frame) == payload
    assert b"+".join([frame, frame]) == payload + b"+" + payload
    assert b"<" + frame == b"<" + payload
    assert hashlib.sha256(frame).digest() == hashlib.sha256(payload).digest()
    assert zlib.crc32(frame) == zlib.crc32(payload)
    assert int.from_bytes(frame, "big") == int.from_bytes(payload, "big")
    assert payload.find(frame) == 0


async def test_nothing_of_a_frame_can_be_changed(receive):
    frame = await receive(TEXT, "fixed")
    for name in ("msg_type", "fin", "rsv1", "rsv2", "rsv3", "last_in_buffer", "payload_size", "tail_size"):
        with pytest.raises(AttributeError):
            setattr(frame, name, 0)
        with pytest.raises(AttributeError):
            delattr(frame, name)
    with pytest.raises(AttributeError):
        frame.note = "new"
    view = memoryview(frame)
    with pytest.raises(TypeError):
        view[0] = 0
    with pytest.raises((TypeError, BufferError)):
        frame.get_payload_as_memoryview().cast("B")[:] = b"other"
    assert frame.get_payload_as_bytes() == b"fixed"


async def test_frames_are_equal_only_to_themselves(receive):
    first, second = await receive(TEXT, "same"), await receive(TEXT, "same")
    assert first == first
    assert first != second
    assert len({first, second}) == 2


@pytest.mark.parametrize("arguments", [(), (b"payload",)])
def test_frames_cannot_be_made_by_users(arguments):
    with pytest.raises(TypeError, match="on_ws_frame"):
        WSFrame(*arguments)


def test_a_frame_from_new_alone_is_empty_and_harmless():
    frame = WSFrame.__new__(WSFrame)
    assert bytes(frame) == frame.get_payload_as_bytes() == b""
    assert frame.get_payload_as_utf8_text() == frame.get_payload_as_ascii_text() == ""
    assert frame.get_close_code() is WSCloseCode.NO_INFO
    assert "WSFrame(" in str(frame)


def test_frames_cannot_be_subclassed():
    with pytest.raises(TypeError):
        type("Derived", (WSFrame,), {})


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
async def test_frames_cannot_be_copied_or_pickled(receive, duplicate):
    frame = await receive(TEXT, "one")
    with pytest.raises(TypeError):
        duplicate(frame)


@pytest.mark.links("plain", "tls", "unix")
@pytest.mark.parametrize("size", [0, 3, 9000, 100_000, LARGE_SIZE])
async def test_a_frame_can_be_sent(open_session, size):
    """`send` accepts a frame where it accepts bytes: in the callback, and long after it."""
    payload = (b"sent again " * (size // 11 + 1))[:size]

    def echo(frame: WSFrame) -> WSFrame:
        session.transport.send(frame.msg_type, frame)
        return frame

    async with asyncio.timeout(10), open_session(lambda: Keeper(echo)) as session:
        session.peer.write_frame(BINARY, payload)
        assert await session.peer.read_frame() == Frame(BINARY, payload)
        (frame,) = session.listener.kept
        session.transport.send_message(frame)
        assert await session.peer.read_frame() == Frame(BINARY, payload)


async def test_a_frame_can_be_the_payload_of_a_control_frame(open_session):
    async with asyncio.timeout(5), open_session(Keeper) as session:
        session.peer.write_frame(TEXT, "short")
        (short,) = await session.listener.wait_for(1)
        session.transport.send_ping(short)
        session.transport.send_pong(short)
        session.transport.send_close(WSCloseCode.OK, short)
        assert await session.peer.read_frames(3) == [
            Frame(PING, b"short"),
            Frame(PONG, b"short"),
            Frame(CLOSE, close_payload(1000, "short")),
        ]


async def test_a_frame_too_long_for_a_control_frame_is_refused(open_session):
    async with asyncio.timeout(5), open_session(Keeper) as session:
        session.peer.write_frame(TEXT, "x" * 126)
        (frame,) = await session.listener.wait_for(1)
        for send in (session.transport.send_ping, session.transport.send_pong):
            with pytest.raises(ValueError, match="126"):
                send(frame)
        with pytest.raises(ValueError, match="126"):
            session.transport.send_close(WSCloseCode.OK, frame)
