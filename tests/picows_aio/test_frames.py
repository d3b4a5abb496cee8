"""Frames and close codes as objects, and what log lines say about them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picows_aio import frames
from picows_aio.exceptions import ProtocolError
from picows_aio.frames import CLOSE_CODE_EXPLANATIONS, EXTERNAL_CLOSE_CODES, Close, CloseCode, Frame, Opcode

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "expression",
    [
        "list(Opcode)",
        "list(CloseCode)",
        "str(CloseCode.GOING_AWAY), str(Opcode.TEXT)",
        "CLOSE_CODE_EXPLANATIONS",
        "sorted(OK_CLOSE_CODES), sorted(EXTERNAL_CLOSE_CODES)",
        "CTRL_OPCODES, DATA_OPCODES",
        "CONT, TEXT, BINARY, CLOSE, PING, PONG",
        "CLOSE_CODE_EXPLANATIONS[1000]",
        "Frame.MAX_LOG_SIZE",
    ],
)
def test_constants(compare, expression):
    compare(expression)


@pytest.mark.parametrize("code", [999, *range(1000, 1017), 1999, 2999, 3000, 3999, 4000, 4999, 5000])
def test_a_close_code(compare, code):
    compare(
        f"str(Close({code}, ''))",
        f"str(Close({code}, 'why'))",
        f"repr(Close({code}, 'why'))",
        f"Close({code}, '').check()",
        f"Close({code}, 'é').serialize()",
        f"Close.parse({code.to_bytes(2, 'big')!r})",
        f"Close({code}, '') == Close({code}, '')",
        f"hash(Close({code}, ''))",
    )


@pytest.mark.parametrize("payload", [b"", b"\x03", b"\x03\xe8abc", b"\x03\xe8\xc3\xa9", b"\x03\xe8\xff", b"\0\0"])
def test_the_payload_of_a_close_frame(compare, payload):
    compare(f"Close.parse({payload!r})", f"Close.parse(bytearray({payload!r}))")


@given(code=st.sampled_from(sorted(EXTERNAL_CLOSE_CODES)) | st.integers(3000, 4999), reason=st.text(max_size=30))
def test_close_payloads_come_back(code, reason):
    assert Close.parse(memoryview(Close(code, reason).serialize())) == Close(code, reason)


TEXTS = [b"hello", "é".encode(), b"a\"b'c\n", b"x" * 73, b"x" * 74, b"x" * 76, b"x" * 100_000, ("é" * 100).encode()]
BINARIES = [b"\xff\0", bytes(range(24)), bytes(range(25)), bytes(range(26)), b"\xf0" * 100, b"\0" * 100_000]


@pytest.mark.parametrize("opcode", ["TEXT", "BINARY", "CONT"])
@pytest.mark.parametrize("payload", [b"", *TEXTS, *BINARIES], ids=lambda payload: f"{payload[:8]!r}x{len(payload)}")
def test_a_data_frame_in_a_log_line(compare, opcode, payload):
    compare(
        f"str(Frame({opcode}, {payload!r}))",
        f"str(Frame({opcode}, bytearray({payload!r}), fin=False))",
        f"str(Frame({opcode}, memoryview({payload!r})))",
    )


@pytest.mark.parametrize(
    "frame",
    [
        "Frame(TEXT, b'a\\xc3', fin=False)",
        "Frame(TEXT, b'a\\xc3')",
        "Frame(TEXT, b'\\xa9b')",
        "Frame(CONT, b'\\xa9b')",
        "Frame(CONT, b'\\x80\\x80\\x80a\\xf0\\x9f\\x98', fin=False)",
        "Frame(CONT, b'\\x80\\x80\\x80\\x80a')",
        "Frame(TEXT, b'x' * 4000 + b'\\xc3', fin=False)",
        "Frame(TEXT, b'\\x1b[31m')",
        "Frame(TEXT, '\\x80'.encode())",
        "Frame(CLOSE, b'')",
        "Frame(CLOSE, b'\\x03\\xe8')",
        "Frame(CLOSE, b'\\x03\\xe8abc')",
        "Frame(CLOSE, b'\\x03\\xe8' + b'a' * 123)",
        "Frame(CLOSE, b'\\x03')",
        "Frame(CLOSE, b'\\x03\\xed')",
        "Frame(CLOSE, b'\\x03\\xe8\\xff')",
        "Frame(PING, b'')",
        "Frame(PING, b'abc')",
        "Frame(PING, b'\\xff\\0')",
        "Frame(PONG, b'x', True, True, True, True)",
    ],
)
def test_other_frames_in_a_log_line(compare, frame):
    compare(f"str({frame})")


@pytest.mark.parametrize(
    "expression",
    [
        "Frame(TEXT, b'x')",
        "Frame(TEXT, b'x', False, True, True, True)",
        "Frame(1, b'') == Frame(TEXT, b'')",
        "Frame(TEXT, b'') == Frame(TEXT, b'', rsv1=True)",
        "hash(Frame(TEXT, b''))",
        "Frame.__match_args__",
        "Frame()",
    ],
)
def test_a_frame_is_a_dataclass(compare, expression):
    compare(expression)


def test_a_frame_of_an_unknown_kind():
    assert str(Frame(3, b"x")) == "opcode 3 'x' [text, 1 byte]"


def test_the_reason_of_a_peer_cannot_forge_a_log_line():
    frame = Frame(Opcode.CLOSE, Close(1000, "bye\n2026-01-01 ERROR \x1b[31m\u202e").serialize())
    assert str(frame) == r"CLOSE 1000 (OK) bye\n2026-01-01 ERROR \x1b[31m\u202e [31 bytes]"


@given(
    opcode=st.sampled_from(Opcode),
    data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode),
    repeat=st.sampled_from([1, 1, 50]),
    fin=st.booleans(),
)
def test_a_log_line_is_short_and_printable(opcode, data, repeat, fin):
    shown = str(Frame(opcode, data * repeat, fin))
    assert len(shown) <= Frame.MAX_LOG_SIZE + len("BINARY  [binary, 10000 bytes, continued]")
    assert shown.replace("\ufffd", "").isprintable()
    assert f"{len(data) * repeat} byte" in shown


@pytest.mark.parametrize("limit", [0, 1, 9, 10, 30, 200])
def test_the_environment_limits_log_lines(limit):
    program = "from picows_aio.frames import *; print(Frame(TEXT, b'a' * 999)); print(Frame(BINARY, bytes(999)))"
    environment = os.environ | {"WEBSOCKETS_MAX_LOG_SIZE": str(limit)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    text, binary = done.stdout.splitlines()
    shown = len("...") if limit < 3 else limit
    assert len(text) == len("TEXT  [999 bytes]") + shown
    assert len(binary) == len("BINARY  [999 bytes]") + shown


@pytest.mark.parametrize("code", CloseCode)
def test_every_code_is_explained(code):
    assert CLOSE_CODE_EXPLANATIONS[code]
    assert str(Close(code, "")) == f"{int(code)} ({CLOSE_CODE_EXPLANATIONS[code]})"


def test_a_code_nobody_may_send_is_refused():
    with pytest.raises(ProtocolError, match="invalid status code"):
        Close(1005, "").serialize()


def test_opcodes_are_also_names_of_the_module():
    assert [getattr(frames, opcode.name) for opcode in Opcode] == list(Opcode)
