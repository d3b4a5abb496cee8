"""recv(), frames(), views(), batches() and recv_streaming() in any order, at any point of any message.

Whatever takes them, messages come once, whole and in order; and what would tear one apart is refused.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from picows import WSFrame, WSMsgType
from picows_aio import ConcurrencyError
from tests.conftest import LOOP_FACTORIES
from tests.picows_aio.feeding import NothingWaitsError, all_waiting, key_of, take_now
from tests.picows_aio.pairs import feed, open_pair, turns
from tests.support import BINARY, CONTINUATION, TEXT, encode_frame

Fragments = list[bytes]
MESSAGES = st.tuples(st.booleans(), st.lists(st.binary(max_size=3) | st.just(b"x" * 5000), min_size=1, max_size=3))
WHOLE = ["recv", "next", "view", "batch", "streaming", "stream"]
LIMITS = st.none() | st.integers(1, 4)


class Arrived:
    """What came and was not taken."""

    def __init__(self) -> None:
        self.messages: list[tuple[bool, Fragments]] = []  # text or not; the last one may lack fragments
        self.lacks: Fragments = []
        self.taken = 0  # bytes of the first one that frames() took
        self.is_half = False  # whether it took any of its frames

    @property
    def whole(self) -> list[tuple[bool, bytes]]:
        """The messages that are complete."""
        complete = self.messages[:-1] if self.lacks else self.messages
        return [(is_text, b"".join(fragments)) for is_text, fragments in complete]


class ReadersOfOneConnection(RuleBasedStateMachine):
    """A peer that sends messages in fragments, and readers of all kinds."""

    loop_factory: Callable[[], asyncio.AbstractEventLoop]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=self.loop_factory)
        self.stack = AsyncExitStack()
        self.arrived = Arrived()

    @initialize(side=st.sampled_from(["client", "server"]), max_queue=st.sampled_from([0, 1, 3, None]))
    def connect(self, side: str, max_queue: int | None) -> None:
        opening = self.stack.enter_async_context(open_pair(side, max_queue=max_queue, ping_interval=None))
        self.connection, _ = self.runner.run(opening)
        self.runner.run(turns(2))

    # What the peer does

    @rule(messages=st.lists(MESSAGES, max_size=4), left=st.integers(0, 2))
    def send(self, messages: list[tuple[bool, Fragments]], left: int) -> None:
        """Messages in one read; of the last one some fragments may be left for later."""
        frames = self._rest_of_the_last()
        for is_text, fragments in messages:
            sent = [b"t" * len(fragment) if is_text else fragment for fragment in fragments]
            frames += self._frames(TEXT if is_text else BINARY, sent)
            self.arrived.messages.append((is_text, sent))
        left = min(left, len(self.arrived.messages[-1][1]) - 1) if messages else 0
        if left:
            fragments = self.arrived.messages[-1][1]
            self.arrived.lacks = fragments[-left:]
            del fragments[-left:], frames[-left:]
        feed(self.connection, b"".join(frames))
        self.runner.run(turns(2))

    @precondition(lambda self: self.arrived.lacks)
    @rule()
    def complete(self) -> None:
        feed(self.connection, b"".join(self._rest_of_the_last()))

    def _rest_of_the_last(self) -> list[bytes]:
        lacks, self.arrived.lacks = self.arrived.lacks, []
        if lacks:
            self.arrived.messages[-1][1].extend(lacks)
        return self._frames(CONTINUATION, lacks)

    def _frames(self, opcode: int, fragments: Fragments) -> list[bytes]:
        last = len(fragments) - 1
        return [
            encode_frame(CONTINUATION if i else opcode, fragment, fin=i == last, key=key_of(self.connection))
            for i, fragment in enumerate(fragments)
        ]

    # What readers do

    @rule(way=st.sampled_from(WHOLE), limit=LIMITS, waits=st.booleans(), gives_up=st.booleans())
    def take(self, way: str, limit: int | None, waits: bool, gives_up: bool) -> None:
        """A whole message, or more of them."""
        if self.arrived.is_half:
            with pytest.raises(ConcurrencyError, match="part of a message"):
                take_now(self._reading("recv" if way in ("streaming", "stream") else way, limit))
            return
        if way == "streaming":
            self._take_streaming()
        elif way == "stream":
            self._take_all_by_a_stream()
        elif self.arrived.whole:
            self._took(way, limit, take_now(self._reading(way, limit)))
        elif not waits:
            with pytest.raises(NothingWaitsError):
                take_now(self._reading(way, limit))
        else:
            self._wait(way, limit, gives_up)

    @rule(count=st.integers(1, 4))
    def take_frames(self, count: int) -> None:
        for _ in range(count):
            try:
                frame = take_now(anext(self.connection.frames()))
            except NothingWaitsError:
                lacks_a_beginning = not self.arrived.messages or self.arrived.is_half
                assert not self.arrived.whole
                assert lacks_a_beginning
                return
            self._took_frame(frame)

    @rule(limit=LIMITS)
    def frames_wait(self, limit: int | None) -> None:
        """A reader of frames is there when they come."""
        self.take_frames(100)
        reading = anext(self.connection.frames())
        reading.send(None)
        self.send([(True, [b"a", b"b"])] * (limit or 1), 0)
        with pytest.raises(StopIteration) as stop:
            reading.send(None)
        self._took_frame(stop.value.value)

    def _reading(self, way: str, limit: int | None) -> Coroutine[Any, Any, Any]:
        connection = self.connection
        if way == "batch":
            return anext(connection.batches(max_messages=limit))
        return {"recv": connection.recv, "next": connection.__anext__, "view": connection.views().__anext__}[way]()

    def _wait(self, way: str, limit: int | None, gives_up: bool) -> None:
        reading = self._reading(way, limit)
        reading.send(None)
        self.send([(True, [b"abc"]), (False, [b"d", b"", b"f"]), (True, [b"x" * 5000])], 0)
        if gives_up:
            reading.close()
            return
        with pytest.raises(StopIteration) as stop:
            reading.send(None)
        self._took(way, limit, stop.value.value)

    def _took(self, way: str, limit: int | None, taken: Any) -> None:
        whole = self.arrived.whole
        if way == "batch":
            expected = whole if limit is None else whole[:limit]
            assert [_as_sent(message) for message in taken] == expected
        elif way == "view":
            expected = whole[:1]
            assert taken.readonly
            assert bytes(taken) == expected[0][1]
        else:
            expected = whole[:1]
            assert _as_sent(taken) == expected[0]
        del self.arrived.messages[: len(expected)]

    def _took_frame(self, frame: WSFrame) -> None:
        is_text, fragments = self.arrived.messages[0]
        payload = bytes(frame)
        assert b"".join(fragments)[self.arrived.taken :].startswith(payload)
        opcode = WSMsgType.TEXT if is_text else WSMsgType.BINARY
        assert frame.msg_type == (WSMsgType.CONTINUATION if self.arrived.is_half else opcode)
        self.arrived.taken += len(payload)
        self.arrived.is_half = not frame.fin
        if frame.fin:
            assert self.arrived.taken == sum(map(len, fragments))
            self.arrived.taken = 0
            del self.arrived.messages[0]

    def _take_streaming(self) -> None:
        async def parts() -> list[Any]:
            return [part async for part in self.connection.recv_streaming()]

        if self.arrived.whole:
            taken = self.runner.run(parts())
            assert _as_sent(taken[0][:0].join(taken)) == self.arrived.whole[0]
            del self.arrived.messages[0]

    def _take_all_by_a_stream(self) -> None:
        with pytest.warns(ResourceWarning, match="unclosed"):
            taken = all_waiting(self.connection.stream(replay=True, maxsize=1000))
        whole = self.arrived.whole
        self.runner.run(turns(2))
        assert [_as_sent(message) for message in taken] == whole
        del self.arrived.messages[: len(whole)]

    def teardown(self) -> None:
        with self.runner:
            try:
                if hasattr(self, "connection"):
                    self.take_frames(10_000)
            finally:
                self.runner.run(self.stack.aclose())


def _as_sent(message: str | bytes) -> tuple[bool, bytes]:
    return (True, message.encode()) if isinstance(message, str) else (False, message)


@pytest.mark.parametrize("loop", LOOP_FACTORIES)
def test_messages_come_once_and_whole_and_in_order_whoever_takes_them(loop: str) -> None:
    machine = type(loop, (ReadersOfOneConnection,), {"loop_factory": staticmethod(LOOP_FACTORIES[loop])})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine, settings=settings(max_examples=100, stateful_step_count=30, suppress_health_check=list(HealthCheck))
    )
