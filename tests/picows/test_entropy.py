"""Masking keys (RFC 6455 sections 5.3 and 10.3): from a strong source, and each used once."""

import os
import subprocess
import sys

import pytest

from picows import entropy
from picows._codec import next_masking_key

KEYS_PER_POOL = entropy.POOL_SIZE // 4


@pytest.fixture
def empty_pool():
    """A pool that must be filled before the next key, and that keeps nothing of the test."""
    entropy.discard_pool()
    yield
    entropy.discard_pool()


class CountingSource:
    """Hands out 0, 1, 2, ... as four octets each."""

    def __init__(self):
        self.requests = []
        self.count = 0

    def __call__(self, size):
        self.requests.append(size)
        first, self.count = self.count, self.count + size // 4
        return b"".join(number.to_bytes(4, "big") for number in range(first, self.count))


@pytest.fixture
def source(monkeypatch, empty_pool):
    counting = CountingSource()
    monkeypatch.setattr(entropy, "random_bytes", counting)
    return counting


def run_python(program):
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()


def test_every_key_of_the_source_is_used_once_and_in_order(source):
    keys = [next_masking_key() for _ in range(3 * KEYS_PER_POOL)]
    assert keys == [number.to_bytes(4, "big") for number in range(3 * KEYS_PER_POOL)]
    assert source.requests == [entropy.POOL_SIZE] * 3


def test_the_source_is_asked_only_when_the_pool_is_empty(source):
    next_masking_key()
    for _ in range(KEYS_PER_POOL - 1):
        next_masking_key()
    assert len(source.requests) == 1
    next_masking_key()
    assert len(source.requests) == 2


@pytest.mark.parametrize("octet", [0x00, 0xFF])
def test_keys_that_look_like_nothing_or_like_an_error_are_keys(monkeypatch, empty_pool, octet):
    """A key is any 32 bits; an implementation that avoids some makes the others likelier."""
    monkeypatch.setattr(entropy, "random_bytes", lambda size: bytes(bytearray([octet]) * size))
    assert {next_masking_key() for _ in range(KEYS_PER_POOL + 1)} == {bytes([octet] * 4)}


def test_a_source_that_fails_gives_no_key(monkeypatch, empty_pool):
    def fail(size):
        raise OSError("no entropy")

    with monkeypatch.context() as patch:
        patch.setattr(entropy, "random_bytes", fail)
        for _ in range(2):
            with pytest.raises(OSError, match="no entropy"):
                next_masking_key()
    assert len(next_masking_key()) == 4


def test_a_pool_filled_meanwhile_by_another_thread_gives_no_key_twice(monkeypatch, source):
    """The source may let other threads run. What such a thread does is done here from inside the source."""
    others = []

    def interrupted(size):
        fresh = source(size)
        monkeypatch.setattr(entropy, "random_bytes", source)
        others.extend(next_masking_key() for _ in range(5))
        return fresh

    monkeypatch.setattr(entropy, "random_bytes", interrupted)
    keys = [next_masking_key() for _ in range(2 * KEYS_PER_POOL)]
    assert len(others) == 5
    assert len({*keys, *others}) == len(keys) + len(others)


def test_discarded_keys_do_not_come_back(source):
    before = {next_masking_key() for _ in range(10)}
    entropy.discard_pool()
    after = {next_masking_key() for _ in range(10)}
    assert not before & after
    assert min(after) == KEYS_PER_POOL.to_bytes(4, "big")


def test_every_bit_of_a_key_is_a_coin():
    """Of 8192 fair tosses 40 to 60 per cent are heads, with odds of 10**70 to one."""
    numbers = [int.from_bytes(next_masking_key(), "big") for _ in range(8192)]
    shares = [sum(number >> bit & 1 for number in numbers) / len(numbers) for bit in range(32)]
    assert all(0.4 < share < 0.6 for share in shares)


def test_two_processes_have_nothing_in_common():
    program = "from picows._codec import next_masking_key as k; print(*[k().hex() for _ in range(64)])"
    assert len(set(run_python(program)) & set(run_python(program))) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_does_not_repeat_its_parents_keys():
    program = """
import os
from picows._codec import next_masking_key
next_masking_key()
child = os.fork()
keys = [next_masking_key().hex() for _ in range(64)]
if child:
    os.waitpid(child, 0)
os.write(1, " ".join(keys).encode() + b"\\n")
os._exit(0)
"""
    keys = run_python(program)
    assert len(keys) == 128
    assert len(set(keys)) == 128
