"""One event loop per thread: connections of different threads share no byte, whenever the interpreter switches."""

import asyncio
import contextlib
import sys
import threading

import pytest

from picows import WSMsgType, WSProtocolError, ws_connect, ws_create_server
from tests.conftest import LOOP_FACTORIES
from tests.support import BINARY
from tests.support.recorder import Accepted, Recorder

THREADS = 4
FRAMES = 400
SIZES = [1, 100, 1000, 5000, 20_000, 70_000]


@pytest.fixture(autouse=True)
def eager_switching():
    """Let the interpreter change threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class _Checking(Recorder):
    """Expects every frame to be made of one octet, its sender's; echoes it."""

    def __init__(self, octet, echoes):
        super().__init__()
        self.octet = octet
        self.echoes = echoes
        self.count = 0
        self.done = asyncio.Event()
        self.wrong = []

    def on_ws_frame(self, transport, frame):
        payload = frame.get_payload_as_bytes()
        if frame.msg_type != BINARY or payload != self.octet * len(payload):
            self.wrong.append(payload)
        if self.echoes:
            transport.send(WSMsgType.BINARY, frame)
        self.count += 1
        if self.count == FRAMES:
            self.done.set()


async def converse(octet, *, shared, coalesce):
    """A client and a server of this thread; returns what they got and should not have."""
    accepted = Accepted(lambda: _Checking(octet, echoes=True))
    server = await ws_create_server(accepted, "127.0.0.1", 0, coalesce=coalesce)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    transport, listener = await ws_connect(lambda: _Checking(octet, echoes=False), url, coalesce=coalesce)
    other = await accepted.next()
    await other.connected.wait()
    if shared:
        # From now on each write asks the transport first, which runs Python code.
        assert transport.underlying_transport is not other.transport.underlying_transport
    done = asyncio.ensure_future(listener.done.wait())
    ended = asyncio.ensure_future(other.disconnected.wait())
    async with asyncio.timeout(20):
        for number in range(FRAMES):
            size = SIZES[number % len(SIZES)]
            transport.send(WSMsgType.BINARY, bytearray(octet * size))
            if number % 7 == 0:
                await asyncio.sleep(0)
        await asyncio.wait([ended, done], return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        done.cancel()
    transport.disconnect(graceful=False)
    with contextlib.suppress(WSProtocolError):
        await transport.wait_disconnected()
    await other.disconnected.wait()
    server.close()
    return listener.wrong + other.wrong, listener.count


@pytest.mark.parametrize("loop_name", LOOP_FACTORIES)
@pytest.mark.parametrize("shared", [False, True], ids=["", "shared transport"])
@pytest.mark.parametrize("coalesce", [False, True], ids=["", "coalesce"])
def test_threads_do_not_get_into_each_other_s_frames(loop_name, shared, coalesce):
    results = {}

    def run(octet):
        loop = LOOP_FACTORIES[loop_name]()
        with contextlib.closing(loop):
            try:
                results[octet] = loop.run_until_complete(converse(octet, shared=shared, coalesce=coalesce))
            except BaseException as exc:
                results[octet] = exc

    octets = [bytes([number]) for number in range(1, THREADS + 1)]
    threads = [threading.Thread(target=run, args=(octet,)) for octet in octets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {octet: ([], FRAMES) for octet in octets}
