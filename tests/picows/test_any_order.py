"""Whatever a listener and its peer do, in whatever order: frames arrive once, and the connection ends once."""

import asyncio
import contextlib
import random
from collections.abc import Callable

import pytest

from picows import WSFrame, WSMsgType, WSTransport
from tests.support import BINARY, CONTINUATION, PING, PONG, TEXT, Frame, close_payload, encode_frame
from tests.support.recorder import Recorder
from tests.support.session import OpenSession

pytestmark = pytest.mark.links("plain", "tls")

SEEDS = range(25)
DATA = (TEXT, BINARY, CONTINUATION)


class Erratic(Recorder):
    """Does one of many things, chosen at random, in each of its callbacks."""

    def __init__(self, chooser: random.Random) -> None:
        super().__init__()
        self.chooser = chooser
        self.ends = chooser.random() < 0.4

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        self.act(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        self.act(transport)

    def on_read_end(self, transport: WSTransport) -> None:
        self.act(transport)

    def pause_writing(self) -> None:
        self.act(self.transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        super().on_ws_disconnected(transport)
        self.act(transport)

    def act(self, transport: WSTransport) -> None:
        """Do something to the connection."""
        harmless: list[Callable[[], None]] = [
            lambda: None,
            lambda: transport.send(WSMsgType.TEXT, "small"),
            lambda: transport.send(WSMsgType.BINARY, bytes(self.chooser.choice([5000, 40_000, 1_000_000]))),
            lambda: send_corked(transport),
            lambda: pause_for_a_turn(transport),
            transport.send_ping,
            transport.resume_reading,
            transport.flush,
        ]
        final: list[Callable[[], None]] = [
            transport.send_close,
            transport.disconnect,
            lambda: transport.disconnect(graceful=False),
            fail,
        ]
        actions = harmless * 3 + final if self.ends else harmless
        self.chooser.choice(actions)()


def send_corked(transport: WSTransport) -> None:
    with transport.cork():
        for number in range(3):
            transport.send_message(str(number))


def pause_for_a_turn(transport: WSTransport) -> None:
    transport.pause_reading()
    asyncio.get_running_loop().call_soon(transport.resume_reading)


def fail() -> None:
    raise LookupError("on purpose")


def random_frame(chooser: random.Random) -> Frame:
    """A data frame, or sometimes a ping or a pong."""
    if chooser.random() < 0.2:
        return Frame(chooser.choice([PING, PONG]), chooser.randbytes(chooser.randrange(126)))
    size = chooser.choice([0, 3, 125, 126, 500, 5000, 20_000, 66_000])
    return Frame(chooser.choice(DATA), chooser.randbytes(size), fin=chooser.random() < 0.7)


def loses_what_is_paused(transport: WSTransport) -> bool:
    """uvloop (0.22) drops what its TLS transport holds when the peer ends the connection during a pause."""
    return transport.is_secure and "uvloop" in type(asyncio.get_running_loop()).__module__


@pytest.mark.parametrize("seed", SEEDS)
async def test_frames_arrive_once_and_the_connection_ends_once(open_session: OpenSession, side: str, seed: int, caplog):
    chooser = random.Random(seed)
    options = {
        "coalesce": chooser.random() < 0.3,
        "busy_poll": chooser.choice([0, 0, 20]),
        "disconnect_on_exception": chooser.random() < 0.5,
        "enable_auto_close": chooser.random() < 0.8,
    }
    sent = [random_frame(chooser) for _ in range(chooser.randrange(30))]
    key = chooser.randbytes(4) if side == "server" else None
    stream = b"".join(encode_frame(frame.opcode, frame.payload, fin=frame.fin, key=key) for frame in sent)
    stream += chooser.choice([b"", encode_frame(8, close_payload(1000), key=key), encode_frame(3, b"wrong", key=key)])
    way = chooser.choice(["close", "half_close", "reset", "half_close"])
    async with asyncio.timeout(15), open_session(lambda: Erratic(chooser), **options) as session:
        with caplog.at_level("CRITICAL", "picows"):
            reading = asyncio.ensure_future(session.peer.read_to_end())
            begin = 0
            while begin < len(stream):
                end = begin + chooser.choice([1, 50, 1000, 100_000])
                session.peer.write_bytes(stream[begin:end])
                begin = end
                await asyncio.sleep(0)
            if way != "half_close":
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
            getattr(session.peer, way)()
            with contextlib.suppress(Exception):
                await session.transport.wait_disconnected()
            if way == "half_close":
                await reading
        data = [frame for frame in sent if frame.opcode in DATA]
        received = [frame for frame in session.listener.frames if frame.opcode in DATA]
        assert received == data[: len(received)]
        calls = session.listener.calls
        assert calls == ["on_ws_connected", *["on_ws_frame"] * len(session.listener.frames), "on_ws_disconnected"]
        if way == "half_close" and not session.listener.ends and not loses_what_is_paused(session.transport):
            assert received == data
