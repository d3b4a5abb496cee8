"""Sending on the wire: what may be sent, what it becomes, and what is refused before a byte is written."""

import array
import asyncio
import subprocess
import sys
import threading

import pytest

from picows import WSCloseCode, WSMsgType
from tests.support import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, RSV2, RSV3, TEXT, Frame, close_payload
from tests.support.recorder import Recorder

plain_only = pytest.mark.links("plain")


class BytesOfSomebody(bytes):
    """A subclass: its instances may carry anything, but are bytes."""


class StrOfSomebody(str):
    """The same for text."""


NUMBERS = array.array("I", [1, 2**31, 7])
MESSAGES = {
    "ascii": ("Hello", b"Hello"),
    "two byte text": ("naïve", "naïve".encode()),
    "four byte text": ("\U0001f99c\x00!", "\U0001f99c\x00!".encode()),
    "str subclass": (StrOfSomebody("Grüße"), "Grüße".encode()),
    "empty str": ("", b""),
    "bytes": (b"\x00\xff", b"\x00\xff"),
    "bytes subclass": (BytesOfSomebody(b"sub"), b"sub"),
    "empty bytes": (b"", b""),
    "bytearray": (bytearray(b"mutable"), b"mutable"),
    "empty bytearray": (bytearray(), b""),
    "memoryview": (memoryview(b"0123456789")[3:7], b"3456"),
    "writable memoryview": (memoryview(bytearray(b"abc")), b"abc"),
    "array of integers": (NUMBERS, NUMBERS.tobytes()),
    "None": (None, b""),
}


@plain_only
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, PING, PONG])
async def test_every_accepted_type_becomes_its_bytes(open_session, opcode):
    async with asyncio.timeout(5), open_session() as session:
        for name, (message, payload) in MESSAGES.items():
            session.transport.send(WSMsgType(opcode), message)
            assert await session.peer.read_frame() == Frame(opcode, payload), name


async def test_every_header_bit_is_the_caller_s(open_session):
    async with asyncio.timeout(5), open_session() as session:
        transport, peer = session.transport, session.peer
        transport.send(WSMsgType.TEXT, "a", fin=False)
        transport.send(WSMsgType.CONTINUATION, "b", False, True)
        transport.send(WSMsgType.CONTINUATION, "c", fin=False, rsv2=True)
        transport.send(WSMsgType.CONTINUATION, "d", rsv3=True)
        transport.send(WSMsgType.BINARY, "e", True, True, True, True)
        assert await peer.read_frames(5) == [
            Frame(TEXT, b"a", fin=False),
            Frame(CONTINUATION, b"b", fin=False, rsv=RSV1),
            Frame(CONTINUATION, b"c", fin=False, rsv=RSV2),
            Frame(CONTINUATION, b"d", rsv=RSV3),
            Frame(BINARY, b"e", rsv=RSV1 | RSV2 | RSV3),
        ]


async def test_length_is_encoded_in_the_fewest_octets(open_session):
    """RFC 6455 section 5.2: the minimal number of bytes MUST be used to encode the length."""
    async with asyncio.timeout(5), open_session() as session:
        for size in (0, 1, 125, 126, 65535, 65536):
            header_size = 2 + (0 if size < 126 else 2 if size < 65536 else 8) + (4 if session.is_client else 0)
            session.transport.send(WSMsgType.BINARY, bytes(size))
            header = await session.peer.read_bytes(header_size)
            assert header[1] & 127 == (size if size < 126 else 126 if size < 65536 else 127)
            assert len(await session.peer.read_bytes(size)) == size
        session.transport.send_ping(b"in step")
        assert await session.peer.read_frame() == Frame(PING, b"in step")


@plain_only
async def test_plain_integers_are_opcodes_too(open_session):
    async with asyncio.timeout(5), open_session() as session:
        transport, peer = session.transport, session.peer
        transport.send(2, b"binary")
        transport.send(1, b"text")
        assert await peer.read_frames(2) == [Frame(BINARY, b"binary"), Frame(TEXT, b"text")]


class _ResendingFrames(Recorder):
    """Sends each frame object back, at once and once more when it is asked to."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        transport.send(frame.msg_type, frame)
        self.kept.append(frame)


@pytest.mark.parametrize("size", [0, 5, 5000, 70000])
async def test_a_received_frame_can_be_sent_now_and_later(open_session, size):
    payload = bytes(range(251)) * (size // 251) + bytes(size % 251)
    async with asyncio.timeout(5), open_session(_ResendingFrames) as session:
        transport, listener, peer = session.transport, session.listener, session.peer
        peer.write_frame(BINARY, payload)
        assert await peer.read_frame() == Frame(BINARY, payload)
        peer.write_frame(TEXT, "another")
        assert await peer.read_frame() == Frame(TEXT, b"another")
        transport.send(WSMsgType.BINARY, listener.kept[0])
        transport.send(WSMsgType.BINARY, memoryview(listener.kept[0])[size // 2 :])
        assert await peer.read_frames(2) == [Frame(BINARY, payload), Frame(BINARY, payload[size // 2 :])]


async def test_send_message_picks_text_for_str_and_binary_for_bytes(open_session):
    async with asyncio.timeout(5), open_session() as session:
        transport, peer = session.transport, session.peer
        for message in ("text", StrOfSomebody("text"), b"data", bytearray(b"data"), memoryview(b"data")):
            transport.send_message(message)
        assert [frame.opcode for frame in await peer.read_frames(5)] == [TEXT, TEXT, BINARY, BINARY, BINARY]


async def test_control_frames_have_methods_of_their_own(open_session):
    async with asyncio.timeout(5), open_session() as session:
        transport, peer = session.transport, session.peer
        transport.send_ping()
        transport.send_ping("é" * 62)
        transport.send_pong(bytearray(b"x" * 125))
        transport.send_pong()
        assert await peer.read_frames(4) == [
            Frame(PING),
            Frame(PING, ("é" * 62).encode()),
            Frame(PONG, b"x" * 125),
            Frame(PONG),
        ]


@plain_only
@pytest.mark.parametrize(
    ("arguments", "payload"),
    [
        ((), b""),
        ((WSCloseCode.NO_INFO,), b""),
        ((WSCloseCode.OK,), close_payload(1000)),
        ((WSCloseCode.GOING_AWAY, "bye"), close_payload(1001, "bye")),
        ((3000, b"bytes"), close_payload(3000, "bytes")),
        ((4999, "é" * 61), close_payload(4999, "é" * 61)),
        ((1014, "x" * 123), close_payload(1014, "x" * 123)),
    ],
)
async def test_send_close_sends_code_and_reason(open_session, arguments, payload):
    """RFC 6455 section 5.5.1."""
    async with asyncio.timeout(5), open_session() as session:
        transport, peer = session.transport, session.peer
        transport.send_close(*arguments)
        transport.send_close(WSCloseCode.INTERNAL_ERROR, "only the first one counts")
        assert transport.is_close_frame_sent
        assert await peer.read_frame() == Frame(CLOSE, payload)


@plain_only
async def test_a_close_frame_can_be_sent_by_send(open_session):
    """Code for the PyPI package passes frames on by their type: `transport.send(frame.msg_type, frame)`."""
    async with asyncio.timeout(5), open_session() as session:
        transport, peer = session.transport, session.peer
        transport.send(WSMsgType.CLOSE, close_payload(1001, "bye"))
        assert transport.is_close_frame_sent
        assert await peer.read_frame() == Frame(CLOSE, close_payload(1001, "bye"))


TOO_LONG = b"x" * 126
REFUSED = {
    "unknown opcode": (ValueError, "3", lambda t: t.send(3, b"x")),
    "opcode of two octets": (ValueError, "257", lambda t: t.send(257, b"x")),
    "negative opcode": (OverflowError, "WSMsgType", lambda t: t.send(-255, b"x")),
    "name of an opcode": (TypeError, "integer", lambda t: t.send("TEXT", b"x")),
    "number": (TypeError, "int", lambda t: t.send(WSMsgType.BINARY, 5)),
    "list": (TypeError, "list", lambda t: t.send(WSMsgType.BINARY, [b"x"])),
    "object": (TypeError, "object", lambda t: t.send_message(object())),
    "message without text encoding": (UnicodeEncodeError, "surrogates", lambda t: t.send(WSMsgType.TEXT, "\ud800")),
    "long control frame": (ValueError, "126.*125", lambda t: t.send(WSMsgType.PING, TOO_LONG)),
    "control frame of long text": (ValueError, "126.*125", lambda t: t.send(WSMsgType.PONG, "é" * 63)),
    "fragmented control frame": (ValueError, "fin", lambda t: t.send(WSMsgType.PING, b"", fin=False)),
    "long ping": (ValueError, "126.*125", lambda t: t.send_ping(TOO_LONG)),
    "long pong": (ValueError, "126.*125", lambda t: t.send_pong(bytearray(TOO_LONG))),
    "number as ping": (TypeError, "int", lambda t: t.send_ping(5)),
    "close code 999": (ValueError, "999", lambda t: t.send_close(999)),
    "close code 1004": (ValueError, "1004", lambda t: t.send_close(1004)),
    "close code 1005": (ValueError, "1005", lambda t: t.send_close(1005)),
    "close code 1006": (ValueError, "1006", lambda t: t.send_close(WSCloseCode.ABNORMAL_CLOSURE)),
    "close code 1015": (ValueError, "1015", lambda t: t.send_close(1015)),
    "close code 5000": (ValueError, "5000", lambda t: t.send_close(5000)),
    "close code 66536": (ValueError, "66536", lambda t: t.send_close(66536)),
    "negative close code": (OverflowError, "WSCloseCode", lambda t: t.send_close(-1)),
    "long close reason": (ValueError, "124.*123", lambda t: t.send_close(WSCloseCode.OK, "x" * 124)),
    "close reason of long text": (ValueError, "124.*123", lambda t: t.send_close(WSCloseCode.OK, "é" * 62)),
    "close reason that is no text": (ValueError, "UTF-8", lambda t: t.send_close(WSCloseCode.OK, b"\xff")),
    "close reason without a code": (ValueError, "NO_INFO", lambda t: t.send_close(WSCloseCode.NO_INFO, "why")),
    "number as close reason": (TypeError, "int", lambda t: t.send_close(WSCloseCode.OK, 5)),
    "no room for a header": (
        ValueError,
        "13.*14",
        lambda t: t.send_reuse_external_bytearray(WSMsgType.BINARY, bytearray(20), 13),
    ),
    "negative offset": (
        ValueError,
        "-1",
        lambda t: t.send_reuse_external_bytearray(WSMsgType.BINARY, bytearray(20), -1),
    ),
    "offset behind the end": (
        ValueError,
        "21.*20",
        lambda t: t.send_reuse_external_bytearray(WSMsgType.BINARY, bytearray(20), 21),
    ),
    "bytes to be masked in place": (
        TypeError,
        "bytearray",
        lambda t: t.send_reuse_external_bytearray(WSMsgType.BINARY, bytes(20), 14),
    ),
    "None to be masked in place": (
        TypeError,
        "bytearray",
        lambda t: t.send_reuse_external_bytearray(WSMsgType.BINARY, None, 14),
    ),
    "unknown opcode in place": (
        ValueError,
        "257",
        lambda t: t.send_reuse_external_bytearray(257, bytearray(20), 14),
    ),
}


@plain_only
async def test_what_the_caller_got_wrong_is_refused_before_a_byte_is_written(open_session):
    async with asyncio.timeout(5), open_session() as session:
        transport = session.transport
        for name, (exception, words, call) in REFUSED.items():
            before = transport.stats()
            with pytest.raises(exception, match=words):
                call(transport)
            assert transport.stats() == before, name
            assert not transport.is_close_frame_sent, name
            transport.send(WSMsgType.TEXT, f"goes on after {name}")
            assert await session.peer.read_frame() == Frame(TEXT, f"goes on after {name}".encode())


NONE_AS_BUFFER = """
import asyncio, sys
sys.path.insert(0, {root!r})
from picows import WSMsgType, broadcast, ws_connect, ws_create_server
from tests.support.recorder import Recorder

async def main():
    server = await ws_create_server(lambda request: Recorder(), "127.0.0.1", 0)
    transport, _ = await ws_connect(Recorder, "ws://127.0.0.1:%d/" % server.sockets[0].getsockname()[1])
    try:
        {call}
    except TypeError as exc:
        print("TypeError:", exc)
    transport.disconnect()
    await transport.wait_disconnected()
    server.close()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "call", ["transport.send_reuse_external_bytearray(WSMsgType.BINARY, None, 14)", "broadcast([None], 1, b'')"]
)
def test_none_where_an_object_must_be_is_an_error_and_no_crash(call, pytestconfig):
    """In a process of its own: what this looks for ends the interpreter."""
    program = NONE_AS_BUFFER.format(root=str(pytestconfig.rootpath), call=call)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("TypeError:")


CALLS_OF_ANY_THREAD = {
    "send": lambda t: t.send(WSMsgType.TEXT, "x"),
    "send_message": lambda t: t.send_message("x"),
    "send_reuse_external_bytearray": lambda t: t.send_reuse_external_bytearray(WSMsgType.TEXT, bytearray(15), 14),
    "send_ping": lambda t: t.send_ping(),
    "send_pong": lambda t: t.send_pong(),
    "send_close": lambda t: t.send_close(),
    "disconnect": lambda t: t.disconnect(),
    "wait_disconnected": lambda t: asyncio.run(t.wait_disconnected()),
    "measure_roundtrip_time": lambda t: asyncio.run(t.measure_roundtrip_time(1)),
    "notify_user_specific_pong_received": lambda t: t.notify_user_specific_pong_received(),
    "pause_reading": lambda t: t.pause_reading(),
    "resume_reading": lambda t: t.resume_reading(),
    "cork": lambda t: t.cork(),
    "flush": lambda t: t.flush(),
    "get_write_buffer_size": lambda t: t.get_write_buffer_size(),
    "stats": lambda t: t.stats(),
}


@plain_only
async def test_another_thread_gets_a_runtime_error_that_says_so(open_session):
    """The methods are those of one event loop's thread; from others `call_soon_threadsafe` is the way."""
    raised = {}

    def call_everything():
        for name, call in CALLS_OF_ANY_THREAD.items():
            try:
                call(session.transport)
            except RuntimeError as exc:
                raised[name] = str(exc)

    async with asyncio.timeout(5), open_session() as session:
        thread = threading.Thread(target=call_everything)
        thread.start()
        thread.join()
        assert raised.keys() == CALLS_OF_ANY_THREAD.keys()
        assert all("thread" in text and "call_soon_threadsafe" in text for text in raised.values())
        session.transport.send(WSMsgType.TEXT, "only this")
        assert await session.peer.read_frame() == Frame(TEXT, b"only this")


@plain_only
async def test_a_disconnected_transport_stays_harmless(open_session):
    async with asyncio.timeout(5), open_session() as session:
        transport, peer = session.transport, session.peer
        peer.close()
        await transport.wait_disconnected()
        transport.send_close(WSCloseCode.OK)
        transport.disconnect()
        transport.disconnect(graceful=False)
        transport.pause_reading()
        transport.resume_reading()
        transport.notify_user_specific_pong_received()
        transport.flush()
        with transport.cork():
            transport.send(WSMsgType.TEXT, "x")
        assert transport.get_write_buffer_size() == 0
        assert transport.is_disconnected
        with pytest.raises(ConnectionResetError):
            await transport.measure_roundtrip_time(1)
        assert "disconnected" in repr(transport)
