"""The incremental validator against Python's own decoder (RFC 3629 section 4)."""

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picows._codec import UTF8_ACCEPT, UTF8_REJECT, utf8_feed

# Both ends of every range of the table in RFC 3629 section 4, and what lies beside them.
OCTETS = bytes.fromhex("00 41 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff")


# One of these completes whatever can be completed.
TAILS = [bytes([octet]) * count for octet in (0x80, 0xBF) for count in (1, 2, 3)]


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def verdict(data: bytes) -> str:
    """What Python's decoder makes of `data`. (Its incremental form waits for the end of a surrogate; we do not.)"""
    if is_text(data):
        return "accept"
    return "inside a character" if any(is_text(data + tail) for tail in TAILS) else "reject"


def named(state: int) -> str:
    return {UTF8_ACCEPT: "accept", UTF8_REJECT: "reject"}.get(state, "inside a character")


def corrupt(text: str, pos: int, octet: int) -> bytes:
    data = bytearray(text.encode())
    if data:
        data[pos % len(data)] = octet
    return bytes(data)


texts = st.text(max_size=60)
anything = st.builds(corrupt, texts, st.integers(0, 10**6), st.integers(0, 255)) | texts.map(str.encode)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_short_sequence_of_telling_octets(size):
    for octets in itertools.product(OCTETS, repeat=size):
        data = bytes(octets)
        assert named(utf8_feed(UTF8_ACCEPT, data)) == verdict(data), data.hex()


def test_every_longest_sequence_of_telling_octets():
    leads = [octet for octet in OCTETS if octet >= 0xEC]
    for octets in itertools.product(leads, OCTETS, OCTETS, OCTETS):
        data = bytes(octets)
        assert named(utf8_feed(UTF8_ACCEPT, data)) == verdict(data), data.hex()


def test_every_pair_of_octets():
    for octets in itertools.product(range(256), repeat=2):
        data = bytes(octets)
        assert named(utf8_feed(UTF8_ACCEPT, data)) == verdict(data), data.hex()


def test_every_character_is_accepted_and_no_surrogate_is():
    for code_point in range(sys.maxunicode + 1):
        is_surrogate = 0xD800 <= code_point <= 0xDFFF
        data = chr(code_point).encode(errors="surrogatepass")
        assert utf8_feed(UTF8_ACCEPT, data) == (UTF8_REJECT if is_surrogate else UTF8_ACCEPT), hex(code_point)


@given(anything)
def test_the_verdict_does_not_depend_on_where_the_text_is_cut(data):
    whole = utf8_feed(UTF8_ACCEPT, data)
    assert named(whole) == verdict(data)
    for cut in range(len(data) + 1):
        first = utf8_feed(UTF8_ACCEPT, data[:cut])
        assert named(first) == verdict(data[:cut])
        assert utf8_feed(first, data[cut:]) == whole


@given(anything)
def test_octet_by_octet(data):
    state = UTF8_ACCEPT
    for octet in data:
        state = utf8_feed(state, bytes([octet]))
    assert state == utf8_feed(UTF8_ACCEPT, data)


@pytest.mark.parametrize("size", [7, 8, 9, 31, 32, 33, 64, 100])
def test_a_bad_octet_is_found_wherever_it_stands_among_ascii(size):
    for pos in range(size):
        ascii_but_one = bytearray(b"a" * size)
        ascii_but_one[pos] = 0xFF
        assert utf8_feed(UTF8_ACCEPT, bytes(ascii_but_one)) == UTF8_REJECT, pos


@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_a_character_is_accepted_wherever_it_stands_among_ascii(character):
    for before in range(70):
        text = "a" * before + character + "b" * (70 - before)
        assert utf8_feed(UTF8_ACCEPT, text.encode()) == UTF8_ACCEPT, before


@given(st.binary(max_size=100))
def test_a_rejected_text_stays_rejected(data):
    assert utf8_feed(UTF8_REJECT, data) == UTF8_REJECT


@given(st.integers(0, 100))
def test_text_that_continues_inside_a_character_is_not_taken_for_ascii(size):
    state = utf8_feed(UTF8_ACCEPT, "€".encode()[:2])
    assert utf8_feed(state, b"a" * size) == (UTF8_REJECT if size else state)
