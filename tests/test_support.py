"""The tests' own tools: the raw peers understand each other, and the leak checks catch what they are for."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.support import CLOSE, PING, RSV1, TEXT, Endpoint, Frame, RawPeer, connect_raw_peer, encode_frame, peers
from tests.support.wire import accept_value, apply_key

pytest_plugins = ["pytester"]


def test_accept_value_is_that_of_the_rfc():
    """RFC 6455 section 1.3."""
    assert accept_value("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("frame", "wire"),
    [
        (encode_frame(TEXT, "Hello"), "810548656c6c6f"),
        (encode_frame(TEXT, "Hello", key=bytes.fromhex("37fa213d")), "818537fa213d7f9f4d5158"),
        (encode_frame(TEXT, "Hel", fin=False), "010348656c"),
        (encode_frame(PING, "Hello"), "890548656c6c6f"),
        (encode_frame(2, bytes(256))[:4], "827e0100"),
        (encode_frame(2, bytes(65536))[:10], "827f0000000000010000"),
        (encode_frame(TEXT, rsv=RSV1, announced_size=5, length_width=2), "c17e0005"),
    ],
)
def test_frames_are_those_of_the_rfc(frame, wire):
    """RFC 6455 section 5.7."""
    assert frame.hex() == wire


def test_masking_is_its_own_inverse():
    assert apply_key(apply_key(b"seven b", b"\x00\x01\xfe\xff"), b"\x00\x01\xfe\xff") == b"seven b"


async def _pair(raw_server) -> tuple[RawPeer, RawPeer]:
    async with raw_server() as server, asyncio.TaskGroup() as group:
        accepting = group.create_task(server.accept())
        client_tls = server.connect_options.get("ssl_context")
        endpoint = Endpoint(None, server.sock.getsockname(), server.url, client_tls=client_tls)
        client = await connect_raw_peer(endpoint)
        await client.upgrade()
        peer = await accepting
        server.release(peer)
    return client, peer


async def test_raw_peers_exchange_frames(raw_server):
    client, server = await _pair(raw_server)
    async with asyncio.timeout(5), client, server:
        client.write_frame(TEXT, "to the server")
        server.write_frame(TEXT, "to the client", fin=False)
        client.write_close(1000, "done")
        assert await server.read_frame() == Frame(TEXT, b"to the server")
        assert await client.read_frame() == Frame(TEXT, b"to the client", fin=False)
        close = await server.read_frame()
        assert (close.opcode, close.close_code, close.close_reason) == (CLOSE, 1000, "done")


async def test_a_large_write_waits_for_a_reader(raw_server):
    client, server = await _pair(raw_server)
    async with asyncio.timeout(10), client, server:
        payload = bytes(range(256)) * 65536
        client.write_frame(2, payload)
        assert await server.read_frame() == Frame(2, payload)
        await client.drain()


async def test_a_half_closed_peer_still_reads(raw_server):
    client, server = await _pair(raw_server)
    async with asyncio.timeout(5), client, server:
        client.half_close()
        await server.read_eof()
        server.write_frame(TEXT, "late")
        assert await client.read_frame() == Frame(TEXT, b"late")


@pytest.mark.links("plain")
async def test_reset_is_a_reset(raw_server):
    client, server = await _pair(raw_server)
    async with asyncio.timeout(5), client, server:
        client.reset()
        with pytest.raises(ConnectionResetError):
            await server.read_some()


@pytest.mark.links("plain")
async def test_a_frame_masked_in_the_wrong_direction_is_noticed(raw_server):
    client, server = await _pair(raw_server)
    async with asyncio.timeout(5), client, server:
        client.write_frame(TEXT, "x", mask=False)
        with pytest.raises(AssertionError, match=r"section 5\.1"):
            await server.read_frame()


@pytest.mark.parametrize(("required", "outcome"), [("0", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_a_missing_peer_names_the_command_that_prepares_it(monkeypatch, tmp_path, required, outcome):
    monkeypatch.setattr(peers, "_PEERS_DIR", tmp_path)
    monkeypatch.setenv("REQUIRE_PEERS", required)
    with pytest.raises(outcome, match=r"python \.ci/dev\.py peers"):
        peers.require_peer("websockets")


LEAKY_TESTS = """
import asyncio, socket
kept = []

async def test_task():
    kept.append(asyncio.create_task(asyncio.Event().wait()))
    await asyncio.sleep(0)

async def test_connection():
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_descriptor():
    kept.extend(socket.socketpair())

async def test_future():
    kept.append(asyncio.get_running_loop().create_future())

async def test_lost_exception():
    asyncio.get_running_loop().create_future().set_exception(OSError("nobody asks"))

async def test_unclosed_socket():
    socket.socket()
"""

COMPLAINTS = {
    "test_task": "the test left tasks",
    "test_connection": "the test left connections",
    "test_descriptor": "the test left descriptors",
    "test_future": "the test left futures",
    "test_lost_exception": "the loop's exception handler was called",
    "test_unclosed_socket": "unclosed <socket.socket",
}


def test_a_leak_fails_the_test_that_leaked(pytester):
    root = Path(__file__).resolve().parents[1]
    pytester.makeconftest("from tests.conftest import *")
    pytester.makepyfile(LEAKY_TESTS)
    pytester.makepyprojecttoml(
        f"""
        [tool.pytest.ini_options]
        asyncio_mode = "auto"
        asyncio_default_fixture_loop_scope = "function"
        pythonpath = [{str(root)!r}]
        filterwarnings = ["error"]
        """
    )
    output = pytester.runpytest_subprocess("-p", "no:cacheprovider").stdout.str()
    _, *reports = re.split(r"_+ (?:ERROR at \w+ of )?(test_\w+)\S* _+\n", output)
    complaints = dict(zip(reports[::2], reports[1::2], strict=True))
    assert {name for name, text in COMPLAINTS.items() if text in complaints[name]} == set(COMPLAINTS)
