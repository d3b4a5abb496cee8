"""Masking keys on the wire (RFC 6455 sections 5.3 and 10.3): fresh for each frame, and nobody can guess the next."""

import asyncio
import collections
import itertools
import subprocess
import sys

import pytest

from picows import WSMsgType, broadcast
from tests.support import BINARY, CLOSE, Frame, encode_frame

pytestmark = [pytest.mark.links("plain"), pytest.mark.parametrize("side", ["client"])]


async def test_every_way_to_send_masks_with_a_fresh_key(open_session):
    """RFC 6455 section 5.3: the key is picked anew for each frame, control frames included."""
    async with asyncio.timeout(10), open_session() as session:
        transport = session.transport
        for _ in range(3):
            transport.send(WSMsgType.BINARY, b"same")
            transport.send(WSMsgType.BINARY, bytes(100_000))
            transport.send(WSMsgType.BINARY, bytes(600_000))
            transport.send_reuse_external_bytearray(WSMsgType.BINARY, bytearray(18), 14)
            transport.send_ping(b"same")
            transport.send_pong(b"same")
            with transport.cork():
                transport.send(WSMsgType.BINARY, b"same")
                transport.send(WSMsgType.BINARY, b"same")
            broadcast([transport], WSMsgType.BINARY, b"same")
        transport.send_close()
        keys = [(await session.peer.read_frame()).masking_key for _ in range(3 * 9 + 1)]
        assert len(set(keys)) == len(keys)


async def test_one_message_to_many_servers_has_a_key_for_each(side, connect_raw):
    """RFC 6455 section 5.3 knows no exception for `broadcast`."""
    async with asyncio.timeout(10), connect_raw() as (first, _, one), connect_raw() as (second, _, other):
        assert broadcast([first, second], WSMsgType.BINARY, b"payload").sent == 2
        frames = await one.read_frame(), await other.read_frame()
        assert frames[0].masking_key != frames[1].masking_key
        assert frames == (Frame(BINARY, b"payload"), Frame(BINARY, b"payload"))


async def test_the_payload_does_not_travel_in_clear(open_session):
    """RFC 6455 section 10.3: the wire shows the payload combined with the key."""
    async with asyncio.timeout(10), open_session() as session:
        session.transport.send(WSMsgType.BINARY, b"GET / HTTP/1.1\r\n" * 500)
        raw = await session.peer.read_bytes(4 + 4 + 8000)
        assert raw == encode_frame(BINARY, b"GET / HTTP/1.1\r\n" * 500, key=raw[4:8])


async def test_keys_have_no_pattern(open_session):
    """RFC 6455 section 5.3: the key must not make it simple to predict that of a subsequent frame."""
    count = 20_000
    async with asyncio.timeout(30), open_session() as session:
        keys = []
        for _ in range(20):
            for _ in range(count // 20):
                session.transport.send(WSMsgType.BINARY, b"")
            keys += [(await session.peer.read_frame()).masking_key for _ in range(count // 20)]
    # Two equal keys in 20,000 random ones come up in one run of twenty, four in less than one of a million.
    assert count - len(set(keys)) <= 3
    assert count - len({int.from_bytes(b, "big") ^ int.from_bytes(a, "big") for a, b in itertools.pairwise(keys)}) <= 4
    # Each octet takes each value 20000 / 256 = 78 times, give or take 8.8: seven times that is never.
    for position in range(4):
        counts = collections.Counter(key[position] for key in keys)
        assert len(counts) == 256
        assert all(abs(seen - count / 256) < 62 for seen in counts.values())


PROGRAM = """
import asyncio, sys
sys.path.insert(0, {root!r})
from picows import WSListener, WSMsgType, ws_connect

async def main():
    transport, _ = await ws_connect(WSListener, {url!r})
    for _ in range(8):
        transport.send(WSMsgType.BINARY, b"")
    transport.send_close()
    await transport.wait_disconnected()

asyncio.run(main())
"""


async def _keys_of_a_process(server, root):
    program = PROGRAM.format(root=root, url=server.url)
    environment = {"PYTHONHASHSEED": "0", "PATH": ""}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=environment, stderr=subprocess.PIPE
    )
    peer = await server.accept()
    frames = await peer.read_frames(9)
    assert frames[-1].opcode == CLOSE
    peer.write_close()
    peer.close()
    _, errors = await process.communicate()
    assert process.returncode == 0, errors
    return [frame.masking_key for frame in frames]


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_two_processes_send_different_keys(side, raw_server, pytestconfig):
    """A generator that starts with the same seed in each process gives the keys away before the first is used."""
    async with asyncio.timeout(30), raw_server() as server:
        first = await _keys_of_a_process(server, str(pytestconfig.rootpath))
        second = await _keys_of_a_process(server, str(pytestconfig.rootpath))
    assert set(first).isdisjoint(second)
    assert len(set(first)) == len(set(second)) == 9
