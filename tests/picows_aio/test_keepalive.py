"""Keepalive: pings at an interval, any byte is a sign of life, and a verdict that says whose fault it was."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from picows_aio import ConnectionClosedError, State
from picows_aio.keepalive import Keepalive
from tests.picows_aio.pairs import SIDES, open_both, open_pair
from tests.support import PING, PONG, TEXT, RawPeer, encode_frame


class Timer:
    """What `call_at` returns."""

    def __init__(self, loop: "Clock", when: float, callback: Callable[..., None]) -> None:
        self._loop = loop
        self.when = when
        self.callback = callback

    def cancel(self) -> None:
        """Not to be called any more."""
        if self in self._loop.timers:
            self._loop.timers.remove(self)


class Clock:
    """A loop of which there is only the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        """Seconds."""
        return self.now

    def call_at(self, when: float, callback: Callable[..., None]) -> Timer:
        """Remember it."""
        self.timers.append(Timer(self, when, callback))
        return self.timers[-1]

    def run_until(self, when: float, late: float = 0.0) -> None:
        """Call what is due until then, each so many seconds late."""
        while self.timers and min(timer.when for timer in self.timers) + late <= when:
            timer = min(self.timers, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = timer.when + late
            timer.callback()
        self.now = max(self.now, when)


class Line:
    """A connection of which there is only what keepalive asks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.logger = logging.getLogger("keepalive test")
        self.pings: list[float] = []
        self.received = 0
        self.waiting: int | None = None
        self.failures: list[tuple[float, int, str, str]] = []

    def keepalive_ping(self) -> None:
        """Note when."""
        self.pings.append(self._clock.now - 1000)

    def bytes_received(self) -> int:
        """What the test says."""
        return self.received

    def is_reading_paused(self) -> bool:
        """What the test says."""
        return self.waiting is not None

    def messages_waiting(self) -> int:
        """What the test says."""
        return self.waiting or 0

    def fail(self, code: int, reason: str, cause: BaseException | None) -> None:
        """Note it."""
        self.failures.append((self._clock.now - 1000, code, reason, str(cause)))


def _start(interval: float, timeout: float | None) -> tuple[Clock, Line, Keepalive]:
    clock = Clock()
    line = Line(clock)
    return clock, line, Keepalive(line, clock, interval, timeout)  # type: ignore[arg-type]


@pytest.mark.parametrize(("interval", "timeout"), [(20, 20), (20, 5), (5, 20), (5, 60)])
def test_pings_go_at_their_interval_whatever_the_timeout_is(interval: float, timeout: float) -> None:
    """They also keep the way through routers open, so a long patience must not make them rare."""
    clock, line, _ = _start(interval, timeout)
    for second in range(1, 201):
        clock.run_until(1000 + second)
        line.received += 1
    assert line.pings == [interval * count for count in range(1, int(200 / interval) + 1)]
    assert line.failures == []


def test_without_a_timeout_pings_go_on() -> None:
    clock, line, _ = _start(20, None)
    clock.run_until(1205)
    assert line.pings == [20 * count for count in range(1, 11)]
    assert line.failures == []


@pytest.mark.parametrize(
    ("interval", "timeout", "ends", "pings"), [(20, 20, 40, 1), (20, 5, 25, 1), (5, 20, 25, 4), (5, 60, 65, 12)]
)
def test_a_silent_peer(
    interval: float, timeout: float, ends: float, pings: int, caplog: pytest.LogCaptureFixture
) -> None:
    clock, line, _ = _start(interval, timeout)
    line.received = 1234
    clock.run_until(1200)
    message = (
        f"keepalive ping timeout: no answer for {timeout:.1f} s; "
        f"the peer was silent (pings sent: {pings}; bytes received: none since, 1234 before)"
    )
    assert line.failures == [(ends, 1011, "keepalive ping timeout", message)]
    assert clock.timers == []
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", message)]


@pytest.mark.parametrize("when", [20.5, 30, 39.9])
def test_any_byte_is_life_for_one_more_interval(when: float) -> None:
    clock, line, _ = _start(20, 20)
    clock.run_until(1000 + when)
    line.received += 1
    clock.run_until(1200)
    assert line.pings == [20, 40]
    assert [failure[0] for failure in line.failures] == [60]


def test_a_byte_before_the_ping_is_no_answer() -> None:
    clock, line, _ = _start(20, 20)
    clock.run_until(1019)
    line.received += 100
    clock.run_until(1200)
    assert [failure[0] for failure in line.failures] == [40]


def test_the_application_did_not_receive() -> None:
    clock, line, _ = _start(20, 20)
    line.waiting = 17
    clock.run_until(1200)
    assert line.failures[0][3] == (
        "keepalive ping timeout: no answer for 20.0 s; "
        "the application did not receive: 17 messages wait for it, and nothing more was read"
    )


def test_the_loop_stood_still() -> None:
    """What the peer sent may wait in the kernel, so it gets as much time again, once."""
    clock, line, _ = _start(20, 20)
    clock.run_until(1020)
    clock.run_until(1047.5, late=7.5)
    assert line.failures == []
    clock.run_until(1200)
    assert line.failures[0][0] == 55
    assert line.failures[0][3] == (
        "keepalive ping timeout: no answer for 35.0 s; "
        "the event loop stood still for 7.5 s, and nothing came afterwards"
    )


def test_an_answer_after_the_loop_stood_still_is_life() -> None:
    clock, line, _ = _start(20, 20)
    clock.run_until(1020)
    clock.run_until(1047.5, late=7.5)
    line.received += 1
    clock.run_until(1060)
    assert line.failures == []
    assert line.pings[0] == 20


def test_the_loop_cannot_be_the_excuse_for_ever() -> None:
    clock, line, _ = _start(20, 20)
    clock.run_until(1300, late=15)
    assert len(line.failures) == 1


def test_stopped_is_stopped() -> None:
    clock, line, keepalive = _start(20, 20)
    clock.run_until(1025)
    keepalive.stop()
    clock.run_until(1200)
    assert line.pings == [20]
    assert line.failures == []


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]


async def test_a_connection_to_a_silent_peer_fails(side: str, caplog: pytest.LogCaptureFixture) -> None:
    async with asyncio.timeout(10), open_pair(side, ping_interval=0.05, ping_timeout=0.05) as (connection, peer):
        with caplog.at_level(logging.WARNING), pytest.raises(ConnectionClosedError) as raised:
            await connection.recv()
        assert (await peer.read_frame()).opcode == PING
        frame = await peer.read_frame()
        assert (frame.close_code, frame.close_reason) == (1011, "keepalive ping timeout")
        assert str(raised.value) == "sent 1011 (internal error) keepalive ping timeout; no close frame received"
        assert isinstance(raised.value.__cause__, TimeoutError)
        assert "the peer was silent" in str(raised.value.__cause__)
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.getMessage() == str(raised.value.__cause__)
        assert record.websocket == connection  # type: ignore[attr-defined]
        assert connection.close_code == 1006


@pytest.mark.parametrize("answer", ["pong", "wrong pong", "message", "part of a frame"])
async def test_any_byte_is_a_sign_of_life(side: str, answer: str) -> None:
    async with asyncio.timeout(10), open_pair(side, ping_interval=0.05, ping_timeout=0.3) as (connection, peer):
        receiving = asyncio.create_task(_receive_for_ever(connection))
        rest = encode_frame(TEXT, "x" * 100, key=b"1234" if peer.is_client else None)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() - began < 1.0:
            frame = await peer.read_frame()
            assert frame.opcode == PING
            if answer == "pong":
                peer.write_frame(PONG, frame.payload)
            elif answer == "wrong pong":
                peer.write_frame(PONG, b"wrong")
            elif answer == "message":
                peer.write_frame(TEXT, "x")
            else:
                peer.write_bytes(rest[:1])
                rest = rest[1:]
        assert connection.state is State.OPEN
        assert (connection.latency > 0) == (answer == "pong")
        receiving.cancel()
        await asyncio.wait([receiving])


async def test_pings_that_a_peer_never_answers_are_forgotten(side: str) -> None:
    """It sends data, so it lives, maybe for years."""
    async with asyncio.timeout(20), open_pair(side, ping_interval=0.002) as (connection, peer):
        payloads = []
        while len(payloads) < 60:
            payloads.append((await peer.read_frame()).payload)
            peer.write_frame(TEXT, "x")
            await connection.recv()
        for payload, is_known in ((payloads[0], False), (payloads[30], False), (payloads[-1], True)):
            peer.write_frame(PONG, payload)
            peer.write_frame(TEXT, "x")
            await connection.recv()
            assert (connection.latency > 0) == is_known


async def test_forgetting_them_forgets_nobody_who_waits(side: str) -> None:
    async with asyncio.timeout(20), open_pair(side, ping_interval=0.002) as (connection, peer):
        pong = await connection.ping("mine")
        payloads = []
        while len(payloads) < 60:
            payloads.append((await peer.read_frame()).payload)
        assert not pong.done()
        peer.write_frame(PONG, b"mine")
        assert await pong > 0


async def test_an_application_that_does_not_receive_is_told_so(side: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = {"ping_interval": 0.05, "ping_timeout": 0.1, "max_queue": 4}
    async with asyncio.timeout(10), open_pair(side, **settings) as (connection, peer):
        flooding = asyncio.create_task(_flood(peer))
        with caplog.at_level(logging.WARNING):
            await connection.wait_closed()
        flooding.cancel()
        await asyncio.wait([flooding])
        assert "the application did not receive: 5 messages wait for it" in caplog.text
        for _ in range(5):
            await connection.recv()
        with pytest.raises(ConnectionClosedError) as raised:
            await connection.recv()
        assert "the application did not receive" in str(raised.value.__cause__)


async def test_a_loop_that_stood_still_does_not_end_the_connection() -> None:
    """The pongs wait in the kernel while nothing runs."""
    async with asyncio.timeout(10), open_both(ping_interval=0.05, ping_timeout=0.1) as (client, server):
        for _ in range(3):
            await (await client.ping())
            time.sleep(0.4)
        await (await client.ping())
        assert client.state is State.OPEN
        assert server.state is State.OPEN


async def test_none_switches_it_off(side: str) -> None:
    async with asyncio.timeout(10), open_pair(side, ping_interval=None, ping_timeout=0.01) as (connection, peer):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await peer.read_frame()
        assert connection.state is State.OPEN
        assert connection.latency == 0


async def test_no_pings_while_closing(side: str) -> None:
    """Nothing may follow a CLOSE frame (RFC 6455 section 5.5.1), and the deadline of closing does the rest."""
    settings = {"ping_interval": 0.02, "ping_timeout": 0.02, "close_timeout": 0.3}
    async with asyncio.timeout(10), open_pair(side, **settings) as (connection, peer):
        await connection.close()
        with pytest.raises(ConnectionClosedError) as raised:
            await connection.recv()
        assert str(raised.value.__cause__) == "timed out while closing connection"
        assert (await peer.read_frame()).close_code == 1000
        assert await peer.read_to_end() == b""


async def _receive_for_ever(connection: Any) -> None:
    async for _ in connection:
        pass


async def _flood(peer: RawPeer) -> None:
    while True:
        peer.write_frame(TEXT, "x" * 10_000)
        await peer.drain()
        await asyncio.sleep(0)
