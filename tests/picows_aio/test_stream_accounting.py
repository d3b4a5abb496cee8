"""Every message of every stream is accounted for, at every moment, in messages and in bytes.

A state machine feeds a real connection, opens and closes streams with all policies, and takes from them; beside each
stream runs a model of its policy, a few lines of plain lists.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from picows_aio import ConcurrencyError
from picows_aio.stream_queue import StreamStats
from picows_aio.streaming import Stream
from tests.conftest import LOOP_FACTORIES
from tests.picows_aio.feeding import NothingWaitsError, take_now, wire
from tests.picows_aio.pairs import feed, open_pair, turns

Message = str | bytes
OBJECT_OVERHEAD = 64
POLICIES = ["block", "drop_oldest", "drop_newest", "latest", "latest", "close"]


def size_of(message: Message) -> int:
    return len(message.encode() if isinstance(message, str) else message)


@dataclass
class Model:
    """What a stream has to do, without a thought for speed."""

    policy: str
    maxsize: int
    max_bytes: int
    key: Callable[[Message], Any] | None
    filter: Callable[[Message], Any] | None
    waiting: list[tuple[Any, Message]] = field(default_factory=list)
    is_shut: bool = False
    is_ending: bool = False  # the connection is being closed: "block" bounds bytes alone, with those of the objects
    high_water: int = 0
    received: list[Message] = field(default_factory=list)
    delivered: list[Message] = field(default_factory=list)
    dropped: list[Message] = field(default_factory=list)
    filtered: list[Message] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return sum(size_of(message) for _, message in self.waiting)

    @property
    def cost(self) -> int:
        """Bytes that count for "block"."""
        return self.size + (OBJECT_OVERHEAD * len(self.waiting) if self.is_ending else 0)

    @property
    def is_blocked(self) -> bool:
        """Whether the connection must not read on."""
        is_full = self.cost >= self.max_bytes or (len(self.waiting) >= self.maxsize and not self.is_ending)
        return self.policy == "block" and bool(self.waiting) and is_full

    @property
    def is_crowded(self) -> bool:
        """Whether a connection that stopped must not read on yet."""
        is_many = len(self.waiting) > self.maxsize // 4 and not self.is_ending
        is_crowded = self.cost > self.max_bytes // 4 or is_many
        return self.policy == "block" and is_crowded

    def has_room(self, message: Message) -> bool:
        """Whether the message may wait too."""
        fits = len(self.waiting) < self.maxsize and self.size + size_of(message) <= self.max_bytes
        return not self.waiting or fits

    def offer(self, message: Message) -> None:
        """A message came."""
        if self.is_shut:
            return
        self.received.append(message)
        if self.filter is not None and not self.filter(message):
            self.filtered.append(message)
        elif self.policy == "latest":
            self._offer_latest(self.key(message) if self.key else None, message)
        elif self.policy in ("drop_newest", "close") and not self.has_room(message):
            self.dropped.append(message)
            self.is_shut = self.policy == "close"
        else:
            if self.policy == "drop_oldest":
                self._make_room(message)
            self._put(None, message)

    def _offer_latest(self, key: Any, message: Message) -> None:
        keys = [key for key, _ in self.waiting]
        if key not in keys:
            self._make_room(message)
            self._put(key, message)
            return
        place = keys.index(key)
        self.dropped.append(self.waiting[place][1])
        newest = self.waiting[place] = (keys[place], message)
        while len(self.waiting) > 1 and self.size > self.max_bytes:
            oldest = self.waiting.pop(0)
            if oldest is newest:
                self.waiting.append(newest)
            else:
                self.dropped.append(oldest[1])

    def _make_room(self, message: Message) -> None:
        while not self.has_room(message):
            self.dropped.append(self.waiting.pop(0)[1])

    def _put(self, key: Any, message: Message) -> None:
        self.waiting.append((key, message))
        self.high_water = max(self.high_water, len(self.waiting))

    def take(self) -> Message:
        """The message that has to be delivered next."""
        self.delivered.append(self.waiting.pop(0)[1])
        return self.delivered[-1]

    def close(self) -> None:
        """Nothing comes any more, and what waits is dropped."""
        self.is_shut = True
        self.dropped += [message for _, message in self.waiting]
        self.waiting = []


@dataclass(eq=False)
class Open:
    """A stream, its model, and who waits in it."""

    stream: Stream
    model: Model
    parked: Coroutine[Any, Any, Any] | None = None

    def check(self) -> None:
        """Every figure is that of the model, and all add up."""
        stats, model = self.stream.stats(), self.model
        waiting = [message for _, message in model.waiting]
        for name, messages in (
            ("received", model.received),
            ("delivered", model.delivered),
            ("dropped", model.dropped),
            ("filtered", model.filtered),
            ("depth", waiting),
        ):
            assert getattr(stats, name) == len(messages), name
            assert getattr(stats, f"{name}_bytes") == sum(map(size_of, messages)), name
        assert stats.high_water == model.high_water
        assert (stats.oldest_age is None) == (not waiting)
        assert len(self.stream) == len(waiting)
        adds_up(stats)


def adds_up(stats: StreamStats) -> bool:
    """Whether nothing is missing; as a filter it says so in the middle of a read too."""
    assert stats.received == stats.delivered + stats.dropped + stats.filtered + stats.depth
    assert stats.received_bytes == (
        stats.delivered_bytes + stats.dropped_bytes + stats.filtered_bytes + stats.depth_bytes
    )
    return True


MESSAGES = st.lists(st.text("ab\u20ac", max_size=7) | st.binary(max_size=7), max_size=8)
KEYS = st.sampled_from([None, type, lambda message: message[:1], lambda message: len(message) / 2 > 1])
FILTERS = st.sampled_from([None, len, lambda message: isinstance(message, str), lambda message: len(message) % 3])


class StreamsOfOneConnection(RuleBasedStateMachine):
    """What may happen to a connection with streams, in any order."""

    loop_factory: Callable[[], asyncio.AbstractEventLoop]
    streams = Bundle("streams")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=self.loop_factory)
        self.stack = AsyncExitStack()
        self.open: list[Open] = []
        self.held_back: list[Message] = []  # by a stream that blocks
        self.for_recv: list[Message] = []
        self.is_paused = False
        self.is_ending = False  # a stream with "close" had no room

    @initialize(side=st.sampled_from(["client", "server"]))
    def connect(self, side: str) -> None:
        opening = self.stack.enter_async_context(open_pair(side, max_queue=None, ping_interval=None))
        self.connection, _ = self.runner.run(opening)

    @rule(
        target=streams,
        policy=st.sampled_from(POLICIES),
        maxsize=st.integers(1, 8),
        max_bytes=st.integers(1, 16),
        key=KEYS,
        filter=FILTERS,
        replay=st.booleans(),
    )
    def open_stream(self, policy: str, maxsize: int, max_bytes: int, key: Any, filter: Any, replay: bool) -> Open:
        key = key if policy == "latest" else None
        model = Model(policy, maxsize, max_bytes, key, filter, is_ending=self.is_ending)
        opened: list[Open] = []

        def asked(message: Message) -> object:
            for other in self.connection.stream_stats():
                adds_up(other)
            return filter is None or filter(message)

        stream = self.connection.stream(
            maxsize=maxsize, max_bytes=max_bytes, overflow=policy, key=key, filter=asked, replay=replay
        )
        opened.append(Open(stream, model))
        while replay and self.for_recv and not model.is_shut:
            model.offer(self.for_recv.pop(0))
        self.open += opened
        self.note_ending()
        self.settle()
        return opened[0]

    @rule(messages=MESSAGES, parts=st.integers(1, 3))
    def feed(self, messages: list[Message], parts: int) -> None:
        feed(self.connection, wire(self.connection, *messages, parts=parts))
        self.held_back += messages
        self.settle()

    @rule(opened=streams, count=st.integers(1, 5))
    def take(self, opened: Open, count: int) -> None:
        if opened not in self.open or opened.parked is not None:
            return
        for _ in range(count):
            if not opened.model.waiting:
                with pytest.raises(NothingWaitsError):
                    take_now(opened.stream.recv())
                return
            assert take_now(anext(opened.stream)) == opened.model.take()
            self.settle()

    @rule(opened=streams)
    def park(self, opened: Open) -> None:
        """A consumer that waits takes when it is stepped, not when the message comes."""
        if opened in self.open and opened.parked is None and not opened.model.waiting:
            opened.parked = opened.stream.recv()
            opened.parked.send(None)
            with pytest.raises(ConcurrencyError, match="has a consumer already"):
                opened.stream.recv().send(None)

    @rule(opened=streams, is_cancelled=st.booleans())
    def step(self, opened: Open, is_cancelled: bool) -> None:
        if opened.parked is None:
            return
        parked, opened.parked = opened.parked, None
        if is_cancelled or not opened.model.waiting:
            parked.close()
            return
        with pytest.raises(StopIteration) as stop:
            parked.send(None)
        assert stop.value.value == opened.model.take()
        self.settle()

    @rule(opened=streams)
    def close(self, opened: Open) -> None:
        if opened.parked is not None:
            opened.parked.close()
            opened.parked = None
        self.runner.run(opened.stream.aclose())
        opened.model.close()
        if opened in self.open:
            self.open.remove(opened)
        self.settle()
        opened.check()

    @precondition(lambda self: not self.open)
    @rule()
    def receive_without_streams(self) -> None:
        while self.for_recv:
            assert take_now(self.connection.recv()) == self.for_recv.pop(0)
        with pytest.raises(NothingWaitsError):
            take_now(self.connection.recv())

    @precondition(lambda self: self.open)
    @rule()
    def receive_beside_streams(self) -> None:
        with pytest.raises(ConcurrencyError, match=self.open[0].stream.name):
            take_now(self.connection.recv())

    def note_ending(self) -> None:
        """A stream with "close" that had no room closes the connection, for all."""
        self.is_ending |= any(opened.model.policy == "close" and opened.model.is_shut for opened in self.open)
        for opened in self.open:
            opened.model.is_ending = self.is_ending

    def settle(self) -> None:
        """Let the connection deliver what is held back, in the model and in fact."""
        blocking = [opened.model for opened in self.open]
        while True:
            crowded = [model for model in blocking if (model.is_crowded if self.is_paused else model.is_blocked)]
            self.is_paused = bool(crowded)
            if self.is_paused or not self.held_back:
                break
            message = self.held_back.pop(0)
            for model in blocking:
                model.offer(message)
            self.note_ending()
            if not blocking:
                self.for_recv.append(message)
        self.runner.run(turns(2))

    @invariant()
    def every_message_is_accounted_for(self) -> None:
        for opened in self.open:
            opened.check()

    @invariant()
    def the_connection_stands_still_when_a_stream_blocks(self) -> None:
        if hasattr(self, "connection"):
            assert self.connection.is_reading_paused() == self.is_paused
            waiting = len(self.for_recv) + sum(len(opened.model.waiting) for opened in self.open)
            assert self.connection.messages_waiting() == waiting

    def teardown(self) -> None:
        with self.runner:
            try:
                for opened in [*self.open]:
                    self.close(opened)
            finally:
                self.runner.run(self.stack.aclose())


@pytest.mark.parametrize("loop", LOOP_FACTORIES)
def test_received_is_delivered_and_dropped_and_filtered_and_waiting(loop: str) -> None:
    machine = type(loop, (StreamsOfOneConnection,), {"loop_factory": staticmethod(LOOP_FACTORIES[loop])})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine, settings=settings(max_examples=100, stateful_step_count=40, suppress_health_check=list(HealthCheck))
    )
