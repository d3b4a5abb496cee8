"""What breaks RFC 6455 fails the connection (section 7.1.7): the peer learns why, and nothing before it is lost."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from picows import WSCloseCode, WSProtocolError
from tests.support import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    Frame,
    close_payload,
    encode_frame,
)
from tests.support.recorder import Recorder
from tests.support.session import OpenSession, Session

pytestmark = pytest.mark.links("plain")

KEY = b"\xa5\x5a\x00\xff"
LIMIT = 1000


@dataclass(frozen=True)
class Violation:
    """A frame that must not be sent, and how the connection has to end."""

    name: str
    frame: dict[str, Any]
    code: int = WSCloseCode.PROTOCOL_ERROR
    options: dict[str, Any] = field(default_factory=dict)
    after: tuple[dict[str, Any], ...] = ()
    """Frames before it that are not wrong by themselves."""
    is_seen_in_header: bool = True
    is_masked_wrongly: bool = False

    def encode(self, side: str) -> bytes:
        """The frame's bytes, as the peer of `side` sends them."""
        return encode_for(side, self.frame, is_masked_wrongly=self.is_masked_wrongly)


def encode_for(side: str, frame: dict[str, Any], *, is_masked_wrongly: bool = False) -> bytes:
    """Bytes of a frame for picows as `side`; only a client masks."""
    return encode_frame(**frame, key=KEY if (side == "server") is not is_masked_wrongly else None)


def frame(opcode: int, payload: bytes | str = b"", **bits: Any) -> dict[str, Any]:
    """Arguments of `encode_frame`."""
    return {"opcode": opcode, "payload": payload} | bits


STRICT = {"strict": True}
UTF8 = {"validate_utf8": True}

ALWAYS = [
    *(Violation(f"opcode {opcode}", frame(opcode, b"x")) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    *(Violation(f"fragmented {opcode}", frame(opcode, b"", fin=False)) for opcode in (CLOSE, PING, PONG)),
    *(Violation(f"{opcode} of 126 bytes", frame(opcode, bytes(126))) for opcode in (CLOSE, PING, PONG)),
    Violation("ping of 65536 bytes", frame(PING, bytes(65536))),
    Violation("wrong masking", frame(TEXT, b"x"), is_masked_wrongly=True),
    Violation("wrong masking of a control frame", frame(PING), is_masked_wrongly=True),
    *(Violation(f"{size} in 2 octets", frame(BINARY, bytes(size), length_width=2)) for size in (0, 1, 125)),
    *(Violation(f"{size} in 8 octets", frame(BINARY, bytes(size), length_width=8)) for size in (0, 125, 126, 65535)),
    Violation("length of 2**63", frame(BINARY, announced_size=2**63, length_width=8)),
    Violation("length of 2**64 - 1", frame(BINARY, announced_size=2**64 - 1, length_width=8)),
    Violation("close of 1 byte", frame(CLOSE, b"\x03"), is_seen_in_header=False),
    *(
        Violation(f"close code {code}", frame(CLOSE, close_payload(code)), is_seen_in_header=False)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535)
    ),
    Violation(
        "close reason", frame(CLOSE, close_payload(1000) + b"\xff"), WSCloseCode.INVALID_TEXT, is_seen_in_header=False
    ),
    Violation(
        "end of close reason",
        frame(CLOSE, close_payload(1000) + "€".encode()[:2]),
        WSCloseCode.INVALID_TEXT,
        is_seen_in_header=False,
    ),
]

TOO_BIG = [
    Violation("limit + 1", frame(BINARY, bytes(LIMIT + 1)), WSCloseCode.MESSAGE_TOO_BIG, {"max_frame_size": LIMIT}),
    Violation(
        "2**63 - 1",
        frame(BINARY, announced_size=2**63 - 1, length_width=8),
        WSCloseCode.MESSAGE_TOO_BIG,
        {"max_frame_size": LIMIT},
    ),
    Violation("10 MiB + 1", frame(BINARY, announced_size=10 * 2**20 + 1, length_width=8), WSCloseCode.MESSAGE_TOO_BIG),
]

ONLY_STRICT = [
    *(Violation(f"reserved bits {bits}", frame(TEXT, b"x", rsv=bits), options=STRICT) for bits in range(1, 8)),
    Violation("reserved bit of a control frame", frame(PING, b"x", rsv=RSV1), options=STRICT),
    Violation("RSV2, RSV1 allowed", frame(TEXT, rsv=RSV1 | RSV2), options=STRICT | {"allowed_rsv": ("rsv1",)}),
    Violation("RSV1, others allowed", frame(TEXT, rsv=RSV1), options=STRICT | {"allowed_rsv": ("rsv2", "rsv3")}),
    Violation("stray continuation", frame(CONTINUATION, b"x"), options=STRICT),
    Violation("stray first fragment", frame(CONTINUATION, b"x", fin=False), options=STRICT),
    Violation(
        "continuation after the end",
        frame(CONTINUATION, b"x"),
        options=STRICT,
        after=(frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b")),
    ),
    Violation(
        "new message inside a message", frame(TEXT, b"x"), options=STRICT, after=(frame(BINARY, b"a", fin=False),)
    ),
    Violation(
        "new fragmented message inside one",
        frame(BINARY, b"x", fin=False),
        options=STRICT,
        after=(frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b", fin=False)),
    ),
]

INVALID_TEXT = [
    Violation(name, frame(TEXT, payload), WSCloseCode.INVALID_TEXT, UTF8, is_seen_in_header=False)
    for name, payload in {
        "lone octet": b"ok \xff",
        "overlong": b"\xc0\xaf",
        "surrogate": b"\xed\xa0\x80",
        "above U+10FFFF": b"\xf4\x90\x80\x80",
        "cut off": "€".encode()[:2],
        "bad start of much": b"\x80" + b"x" * 100_000,
        "bad end of much": b"x" * 100_000 + b"\x80",
    }.items()
] + [
    Violation(
        "across fragments",
        frame(CONTINUATION, b"\x41"),
        WSCloseCode.INVALID_TEXT,
        UTF8,
        after=(frame(TEXT, "€".encode()[:2], fin=False),),
        is_seen_in_header=False,
    ),
    Violation(
        "end inside a character",
        frame(CONTINUATION, b""),
        WSCloseCode.INVALID_TEXT,
        UTF8,
        after=(frame(TEXT, "€".encode()[:2], fin=False),),
        is_seen_in_header=False,
    ),
]

ALL = [*ALWAYS, *TOO_BIG, *ONLY_STRICT, *INVALID_TEXT]
every_violation = pytest.mark.parametrize("violation", ALL, ids=lambda violation: violation.name)


@asynccontextmanager
async def failing(open_session: OpenSession, violation: Violation) -> AsyncIterator[Session]:
    """A session that has to fail as the violation says: what comes after the block checks everything both ends see."""
    async with asyncio.timeout(10), open_session(**violation.options) as session:
        yield session
        close = await session.peer.read_frame()
        assert (close.opcode, close.close_code) == (CLOSE, violation.code)
        assert close.close_reason
        await session.peer.read_eof()
        session.peer.close()
        await outcome(session, violation.code)
        closing = session.transport.close_handshake
        assert (closing.sent.code, closing.sent.reason) == (violation.code, close.close_reason)
        assert closing.recv is None
        assert session.listener.calls.count("on_ws_disconnected") == 1
        assert session.listener.calls[-1] == "on_ws_disconnected"


async def outcome(session: Session, code: int) -> None:
    """core-api: on the client `wait_disconnected` raises what the server did wrong; a server has nobody to tell."""
    if session.is_client:
        with pytest.raises(WSProtocolError) as failure:
            await session.transport.wait_disconnected()
        assert failure.value.code == code
        assert failure.value.message
    else:
        await session.transport.wait_disconnected()


@every_violation
async def test_a_violation_fails_the_connection(open_session, side, violation):
    async with failing(open_session, violation) as session:
        for before in violation.after:
            session.peer.write_bytes(encode_for(side, before))
        session.peer.write_bytes(violation.encode(side))


@every_violation
async def test_frames_before_a_violation_in_the_same_read_are_delivered(open_session, side, violation):
    """And none that comes after it."""
    before = [frame(TEXT, b"one"), frame(BINARY, bytes(500)), *violation.after]
    stream = b"".join(encode_for(side, good) for good in before)
    behind = encode_for(side, frame(TEXT, b"behind"))
    async with failing(open_session, violation) as session:
        session.peer.write_bytes(stream + violation.encode(side) + behind)
    assert [received.payload for received in session.listener.frames] == [good["payload"] for good in before]


@every_violation
async def test_a_violation_is_found_however_the_stream_is_cut(open_session, side, violation):
    wrong = violation.encode(side)
    async with failing(open_session, violation) as session:
        for before in violation.after:
            session.peer.write_bytes(encode_for(side, before))
        read = session.transport.stats().bytes_received
        for octet in range(min(len(wrong), 20)):
            session.peer.write_bytes(wrong[octet : octet + 1])
            while session.transport.stats().bytes_received == read and not session.transport.is_close_frame_sent:
                await asyncio.sleep(0)
            read = session.transport.stats().bytes_received
        session.peer.write_bytes(wrong[20:])


@pytest.mark.parametrize(
    "violation", [violation for violation in ALL if violation.is_seen_in_header], ids=lambda violation: violation.name
)
async def test_what_the_header_shows_fails_before_the_payload_comes(open_session, side, violation):
    header = {"announced_size": len(violation.frame["payload"])} | violation.frame | {"payload": b""}
    stream = encode_for(side, header, is_masked_wrongly=violation.is_masked_wrongly)
    async with failing(open_session, violation) as session:
        for before in violation.after:
            session.peer.write_bytes(encode_for(side, before))
        session.peer.write_bytes(stream)


@pytest.mark.parametrize("fragment", [False, True], ids=["message", "continuation"])
@pytest.mark.parametrize("announced", [100, 50_000, 5_000_000])
async def test_invalid_text_fails_inside_a_frame_that_is_not_complete(open_session, side, fragment, announced):
    """The first octet that cannot belong to UTF-8 fails with 1007, though most of the frame has not come."""
    after = (frame(TEXT, "good €", fin=False),) if fragment else ()
    wrong = frame(CONTINUATION if fragment else TEXT, b"more\xff", announced_size=announced)
    violation = Violation("", wrong, WSCloseCode.INVALID_TEXT, UTF8, after)
    async with failing(open_session, violation) as session:
        for before in after:
            session.peer.write_bytes(encode_for(side, before))
        session.peer.write_bytes(violation.encode(side))


async def test_invalid_text_fails_in_the_read_that_brings_it(open_session, side):
    payload = "€".encode() * 100_000
    violation = Violation("", frame(TEXT, payload + b"\xff", announced_size=5_000_000), WSCloseCode.INVALID_TEXT, UTF8)
    wrong = violation.encode(side)
    async with failing(open_session, violation) as session:
        await session.write_in_pieces(wrong[:-1], range(0, len(wrong), 7919))
        assert not session.transport.is_close_frame_sent
        session.peer.write_bytes(wrong[-1:])


VALID = [
    pytest.param({"max_frame_size": LIMIT}, [frame(BINARY, bytes(LIMIT))], id="a frame of exactly the limit"),
    pytest.param({"max_frame_size": None}, [frame(BINARY, bytes(11 * 2**20))], id="no limit"),
    pytest.param({}, [frame(BINARY, bytes(10 * 2**20))], id="the default limit"),
    pytest.param({}, [frame(TEXT, b"\xff\xfe")], id="text that nobody asked to validate"),
    pytest.param({}, [frame(TEXT, b"x", rsv=bits) for bits in range(8)], id="reserved bits"),
    pytest.param({}, [frame(PONG, b"x", rsv=7)], id="reserved bits of a control frame"),
    pytest.param(
        {},
        [
            frame(CONTINUATION, b"stray"),
            frame(CONTINUATION, b"stray", fin=False),
            frame(TEXT, b"a", fin=False),
            frame(BINARY, b"b", fin=False),
            frame(TEXT, b"c"),
            frame(CONTINUATION, b"d"),
            frame(CONTINUATION, b"e"),
        ],
        id="any order of fragments",
    ),
    pytest.param(
        STRICT | {"allowed_rsv": ("rsv1", "rsv3")},
        [frame(TEXT, b"x", rsv=RSV1), frame(BINARY, b"y", rsv=RSV3), frame(TEXT, b"z", rsv=RSV1 | RSV3)],
        id="strict with allowed bits",
    ),
    pytest.param(
        STRICT,
        [
            frame(TEXT, b"a", fin=False),
            frame(PONG, b"between"),
            frame(CONTINUATION, b"", fin=False),
            frame(CONTINUATION, b"c"),
            frame(BINARY, b"", fin=False),
            frame(CONTINUATION, b""),
            frame(TEXT, b"d"),
        ],
        id="strict with the right order",
    ),
    pytest.param(
        UTF8,
        [
            frame(TEXT, "κόσμε \U0010ffff \ue000 \0"),
            frame(TEXT, "€".encode()[:1], fin=False),
            frame(PONG, b"\xff between"),
            frame(CONTINUATION, "€".encode()[1:2], fin=False),
            frame(CONTINUATION, "€".encode()[2:]),
            frame(BINARY, b"\xff\xfe"),
            frame(BINARY, b"\xff", fin=False),
            frame(CONTINUATION, b"\xfe"),
            frame(TEXT, b"\xff compressed", rsv=RSV1),
            frame(TEXT, b"\xff compressed", fin=False, rsv=RSV1),
            frame(CONTINUATION, b"\xff too"),
            frame(TEXT, "and valid again €"),
        ],
        id="text that is UTF-8, and what is exempt",
    ),
]


@pytest.mark.parametrize(("options", "sent"), VALID)
async def test_what_is_not_a_violation_is_delivered(open_session, side, options, sent):
    async with asyncio.timeout(20), open_session(**options) as session:
        for good in sent:
            session.peer.write_bytes(encode_for(side, good))
        for good in sent:
            payload = good["payload"].encode() if isinstance(good["payload"], str) else good["payload"]
            expected = Frame(good["opcode"], payload, good.get("fin", True), good.get("rsv", 0))
            assert await session.listener.next_frame() == expected
        assert not session.transport.is_close_frame_sent


async def test_the_reason_of_1009_names_both_numbers(open_session, side):
    violation = TOO_BIG[0]
    async with failing(open_session, violation) as session:
        session.peer.write_bytes(violation.encode(side))
    reason = session.transport.close_handshake.sent.reason
    assert str(LIMIT) in reason
    assert str(LIMIT + 1) in reason


@pytest.mark.links("plain", "tls", "unix")
@pytest.mark.parametrize("violation", [ALWAYS[0], TOO_BIG[0], INVALID_TEXT[0]], ids=lambda violation: violation.name)
async def test_a_violation_fails_every_kind_of_connection(open_session, side, violation):
    async with failing(open_session, violation) as session:
        session.peer.write_bytes(encode_for(side, frame(TEXT, b"before")) + violation.encode(side))
    assert [received.payload for received in session.listener.frames] == [b"before"]


@pytest.mark.links("plain", "tls")
async def test_the_reason_reaches_a_peer_that_is_still_sending(open_session, side):
    """Closing with unread input would reset the connection, and a reset destroys the CLOSE frame on its way."""
    violation = TOO_BIG[0]
    async with asyncio.timeout(10), open_session(**violation.options) as session:
        session.peer.write_bytes(encode_for(side, frame(BINARY, bytes(200_000), announced_size=300_000)))
        session.peer.write_bytes(encode_for(side, frame(TEXT, b"x")) * 50_000)
        close = await session.peer.read_frame()
        assert close.close_code == WSCloseCode.MESSAGE_TOO_BIG
        assert await session.peer.read_to_end() == b""


@pytest.mark.links("plain", "tls")
async def test_a_peer_that_never_ends_tcp_is_dropped(open_session, side):
    """RFC 6455 section 7.1.1: a side may close TCP at any time when the other takes too long; we give it one second."""
    violation = ALWAYS[0]
    async with asyncio.timeout(3), open_session() as session:
        session.peer.write_bytes(violation.encode(side))
        await outcome(session, violation.code)


async def test_a_violation_on_the_server_is_logged_without_a_traceback(open_session, side, caplog):
    violation = ALWAYS[0]
    with caplog.at_level(logging.INFO, "picows"):
        async with failing(open_session, violation) as session:
            session.peer.write_bytes(violation.encode(side))
    messages = [record for record in caplog.records if "unknown opcode" in record.getMessage()]
    assert len(messages) == (1 if side == "server" else 0)
    assert all(record.levelno == logging.INFO and not record.exc_info for record in messages)


class Impatient(Recorder):
    """Closes by itself as soon as a frame comes."""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        super().on_ws_frame(transport, frame)
        transport.send_close(WSCloseCode.GOING_AWAY)


async def test_a_violation_after_our_close_sends_no_second_close(open_session, side):
    """RFC 6455 section 5.5.1: nothing is sent after a CLOSE frame."""
    async with asyncio.timeout(10), open_session(Impatient) as session:
        session.peer.write_bytes(encode_for(side, frame(TEXT, b"x")) + ALWAYS[0].encode(side))
        assert (await session.peer.read_frame()).close_code == WSCloseCode.GOING_AWAY
        await session.peer.read_eof()
        session.peer.close()
        await outcome(session, WSCloseCode.PROTOCOL_ERROR)
        assert session.transport.close_handshake.sent.code == WSCloseCode.GOING_AWAY
