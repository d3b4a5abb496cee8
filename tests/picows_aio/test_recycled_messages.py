"""Messages whose objects may be used again: nobody can tell, except by the memory that is kept for it."""

import ctypes
import random
import sys
import tracemalloc

import pytest

from tests.picows_aio.pairs import deadline, open_pair
from tests.support import BINARY, TEXT

KIB = 1024
SIZES = (*range(440, 520), *range(900, 1100), 5000, 9 * KIB, 32 * KIB - 1, 32 * KIB, 32 * KIB + 1)
ASCII = bytes(range(128))
KINDS = ("binary", "ascii", "text")
Message = bytes | str


def make_payload(kind: str, size: int, chooser: random.Random) -> Message:
    """What cannot be taken for another payload; "text" has one character beyond ASCII at most, anywhere."""
    if kind == "binary":
        return chooser.randbytes(size)
    text = bytes(chooser.choices(ASCII, k=size)).decode()
    where = chooser.randrange(2 * size)
    return text if kind == "ascii" or where >= size else f"{text[:where]}\xe9{text[where + 2 :]}"


def opcode_of(payload: Message) -> int:
    return TEXT if isinstance(payload, str) else BINARY


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
async def test_a_message_that_is_held_never_changes(seed: int, kind: str) -> None:
    chooser = random.Random(seed)
    held: list[tuple[Message, Message]] = []
    async with open_pair("client", max_queue=(1, 16, None)[seed]) as (connection, peer):
        with deadline(60):
            for _ in range(200):
                sizes = [chooser.choice(SIZES)] * chooser.randrange(1, 8)
                payloads = [make_payload(kind, size, chooser) for size in sizes]
                for payload in payloads:
                    peer.write_frame(opcode_of(payload), payload)
                for payload in payloads:
                    message = await connection.recv()
                    assert message == payload
                    assert hash(message) == hash(payload)
                    if chooser.random() < 0.5:
                        held.append((message, payload))
                while held and chooser.random() < 0.7:
                    held.pop(chooser.randrange(len(held)))
                assert all(message == payload for message, payload in held)


@pytest.mark.parametrize("kind", ["binary", "ascii"])
async def test_what_is_made_of_a_message_outlives_it(kind: str) -> None:
    payloads = [make_payload(kind, 1000, random.Random(number)) for number in range(2000)]
    slices, keys = [], {}
    async with open_pair("client") as (connection, peer):
        with deadline(60):
            for number, payload in enumerate(payloads):
                peer.write_frame(opcode_of(payload), payload)
                message = await connection.recv()
                if number % 3 == 0:
                    slices.append((message[10:], payload[10:]))
                elif number % 3 == 1:
                    keys[message] = payload
                elif isinstance(message, bytes):
                    slices.append((memoryview(message)[10:], payload[10:]))
                del message
    assert all(part == expected for part, expected in slices)
    assert all(key == expected for key, expected in keys.items())
    assert set(keys) == set(payloads[1::3])


async def test_interned_text_stays_what_it_is() -> None:
    """The interpreter's table of interned text does not count as a holder."""
    texts = [f"{number:1000}" for number in range(2000)]
    async with open_pair("client") as (connection, peer):
        with deadline(60):
            for text in texts:
                peer.write_frame(TEXT, text)
                message = await connection.recv()
                assert isinstance(message, str)
                assert sys.intern(message) == text
                del message
    assert [sys.intern(text) for text in texts] == texts


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="text has no second representation")
async def test_wide_characters_of_text_are_its_own() -> None:
    wide_characters = ctypes.pythonapi.PyUnicode_AsUnicode
    wide_characters.argtypes, wide_characters.restype = [ctypes.py_object], ctypes.c_wchar_p
    async with open_pair("client") as (connection, peer):
        with deadline(60):
            for number in range(2000):
                peer.write_frame(TEXT, f"{number:1000}")
                assert wide_characters(await connection.recv()) == f"{number:1000}"


@pytest.mark.parametrize("kind", ["binary", "ascii"])
async def test_a_shorter_message_ends_where_it_ends(kind: str) -> None:
    """C programs take bytes and ASCII text for strings that a zero ends."""
    as_string = ctypes.pythonapi.PyUnicode_AsUTF8
    as_string.argtypes, as_string.restype = [ctypes.py_object], ctypes.c_char_p
    async with open_pair("client") as (connection, peer):
        with deadline(60):
            for size in [*range(1000, 700, -1), *range(700, 1000)] * 4:
                peer.write_frame(BINARY if kind == "binary" else TEXT, b"x" * size)
                message = await connection.recv()
                string = as_string(message) if isinstance(message, str) else ctypes.string_at(message)
                assert len(string) == len(message) == size


@pytest.mark.parametrize("opcode", [BINARY, TEXT])
@pytest.mark.parametrize("size", [481, KIB, 9 * KIB, 32 * KIB])
async def test_the_memory_that_is_kept_is_bounded(size: int, opcode: int) -> None:
    """Of messages that nobody holds, 384 KiB stay."""
    async with open_pair("client") as (connection, peer):
        with deadline(60):
            tracemalloc.start()
            try:
                for round_ in range(20):
                    messages = []
                    for number in range(512 * KIB // size):
                        peer.write_frame(opcode, bytes([round_, number % 128]) + bytes(size - 2))
                        messages.append(await connection.recv())
                    assert len({message[:2] for message in messages}) == min(128, len(messages))
                    del messages
                kept, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert kept < 512 * KIB
