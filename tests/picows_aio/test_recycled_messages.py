"""Messages whose objects may be used again: nobody can tell, except by the memory that is kept for it."""

import ctypes
import random
import tracemalloc

import pytest

from tests.picows_aio.pairs import deadline, open_pair
from tests.support import BINARY

KIB = 1024
SIZES = (*range(440, 520), *range(900, 1100), 5000, 9 * KIB, 32 * KIB - 1, 32 * KIB, 32 * KIB + 1)


@pytest.mark.parametrize("seed", range(4))
async def test_a_message_that_is_held_never_changes(seed: int) -> None:
    chooser = random.Random(seed)
    held: list[tuple[bytes, bytes]] = []
    async with open_pair("client", max_queue=chooser.choice([1, 16, None])) as (connection, peer):
        with deadline(60):
            for _ in range(300):
                sizes = [chooser.choice(SIZES)] * chooser.randrange(1, 8)
                payloads = [chooser.randbytes(size) for size in sizes]
                for payload in payloads:
                    peer.write_frame(BINARY, payload)
                for payload in payloads:
                    message = await connection.recv()
                    assert message == payload
                    assert hash(message) == hash(payload)
                    if chooser.random() < 0.5:
                        held.append((message, payload))
                while held and chooser.random() < 0.7:
                    held.pop(chooser.randrange(len(held)))
                assert all(message == payload for message, payload in held)


async def test_what_is_made_of_a_message_outlives_it() -> None:
    payloads = [bytes([number % 256]) * 1000 for number in range(2000)]
    views, slices, keys = [], [], {}
    async with open_pair("client") as (connection, peer):
        with deadline(60):
            for number, payload in enumerate(payloads):
                peer.write_frame(BINARY, payload)
                message = await connection.recv()
                assert isinstance(message, bytes)
                if number % 3 == 0:
                    views.append((memoryview(message)[10:], payload[10:]))
                elif number % 3 == 1:
                    slices.append((message[10:], payload[10:]))
                else:
                    keys[message] = payload
                del message
    assert all(view == expected for view, expected in views)
    assert all(part == expected for part, expected in slices)
    assert all(key == expected for key, expected in keys.items())
    assert set(keys) == set(payloads[2::3])


async def test_a_shorter_message_ends_where_it_ends() -> None:
    """C programs take a bytes object for a string that a zero ends."""
    async with open_pair("client") as (connection, peer):
        with deadline(60):
            for size in [*range(1000, 700, -1), *range(700, 1000)] * 4:
                peer.write_frame(BINARY, b"x" * size)
                message = await connection.recv()
                assert isinstance(message, bytes)
                assert len(ctypes.string_at(message)) == len(message) == size


@pytest.mark.parametrize("size", [481, KIB, 9 * KIB, 32 * KIB])
async def test_the_memory_that_is_kept_is_bounded(size: int) -> None:
    """Of messages that nobody holds, 384 KiB stay."""
    async with open_pair("client") as (connection, peer):
        with deadline(60):
            tracemalloc.start()
            try:
                for round_ in range(20):
                    messages = []
                    for number in range(4 * 1024 * KIB // size // 8):
                        peer.write_frame(BINARY, bytes([round_, number % 256]) + bytes(size - 2))
                        messages.append(await connection.recv())
                    assert len({message[:2] for message in messages}) == min(256, len(messages))
                    del messages
                kept, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert kept < 512 * KIB
