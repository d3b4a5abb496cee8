"""KeyboardInterrupt and SystemExit in a callback leave the event loop; everything else stays inside."""

import asyncio

import pytest

from picows import WSMsgType
from picows import ws_connect as connect_to
from picows import ws_create_server as create_server
from tests.conftest import LOOP_FACTORIES
from tests.support.recorder import Accepted, Recorder
from tests.support.tls import shared_tls_contexts

CALLBACKS = [
    "on_ws_connected",
    "on_ws_frame",
    "on_read_end",
    "on_ws_disconnected",
    "is_user_specific_pong",
    "send_user_specific_ping",
    "pause_writing",
    "resume_writing",
]


class Interrupting(Recorder):
    """Raises in the callback with this name, once."""

    def __init__(self, name, exception):
        super().__init__()
        self.name = name
        self.exception = exception

    def _maybe(self, name):
        if name == self.name:
            self.name = ""
            raise self.exception

    def on_ws_connected(self, transport):
        super().on_ws_connected(transport)
        self._maybe("on_ws_connected")

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        self._maybe("on_ws_frame")

    def on_read_end(self, transport):
        self._maybe("on_read_end")

    def on_ws_disconnected(self, transport):
        super().on_ws_disconnected(transport)
        self._maybe("on_ws_disconnected")

    def is_user_specific_pong(self, frame):
        self._maybe("is_user_specific_pong")
        return super().is_user_specific_pong(frame)

    def send_user_specific_ping(self, transport):
        self._maybe("send_user_specific_ping")
        super().send_user_specific_ping(transport)

    def pause_writing(self):
        self._maybe("pause_writing")

    def resume_writing(self):
        self._maybe("resume_writing")


class Scene:
    """A client, a server, and on one of the two sides a listener that interrupts."""

    def __init__(self, side, tls, interrupting):
        self.interrupting = interrupting
        self.other = Recorder()
        self.listeners = {"client": self.other, "server": self.other} | {side: interrupting}
        contexts = shared_tls_contexts() if tls else None
        self.server_options = {"ssl": contexts.server} if tls else {}
        self.client_options = {"ssl_context": contexts.client} if tls else {}
        self.scheme = "wss" if tls else "ws"

    async def open(self):
        """Connect, and do what makes each callback run."""
        accepted = Accepted(lambda: self.listeners["server"])
        self.server = await create_server(accepted, "127.0.0.1", 0, **self.server_options)
        url = f"{self.scheme}://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/"
        await connect_to(lambda: self.listeners["client"], url, **self.client_options)
        for listener in self.listeners.values():
            await listener.connected.wait()
        self.ours = self.interrupting.transport
        self.peer = self.other.transport

    async def act(self):
        """What makes each callback run."""
        await self.open()
        self.peer.send(WSMsgType.TEXT, "x")
        await self.interrupting.next_frame()
        await self.ours.measure_roundtrip_time(1)
        self.peer.pause_reading()
        self.ours.set_write_buffer_limits(high=0)
        while self.ours.get_write_buffer_size() == 0:
            self.ours.send(WSMsgType.BINARY, bytes(1 << 20))
        self.peer.resume_reading()
        while self.ours.get_write_buffer_size() > 0:
            await asyncio.sleep(0)
        self.peer.disconnect()
        await self.interrupting.disconnected.wait()
        await asyncio.sleep(0)

    async def close(self):
        """In a second run of the loop, as asyncio.run() does to end what is left."""
        for listener in self.listeners.values():
            if listener.connected.is_set():
                listener.transport.disconnect(graceful=False)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            await asyncio.wait([task])
        self.server.close()
        for _ in range(10):
            await asyncio.sleep(0)  # closed sockets go in the next turns of the loop


def outcome_of(loop, coroutine):
    """The exception that ended the loop's run, not too late."""

    async def run():
        async with asyncio.timeout(3):
            await coroutine

    try:
        loop.run_until_complete(run())
    except BaseException as exc:
        return exc
    return None


@pytest.mark.parametrize("loop_name", LOOP_FACTORIES)
@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_it_leaves_run_forever(loop_name, side, tls, name, exception):
    """DESIGN: they must leave `run_forever`; uvloop's own transport swallows them."""
    loop = LOOP_FACTORIES[loop_name]()
    errors = []
    loop.set_exception_handler(lambda loop, context: errors.append(context))
    scene = Scene(side, tls, Interrupting(name, exception("interrupted")))
    try:
        left_with = outcome_of(loop, scene.act())
        loop.run_until_complete(scene.close())
    finally:
        loop.close()
    assert repr(left_with) == repr(exception("interrupted")), errors
    assert scene.interrupting.calls.count("on_ws_connected") == 1
    assert scene.interrupting.calls.count("on_ws_disconnected") <= 1


@pytest.mark.parametrize("loop_name", LOOP_FACTORIES)
def test_an_ordinary_exception_stays_inside(loop_name):
    loop = LOOP_FACTORIES[loop_name]()
    errors = []
    loop.set_exception_handler(lambda loop, context: errors.append(context))

    async def main():
        scene = Scene("client", False, Interrupting("on_ws_frame", ZeroDivisionError("inside")))
        await scene.open()
        scene.peer.send(WSMsgType.TEXT, "x")
        with pytest.raises(ZeroDivisionError):
            await scene.ours.wait_disconnected()
        await scene.close()

    try:
        loop.run_until_complete(main())
        assert errors == []
    finally:
        loop.close()


class KeepingInterrupting(Recorder):
    """Keeps an early frame and the one in whose callback it raises, in the middle of a read."""

    def __init__(self, exception):
        super().__init__()
        self.exception = exception
        self.kept = []

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        if len(self.frames) in (2, 5):
            self.kept.append((frame, frame.get_payload_as_bytes()))
        if len(self.frames) == 5:
            raise self.exception


@pytest.mark.parametrize("loop_name", LOOP_FACTORIES)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_what_was_read_is_delivered_by_the_next_run(loop_name, tls, exception):
    """It is longer than a read of a connection of which frames are kept, and what was kept stays as it was."""
    loop = LOOP_FACTORIES[loop_name]()
    interrupting = KeepingInterrupting(exception("interrupted"))
    scene = Scene("client", tls, interrupting)
    payloads = [b"%05d" % number * 205 for number in range(2000)]

    async def send_all():
        await scene.open()
        for payload in payloads:
            scene.peer.send(WSMsgType.BINARY, payload)
        await interrupting.disconnected.wait()

    async def receive_all():
        async with asyncio.timeout(10):
            while len(interrupting.frames) < len(payloads):
                await asyncio.sleep(0)

    try:
        assert type(outcome_of(loop, send_all())) is exception
        loop.run_until_complete(receive_all())
        loop.run_until_complete(scene.close())
    finally:
        loop.close()
    assert [frame.payload for frame in interrupting.frames] == payloads
    assert len(interrupting.kept) == 2
    assert all(frame.get_payload_as_bytes() == payload for frame, payload in interrupting.kept)
