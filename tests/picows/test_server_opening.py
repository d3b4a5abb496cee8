"""The server's side of the opening handshake in time: cut anywhere, too slow, too early, gone in the middle."""

import asyncio
import contextlib
import re

import pytest

from picows import WSUpgradeResponse, WSUpgradeResponseWithListener
from tests.support import BINARY, TEXT, Frame, connect_raw_peer, encode_frame
from tests.support.links import Endpoint
from tests.support.recorder import Accepted, Echo, Recorder

plain_only = pytest.mark.links("plain")
REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
EARLY = encode_frame(TEXT, "early", key=b"abcd")
TIMEOUT = 0.3  # seconds


async def let_it_read():
    """Give the server turns of the loop; what it has not read then it reads with what follows."""
    for _ in range(3):
        await asyncio.sleep(0)


async def assert_opens(peer):
    """The request is answered with 101, and the early frame behind it is echoed."""
    assert (await peer.read_http_head()).status == 101
    assert await peer.read_frame() == Frame(TEXT, b"early")


# Cuts.


@plain_only
async def test_a_request_may_be_cut_anywhere(serve, raw_peer):
    data = REQUEST + EARLY
    async with asyncio.timeout(20), serve() as endpoint:
        for cut in range(1, len(data)):
            async with raw_peer(endpoint, upgrade=False) as peer:
                peer.write_bytes(data[:cut])
                await let_it_read()
                peer.write_bytes(data[cut:])
                await assert_opens(peer)


async def test_a_request_may_come_byte_by_byte(serve, raw_peer):
    async with asyncio.timeout(10), serve() as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        for octet in REQUEST + EARLY:
            peer.write_bytes(bytes([octet]))
            await let_it_read()
        await assert_opens(peer)


@plain_only
@pytest.mark.parametrize("end", ["close", "reset", "half_close"])
async def test_a_client_may_leave_after_any_byte(serve, raw_peer, end):
    """Nothing stays behind, and the next one is served."""
    accepted = Accepted(Echo)
    async with asyncio.timeout(20), serve(accepted) as endpoint:
        for cut in range(0, len(REQUEST), 5):
            async with raw_peer(endpoint, upgrade=False) as peer:
                peer.write_bytes(REQUEST[:cut])
                await let_it_read()
                getattr(peer, end)()
                if end == "half_close":
                    await peer.read_eof()
        assert accepted.requests == []
        async with raw_peer(endpoint, upgrade=False) as peer:
            peer.write_bytes(REQUEST + EARLY)
            await assert_opens(peer)


# Early frames: RFC 6455 section 4.1 lets a client send only after the answer, but nothing says they cannot be together.


async def test_frames_right_behind_the_request_are_delivered_after_on_ws_connected(serve, raw_peer):
    listener = Recorder()
    payloads = [b"%d" % number for number in range(200)]
    async with asyncio.timeout(5), serve(lambda request: listener) as endpoint:
        async with raw_peer(endpoint, upgrade=False) as peer:
            peer.write_bytes(REQUEST + b"".join(encode_frame(TEXT, payload, key=b"abcd") for payload in payloads))
            assert [(await listener.next_frame()).payload for _ in payloads] == payloads
            assert listener.calls == ["on_ws_connected", *["on_ws_frame"] * len(payloads)]
        await listener.disconnected.wait()


class _SlowFactory:
    """Answers when it is told to, and notes how it ended."""

    def __init__(self, answer):
        self.answer = answer
        self.started = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.ended = asyncio.Event()
        self.was_cancelled = False
        self.swallows_cancellation = False

    async def __call__(self, request):
        self.started.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            if not self.swallows_cancellation:
                raise
        finally:
            self.ended.set()
        return self.answer


@pytest.mark.parametrize("size", [10, 60_000, 1_000_000])
async def test_frames_that_come_while_the_factory_works_wait_for_it(serve, raw_peer, size):
    """Beyond what one read brings they wait in the kernel: no byte is lost, and memory stays bounded."""
    listener = Recorder()
    factory = _SlowFactory(listener)
    payloads = [bytes([number]) * size for number in range(5)]
    async with asyncio.timeout(10), serve(factory) as endpoint:
        async with raw_peer(endpoint, upgrade=False) as peer:
            peer.write_bytes(REQUEST + EARLY)
            await factory.started.wait()
            for payload in payloads:
                peer.write_frame(BINARY, payload)
            await let_it_read()
            assert listener.calls == []
            factory.may_answer.set()
            frames = [await listener.next_frame() for _ in range(len(payloads) + 1)]
            assert [frame.payload for frame in frames] == [b"early", *payloads]
        await listener.disconnected.wait()


@pytest.mark.parametrize("answer", ["none", "health", "exception"])
async def test_an_answer_other_than_101_ends_the_connection_whatever_waits(serve, raw_peer, answer):
    """Early frames lie unread in the kernel; they must not turn the answer into a reset."""
    health = WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(b"ok"), None)
    factory = _SlowFactory({"none": None, "health": health, "exception": 5}[answer])
    async with asyncio.timeout(10), serve(factory) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        peer.write_bytes(REQUEST)
        await factory.started.wait()
        peer.write_frame(BINARY, bytes(200_000))
        factory.may_answer.set()
        head, body = await peer.read_http_response()
        assert head.status == {"none": 404, "health": 200, "exception": 500}[answer]
        assert body


# Clients that leave while the factory works.


@pytest.mark.parametrize("swallows", [False, True])
async def test_a_factory_whose_client_left_is_cancelled_by_the_deadline_at_the_latest(serve, raw_peer, swallows):
    """One that answers nevertheless answers nobody: its listener hears nothing."""
    listener = Recorder()
    factory = _SlowFactory(listener)
    factory.swallows_cancellation = swallows
    async with asyncio.timeout(5), serve(factory, websocket_handshake_timeout=TIMEOUT) as endpoint:
        async with raw_peer(endpoint, upgrade=False) as peer:
            peer.write_bytes(REQUEST)
            await factory.started.wait()
            peer.reset()
        await factory.ended.wait()
        await let_it_read()
    assert factory.was_cancelled
    assert listener.calls == []


# The deadline.


async def assert_timed_out(peer, started):
    """408, with words, at its time."""
    head, body = await peer.read_http_response()
    elapsed = asyncio.get_running_loop().time() - started
    assert head.status == 408
    assert head.one("Connection") == "close"
    assert b"too long" in body
    assert TIMEOUT * 0.9 < elapsed < TIMEOUT + 1


@pytest.mark.parametrize("sent", [b"", b"GET", REQUEST[:-2]], ids=["nothing", "a little", "nearly all"])
async def test_a_client_that_takes_too_long_is_told_so(serve, raw_peer, sent):
    async with asyncio.timeout(5), serve(websocket_handshake_timeout=TIMEOUT) as endpoint:
        started = asyncio.get_running_loop().time()
        async with raw_peer(endpoint, upgrade=False) as peer:
            peer.write_bytes(sent)
            await assert_timed_out(peer, started)


@plain_only
async def test_bytes_now_and_then_do_not_move_the_deadline(serve, raw_peer):
    """Slow loris: one deadline for the whole handshake, not one for each read."""
    async with asyncio.timeout(5), serve(websocket_handshake_timeout=TIMEOUT) as endpoint:
        started = asyncio.get_running_loop().time()
        async with raw_peer(endpoint, upgrade=False) as peer:
            answer = asyncio.create_task(assert_timed_out(peer, started))
            peer.write_bytes(b"GET / HTTP/1.1\r\nX: ")
            while not answer.done():
                peer.write_bytes(b"x")
                await asyncio.wait([answer], timeout=0.01)
            await answer


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("early", [0, 200_000])
async def test_a_factory_that_takes_too_long_is_cancelled_and_the_client_told(serve, raw_peer, swallows, early):
    listener = Recorder()
    factory = _SlowFactory(listener)
    factory.swallows_cancellation = swallows
    async with asyncio.timeout(5), serve(factory, websocket_handshake_timeout=TIMEOUT) as endpoint:
        started = asyncio.get_running_loop().time()
        async with raw_peer(endpoint, upgrade=False) as peer:
            peer.write_bytes(REQUEST)
            await factory.started.wait()
            if early:
                peer.write_frame(BINARY, bytes(early))
            await assert_timed_out(peer, started)
        await factory.ended.wait()
        await let_it_read()
    assert factory.was_cancelled
    assert listener.calls == []


@pytest.mark.links("tls")
@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"])
async def test_tls_stands_under_the_deadline_too(serve, sent):
    """A client that never finishes its TLS handshake is dropped."""
    async with asyncio.timeout(5), serve(websocket_handshake_timeout=TIMEOUT) as endpoint:
        without_tls = Endpoint(endpoint.server, endpoint.address, "")
        async with await connect_raw_peer(without_tls) as peer:
            peer.write_bytes(sent)
            await peer.read_to_end()


@pytest.mark.links("tls")
async def test_tls_and_the_request_share_one_deadline(serve):
    """core-api: seconds, for the whole handshake; what TLS took is gone."""
    timeout = 1.0
    async with asyncio.timeout(5), serve(websocket_handshake_timeout=timeout) as endpoint:
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with await connect_raw_peer(Endpoint(endpoint.server, endpoint.address, "")) as peer:
            await asyncio.sleep(0.7 * timeout)
            await peer.start_tls(endpoint.client_tls, server_side=False, server_hostname="127.0.0.1")
            await peer.read_to_end()
        assert loop.time() - started < 1.5 * timeout


@pytest.mark.links("tls")
async def test_the_user_s_own_tls_deadline_wins(serve):
    options = {"websocket_handshake_timeout": 60, "ssl_handshake_timeout": 0.2}
    async with (
        asyncio.timeout(5),
        serve(**options) as endpoint,
        await connect_raw_peer(Endpoint(endpoint.server, endpoint.address, "")) as peer,
    ):
        await peer.read_to_end()


@plain_only
async def test_the_deadline_ends_with_the_handshake(serve, raw_peer):
    async with asyncio.timeout(5), serve(websocket_handshake_timeout=0.1) as endpoint, raw_peer(endpoint) as peer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await peer.read_frame()
        peer.write_frame(TEXT, "x")
        assert await peer.read_frame() == Frame(TEXT, b"x")


@plain_only
async def test_none_is_no_deadline(serve, raw_peer):
    async with (
        asyncio.timeout(5),
        serve(websocket_handshake_timeout=None) as endpoint,
        raw_peer(endpoint, upgrade=False) as peer,
    ):
        peer.write_bytes(REQUEST[:50])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await peer.read_some()
        peer.write_bytes(REQUEST[50:] + EARLY)
        await assert_opens(peer)


# Answers that take long to read.


@pytest.mark.links("plain", "tls")
async def test_a_long_answer_reaches_a_slow_reader_whole(serve, raw_peer):
    """It is queued when the server is done with it; who reads all the time must not lose the end of it."""
    body = bytes(16 << 20)  # more than the kernel takes at once
    response = WSUpgradeResponse.create_ok_response(body, {"Content-Type": "application/octet-stream"})
    answer = WSUpgradeResponseWithListener(response, None)
    async with (
        asyncio.timeout(10),
        serve(lambda request: answer) as endpoint,
        raw_peer(endpoint, upgrade=False, receive_buffer_size=65536) as peer,
    ):
        peer.write_bytes(REQUEST)
        await peer.read_http_head()
        received = 0
        with contextlib.suppress(EOFError):
            for _ in range(16):
                received += len(await peer.read_bytes(len(body) // 16))
                await asyncio.sleep(0.1)  # a slow line: this is what the test is about
        assert received == len(body)
        assert await peer.read_to_end() == b""


@plain_only
async def test_answers_carry_the_date(serve, raw_peer):
    """RFC 9110 section 6.6.1: an origin server with a clock MUST generate it."""
    async with asyncio.timeout(5), serve(lambda request: None) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        peer.write_bytes(REQUEST)
        head, _ = await peer.read_http_response()
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", head.one("Date"))
