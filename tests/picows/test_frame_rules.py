"""A stream of frames against a model that follows the text of RFC 6455."""

import itertools
from dataclasses import dataclass, replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from picows._codec import CodecError, Frame, FrameHeader, FrameRules, check_close
from tests.picows.test_frame_header import read
from tests.picows.test_utf8 import verdict
from tests.support import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, RSV2, RSV3, TEXT, close_payload, encode_frame

KEY = b"\x12\x34\x56\x78"
EURO = "€".encode()

# Section 7.4, with 1012 to 1014 from the IANA registry. 1004, 1005, 1006 and 1015 are never sent.
CLOSE_CODES = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


@dataclass(frozen=True)
class Receiver:
    """The settings of one side."""

    expects_mask: bool = False
    strict: bool = True
    allowed_rsv: int = 0
    validate_utf8: bool = True
    max_payload_size: int | None = None


@dataclass(frozen=True)
class Message:
    """The fragmented message under way."""

    opcode: int
    text: bytes | None  # so far, when it is to be valid UTF-8


def judge_header(header: FrameHeader, receiver: Receiver, message: Message | None) -> str | None:
    """What is wrong with a header; where two things are, the one the implementation names first."""
    is_control = header.opcode >= 8
    interrupts = header.opcode in (TEXT, BINARY) and message is not None
    return next(
        (
            status
            for status, is_violated in [
                ("OPCODE", header.opcode not in (0, 1, 2, 8, 9, 10)),
                ("RSV", receiver.strict and header.rsv & ~(0 if is_control else receiver.allowed_rsv)),
                ("MASK_MISSING", receiver.expects_mask and header.masking_key is None),
                ("MASK_UNEXPECTED", not receiver.expects_mask and header.masking_key is not None),
                ("CONTROL_FRAGMENTED", is_control and not header.fin),
                ("CONTROL_TOO_LONG", is_control and header.payload_size > 125),
                ("CONTINUATION_UNEXPECTED", receiver.strict and header.opcode == CONTINUATION and message is None),
                ("CONTINUATION_EXPECTED", receiver.strict and interrupts),
                # Whatever the order of frames: text that is never continued is text that ends there.
                ("UTF8", interrupts and message and message.text is not None and verdict(message.text) != "accept"),
                ("TOO_BIG", receiver.max_payload_size is not None and header.payload_size > receiver.max_payload_size),
                ("TOO_BIG", header.payload_size > 2**63 - 1 - 14),  # no object is that large
            ]
            if is_violated
        ),
        None,
    )


def judge_close(payload: bytes) -> str | None:
    """Sections 5.5.1 and 7.4."""
    if not payload:
        return None
    if len(payload) == 1:
        return "CLOSE_LENGTH"
    code = int.from_bytes(payload[:2], "big")
    if code not in CLOSE_CODES:
        return "CLOSE_CODE"
    return None if verdict(payload[2:]) == "accept" else "CLOSE_REASON"


def text_so_far(header: FrameHeader, payload: bytes, receiver: Receiver, message: Message | None) -> bytes | None:
    """The text this frame belongs to, up to and including its payload; None when nothing is to be validated."""
    if header.opcode == TEXT:
        return payload if receiver.validate_utf8 and not header.rsv & RSV1 else None
    if header.opcode == CONTINUATION and message is not None and message.text is not None:
        return message.text + payload
    return None


def next_message(header: FrameHeader, text: bytes | None, message: Message | None) -> Message | None:
    """The message under way after a complete frame (section 5.4)."""
    if header.opcode >= 8:
        return message
    if header.fin or (header.opcode == CONTINUATION and message is None):
        return None
    return Message(message.opcode if header.opcode == CONTINUATION and message else header.opcode, text)


def receive(stream: bytes, receiver: Receiver) -> tuple[list[Frame], str | None]:
    """The frames of a stream, and the violation that ends it, if one does."""
    frames: list[Frame] = []
    message: Message | None = None
    while True:
        header = read(stream)
        if not isinstance(header, FrameHeader):
            return frames, header
        if status := judge_header(header, receiver, message):
            return frames, status
        arrived = stream[header.size : header.size + header.payload_size]
        key = header.masking_key or bytes(4)
        payload = bytes(octet ^ key[i % 4] for i, octet in enumerate(arrived))
        text = text_so_far(header, payload, receiver, message)
        is_complete = len(payload) == header.payload_size
        if (
            text is not None
            and verdict(text) != "accept"
            and (verdict(text) == "reject" or (is_complete and header.fin))
        ):
            return frames, "UTF8"
        if not is_complete:
            return frames, None
        if header.opcode == CLOSE and (status := judge_close(payload)):
            return frames, status
        frames.append(Frame(header.opcode, header.fin, header.rsv, payload))
        message = next_message(header, text, message)
        stream = stream[header.size + len(payload) :]


def feed(pieces: list[bytes], receiver: Receiver) -> tuple[list[Frame], str | None]:
    """The same, by the C code."""
    rules = FrameRules(**vars(receiver))
    frames: list[Frame] = []
    for piece in pieces:
        frames += rules.feed(piece)
        if rules.error:
            break
    return frames, rules.error


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(position % (len(stream) + 1) for position in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


receivers = st.builds(
    Receiver,
    expects_mask=st.booleans(),
    strict=st.booleans(),
    allowed_rsv=st.sampled_from([0, 0, RSV1, RSV1 | RSV2 | RSV3]),
    validate_utf8=st.booleans(),
    max_payload_size=st.sampled_from([None, None, 60, 200]),
)
payloads = st.text(max_size=40).map(str.encode) | st.binary(max_size=40) | st.just(b"x" * 130)
control_frames = st.builds(
    Frame,
    opcode=st.sampled_from([PING, PONG, CLOSE]),
    fin=st.just(True),
    rsv=st.just(0),
    payload=st.binary(max_size=20)
    | st.builds(close_payload, st.sampled_from([999, 1000, 1005, 1016, 3000]), st.text()),
)
any_frames = st.builds(
    Frame,
    opcode=st.sampled_from([CONTINUATION, TEXT, BINARY, PING, 3]),
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, RSV1, RSV2]),
    payload=payloads,
)


@st.composite
def messages(draw: st.DrawFn) -> list[Frame]:
    """One message, fragmented at any octet, with control frames between the fragments."""
    opcode = draw(st.sampled_from([TEXT, TEXT, BINARY]))
    pieces = cut(draw(payloads), draw(st.lists(st.integers(0, 200), max_size=3)))
    rsv = draw(st.sampled_from([0, 0, 0, RSV1]))
    frames = []
    for number, piece in enumerate(pieces):
        is_last = number == len(pieces) - 1
        frames.append(Frame(CONTINUATION if number else opcode, is_last, 0 if number else rsv, piece))
        frames += draw(st.lists(control_frames, max_size=1)) if not is_last else []
    return frames


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, Receiver]:
    """Mostly legal bytes for some receiver: a few frames out of order, an octet changed, the end missing."""
    receiver = draw(receivers)
    frames = [frame for message in draw(st.lists(messages(), max_size=5)) for frame in message]
    for position, frame in draw(st.lists(st.tuples(st.integers(0, 10), any_frames), max_size=2)):
        frames.insert(position, frame)
    key = KEY if receiver.expects_mask else None
    stream = bytearray().join(
        encode_frame(frame.opcode, frame.payload, fin=frame.fin, rsv=frame.rsv, key=key) for frame in frames
    )
    if stream and draw(st.booleans()):
        stream[draw(st.integers(0, len(stream) - 1))] = draw(st.integers(0, 255))
    return bytes(stream[: draw(st.integers(0, 400))] if draw(st.booleans()) else stream), receiver


@settings(max_examples=500)
@given(streams(), st.lists(st.integers(0, 1000), max_size=6))
def test_a_stream_is_judged_as_the_rfc_says_however_it_is_cut(stream_and_receiver, cuts):
    stream, receiver = stream_and_receiver
    expected = receive(stream, receiver)
    event(f"ends with {expected[1]}")
    assert feed(cut(stream, cuts), receiver) == expected
    assert feed([stream], receiver) == expected


@given(st.binary(max_size=200), receivers, st.lists(st.integers(0, 200), max_size=6))
def test_noise_is_judged_as_the_rfc_says(stream, receiver, cuts):
    assert feed(cut(stream, cuts), receiver) == receive(stream, receiver)


@given(streams())
def test_byte_by_byte(stream_and_receiver):
    stream, receiver = stream_and_receiver
    assert feed([bytes([octet]) for octet in stream], receiver) == receive(stream, receiver)


CLIENT = Receiver()
SERVER = Receiver(expects_mask=True)
LAX = Receiver(strict=False)
UNCHECKED = Receiver(validate_utf8=False)


def frame(opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0) -> bytes:
    return encode_frame(opcode, payload, fin=fin, rsv=rsv)


VIOLATIONS = [
    # Section 5.1: a client masks, a server does not.
    (SERVER, frame(BINARY), "MASK_MISSING"),
    (CLIENT, encode_frame(BINARY, key=KEY), "MASK_UNEXPECTED"),
    (replace(SERVER, strict=False), frame(PING), "MASK_MISSING"),
    # Section 5.2: reserved opcodes and bits, the length.
    *[(LAX, frame(opcode), "OPCODE") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
    *[(CLIENT, frame(BINARY, rsv=rsv), "RSV") for rsv in (RSV1, RSV2, RSV3)],
    (replace(CLIENT, allowed_rsv=RSV1), frame(BINARY, rsv=RSV1 | RSV3), "RSV"),
    (replace(CLIENT, allowed_rsv=RSV1), frame(PING, rsv=RSV1), "RSV"),
    (LAX, b"\x82\x7e\x00\x05hello", "LENGTH_NOT_MINIMAL"),
    (LAX, b"\x82\x7f\xff" + bytes(7), "LENGTH_HIGH_BIT"),
    # Section 5.4: fragments.
    (CLIENT, frame(CONTINUATION), "CONTINUATION_UNEXPECTED"),
    (CLIENT, frame(BINARY) + frame(CONTINUATION, fin=False), "CONTINUATION_UNEXPECTED"),
    (CLIENT, frame(BINARY, fin=False) + frame(BINARY), "CONTINUATION_EXPECTED"),
    (CLIENT, frame(TEXT, fin=False) + frame(PING) + frame(TEXT), "CONTINUATION_EXPECTED"),
    # Section 5.5: control frames.
    *[(LAX, frame(opcode, fin=False), "CONTROL_FRAGMENTED") for opcode in (CLOSE, PING, PONG)],
    *[(LAX, frame(opcode, bytes(126))[:4], "CONTROL_TOO_LONG") for opcode in (CLOSE, PING, PONG)],
    # Sections 5.5.1 and 7.4: the closing handshake.
    (LAX, frame(CLOSE, b"\x03"), "CLOSE_LENGTH"),
    (LAX, frame(CLOSE, close_payload(1005)), "CLOSE_CODE"),
    (LAX, frame(CLOSE, close_payload(1000) + EURO[:2]), "CLOSE_REASON"),
    # Section 8.1: text is UTF-8, across fragments, and as soon as it is not.
    (CLIENT, frame(TEXT, EURO[:2]), "UTF8"),
    (CLIENT, frame(TEXT, EURO[:1], fin=False) + frame(PING) + frame(CONTINUATION, EURO[1:2]), "UTF8"),
    (CLIENT, frame(TEXT, b"\xff" + b"x" * 99)[:3], "UTF8"),
    (LAX, frame(TEXT, EURO[:2], fin=False) + frame(TEXT, EURO[2:])[:2], "UTF8"),
    (LAX, frame(TEXT, EURO[:2], fin=False) + frame(BINARY)[:2], "UTF8"),
    # Section 10.4: limits, before the payload has come.
    (replace(LAX, max_payload_size=10), frame(BINARY, bytes(11))[:2], "TOO_BIG"),
    (LAX, b"\x82\x7f\x7f" + b"\xff" * 7, "TOO_BIG"),
]


@pytest.mark.parametrize(("receiver", "stream", "status"), VIOLATIONS)
def test_violation(receiver, stream, status):
    assert feed([stream], receiver)[1] == status
    assert receive(stream, receiver)[1] == status


LEGAL = [
    (SERVER, encode_frame(TEXT, EURO, key=KEY)),
    (
        CLIENT,
        frame(TEXT, EURO[:1], fin=False) + frame(CONTINUATION, EURO[1:2], fin=False) + frame(CONTINUATION, EURO[2:]),
    ),
    (CLIENT, frame(TEXT, EURO[:1], fin=False) + frame(PING, b"\xff") + frame(CONTINUATION, EURO[1:])),
    (CLIENT, frame(TEXT, EURO[:1], fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION, EURO[1:])),
    (CLIENT, frame(BINARY, b"\xff", fin=False) + frame(CONTINUATION, b"\xff")),
    (CLIENT, frame(TEXT) + frame(CLOSE) + frame(CLOSE, close_payload(4999, "€" * 41))),
    (UNCHECKED, frame(TEXT, b"\xff")),
    (replace(CLIENT, allowed_rsv=RSV1), frame(TEXT, b"\xff", fin=False, rsv=RSV1) + frame(CONTINUATION, b"\xff")),
    (replace(CLIENT, max_payload_size=10), frame(BINARY, bytes(10))),
    (LAX, frame(BINARY, rsv=RSV1 | RSV2 | RSV3)),
    (LAX, frame(CONTINUATION, b"\xff", fin=False) + frame(CONTINUATION, b"\xff") + frame(TEXT, EURO)),
    (LAX, frame(TEXT, EURO, fin=False) + frame(TEXT, EURO[:1], fin=False) + frame(CONTINUATION, EURO[1:])),
    (LAX, frame(TEXT, EURO, fin=False) + frame(BINARY, b"\xff", fin=False) + frame(CONTINUATION, b"\xff")),
]


@pytest.mark.parametrize(("receiver", "stream"), LEGAL)
def test_legal_stream(receiver, stream):
    frames, error = feed([stream], receiver)
    assert error is None
    assert (
        b"".join(
            encode_frame(*f[::3], fin=f.fin, rsv=f.rsv, key=KEY if receiver.expects_mask else None) for f in frames
        )
        == stream
    )


def test_frames_before_the_violation_are_delivered():
    frames, error = feed([frame(BINARY, b"1") + frame(BINARY, b"2") + frame(3) + frame(BINARY, b"3")], CLIENT)
    assert [f.payload for f in frames] == [b"1", b"2"]
    assert error == "OPCODE"


def test_nothing_is_read_after_a_violation():
    rules = FrameRules(expects_mask=False)
    rules.feed(frame(3))
    with pytest.raises(RuntimeError, match="OPCODE"):
        rules.feed(frame(BINARY))


def close_status(payload: bytes) -> str | None:
    try:
        check_close(payload)
    except CodecError as error:
        return error.status
    return None


@pytest.mark.parametrize("reason", [b"", b"going away", EURO * 41])
def test_every_close_code(reason):
    for code in range(65536):
        status = close_status(code.to_bytes(2, "big") + reason)
        assert status == (None if code in CLOSE_CODES else "CLOSE_CODE"), code


@given(st.binary(max_size=125) | st.builds(close_payload, st.sampled_from(sorted(CLOSE_CODES)), st.text(max_size=30)))
def test_close_payload(payload):
    assert close_status(payload) == judge_close(payload)
