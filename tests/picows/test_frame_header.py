"""Frame headers on the wire (RFC 6455 section 5.2)."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from picows._codec import CodecError, FrameHeader, decode_header, encode_header, header_size

EDGES = [0, 1, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537, 2**32 - 1, 2**32, 2**63 - 1]

payload_sizes = st.sampled_from(EDGES) | st.integers(0, 2**63 - 1)
masking_keys = st.none() | st.binary(min_size=4, max_size=4)
opcodes = st.integers(0, 15)
rsv_bits = st.integers(0, 7)


def written(opcode: int, payload_size: int, fin: bool, rsv: int, key: bytes | None) -> bytes:
    """The header as section 5.2 draws it."""
    if payload_size <= 125:
        length, extended = payload_size, b""
    elif payload_size <= 0xFFFF:
        length, extended = 126, payload_size.to_bytes(2, "big")
    else:
        length, extended = 127, payload_size.to_bytes(8, "big")
    return bytes([fin << 7 | rsv << 4 | opcode, (key is not None) << 7 | length]) + extended + (key or b"")


def read(data: bytes) -> FrameHeader | str | None:
    """What the drawing of section 5.2 says of these bytes: a header, a violation, or None for too few."""
    if len(data) < 2:
        return None
    width = {126: 2, 127: 8}.get(data[1] & 127, 0)
    if len(data) < 2 + width:
        return None
    payload_size = int.from_bytes(data[2 : 2 + width], "big") if width else data[1] & 127
    if payload_size >= 2**63:
        return "LENGTH_HIGH_BIT"
    if width and payload_size <= {2: 125, 8: 0xFFFF}[width]:
        return "LENGTH_NOT_MINIMAL"
    size = 2 + width + (4 if data[1] & 128 else 0)
    if len(data) < size:
        return None
    key = data[2 + width : size] if data[1] & 128 else None
    return FrameHeader(data[0] & 15, bool(data[0] & 128), data[0] >> 4 & 7, payload_size, key, size)


def decoded(data: bytes, size: int | None = None) -> FrameHeader | str | None:
    try:
        return decode_header(data, size)
    except CodecError as error:
        return error.status


@given(opcodes, payload_sizes, st.booleans(), rsv_bits, masking_keys)
def test_encoding_is_what_the_rfc_draws(opcode, payload_size, fin, rsv, key):
    header = encode_header(opcode, payload_size, fin=fin, rsv=rsv, masking_key=key)
    assert header == written(opcode, payload_size, fin, rsv, key)
    assert header_size(payload_size, key is not None) == len(header)


@given(opcodes, payload_sizes, st.booleans(), rsv_bits, masking_keys, st.binary(max_size=20))
def test_round_trip(opcode, payload_size, fin, rsv, key, following):
    header = encode_header(opcode, payload_size, fin=fin, rsv=rsv, masking_key=key)
    expected = FrameHeader(opcode, fin, rsv, payload_size, key, len(header))
    assert decode_header(header + following) == expected


@pytest.mark.parametrize("payload_size", EDGES)
@pytest.mark.parametrize("key", [None, b"\x00\x00\x00\x00", b"\xff\xff\xff\xff"])
def test_every_prefix_of_a_header_is_incomplete(payload_size, key):
    header = encode_header(2, payload_size, masking_key=key)
    assert [decode_header(header[:size]) for size in range(len(header))] == [None] * len(header)


@given(st.binary(max_size=18))
@example(b"\x82\x7e\x00\x7d")
@example(b"\x82\xfe\x00\x7e")
@example(b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff")
@example(b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00")
@example(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff")
def test_any_bytes_are_read_as_the_rfc_says(data):
    assert decoded(data) == read(data)


@given(st.binary(min_size=18, max_size=18), st.binary(min_size=18, max_size=18), st.integers(0, 18))
def test_bytes_that_have_not_arrived_make_no_difference(data, other, size):
    assert decoded(data, size) == decoded(data[:size] + other[size:], size) == decoded(data[:size])


@pytest.mark.parametrize(
    ("length", "status"),
    [
        (b"\x7e\x00\x00", "LENGTH_NOT_MINIMAL"),
        (b"\x7e\x00\x7d", "LENGTH_NOT_MINIMAL"),
        (b"\x7f\x00\x00\x00\x00\x00\x00\x00\x00", "LENGTH_NOT_MINIMAL"),
        (b"\x7f\x00\x00\x00\x00\x00\x00\xff\xff", "LENGTH_NOT_MINIMAL"),
        (b"\x7f\x80\x00\x00\x00\x00\x00\x00\x00", "LENGTH_HIGH_BIT"),
        (b"\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "LENGTH_HIGH_BIT"),
    ],
)
@pytest.mark.parametrize("mask_bit", [0, 128])
def test_a_bad_length_fails_before_the_masking_key_is_there(length, status, mask_bit):
    """RFC 6455 section 5.2: the minimal number of bytes, and the most significant bit 0."""
    data = bytes([0x82, length[0] | mask_bit]) + length[1:]
    assert decoded(data) == status
    assert decoded(data[:-1]) is None


def test_the_view_for_tests_refuses_what_no_header_holds():
    for opcode, payload_size, rsv in [(16, 0, 0), (1, 2**63, 0), (1, 0, 8)]:
        with pytest.raises(ValueError, match="no header holds"):
            encode_header(opcode, payload_size, rsv=rsv)
    with pytest.raises(ValueError, match="size 3 of 2 bytes"):
        decode_header(b"\x81\x00", 3)
