# cython: auto_pickle=False, autotestdict=False
"""The queue behind a stream: bounded, with a policy for when it is full, and every message accounted for."""

import sys
from asyncio import CancelledError
from dataclasses import dataclass
from time import monotonic_ns

cimport cython
from libc.stdint cimport int64_t, uint64_t
from picows_aio.messages cimport OBJECT_OVERHEAD, MessageQueue
from picows_aio.waiter cimport Waiter

from picows_aio.arguments import check_plain_function

_POLICIES = {
    "block": BLOCK, "drop_oldest": DROP_OLDEST, "drop_newest": DROP_NEWEST, "latest": LATEST, "close": CLOSE,
}
_POLICY_NAMES = {number: name for name, number in _POLICIES.items()}


@dataclass(frozen=True, slots=True)
class StreamStats:
    """Totals of one stream since it was opened.

    ``received == delivered + dropped + filtered + depth`` at every moment, and the same for the bytes.

    Attributes:
        name: Name of the stream.
        overflow: Its policy.
        received: Messages that the connection brought since.
        delivered: Messages that the consumer took.
        dropped: Messages that the policy dropped or replaced, and those that waited when the stream was closed.
        filtered: Messages that the filter refused.
        depth: Messages that wait now.
        high_water: Most messages that ever waited.
        received_bytes: Bytes of the payloads, for text in UTF-8; likewise below.
        delivered_bytes: Bytes taken.
        dropped_bytes: Bytes dropped.
        filtered_bytes: Bytes refused.
        depth_bytes: Bytes that wait now.
        oldest_age: Seconds since the oldest message that waits came into the stream; None when none waits.
    """

    name: str
    overflow: str
    received: int
    delivered: int
    dropped: int
    filtered: int
    depth: int
    high_water: int
    received_bytes: int
    delivered_bytes: int
    dropped_bytes: int
    filtered_bytes: int
    depth_bytes: int
    oldest_age: float | None


@cython.final
cdef class StreamQueue:
    """The bounded queue behind one stream."""

    def __cinit__(self, *args, **kwargs):
        self.messages = MessageQueue()

    def __init__(self, name, overflow, maxsize, max_bytes, key, filter):
        self.name = name
        self._overflow = _POLICIES[overflow]
        self._maxsize = maxsize
        self._max_bytes = max_bytes
        self._key = key
        self._filter = filter
        if self._overflow == LATEST:
            self._positions = {}

    cdef int offer(self, object message, size_t size, int64_t now, bint discards) except -1:
        """A message arrived. What `filter` or `key` raise ends this queue, not the connection."""
        cdef bint is_wanted = True
        if self.is_shut:
            return 0
        key = position = failure = None
        try:
            if self._filter is not None:
                is_wanted = bool(self._filter(message))
            if self._positions is not None and is_wanted:
                if self._key is not None:
                    key = self._key(message)
                position = self._positions.get(key)   # fails for what cannot be a key
        except Exception as exc:   # the user's code
            failure = exc
        except CancelledError as exc:   # raised, it would pass for the cancellation of a task
            failure = RuntimeError(f"the key or filter of stream {self.name!r} raised CancelledError")
            failure.__cause__ = exc
        self.received += 1
        self.received_bytes += size
        self.messages.stamp = now
        if failure is not None:
            self._drop(size)
            return self.shut(failure)
        if self.is_shut:   # closed by the user's code
            return self._drop(size)
        if not is_wanted:
            self.filtered += 1
            self.filtered_bytes += size
            return 0
        if self._overflow == LATEST:
            return self._offer_latest(message, size, key, position)
        if self._overflow == BLOCK:
            if discards and (self.lost > 0 or self.is_blocked()):   # no message is missing in the middle
                self.lost += 1
                return self._drop(size)
        elif not self._has_room(size):
            if self._overflow == DROP_NEWEST:
                return self._drop(size)
            if self._overflow == CLOSE:
                self._drop(size)
                self.is_shut = self.is_overflowing = True
                return 0
            while not self._has_room(size):
                self._drop_oldest()
        return self.accept(message, size)

    cdef int accept(self, object message, size_t size) except -1:
        self.messages.push(message, size)
        if self.messages.count > self.high_water:
            self.high_water = self.messages.count
        return 0

    cdef int _offer_latest(self, object message, size_t size, object key, object position) except -1:
        """The newest message of each key, in the order in which the keys that wait came first; `position` is where an
        older one of the key waits, or None.
        """
        if position is not None:
            self._drop(self.messages.replace(position, message, size))
            while self.messages.count > 1 and self.messages.size > self._max_bytes:
                # A larger message took the place of a smaller one: the oldest goes, but not the newest.
                if self.messages.first == <uint64_t> position:
                    position = self._move_to_end()
                else:
                    self._drop_oldest()
            return 0
        while not self._has_room(size):
            self._drop_oldest()
        self.messages.push_keyed(message, size, key)
        self._positions[key] = self.messages.first + self.messages.count - 1
        if self.messages.count > self.high_water:
            self.high_water = self.messages.count
        return 0

    def _move_to_end(self):
        """The key that came first has the newest message: it waits as if it had come only now.

        Returns:
            The position of the message.
        """
        key = self.messages.oldest_key()
        size = self.messages.oldest_size()
        message = self.messages.pop()
        self.messages.push_keyed(message, size, key)
        self._positions[key] = position = self.messages.first + self.messages.count - 1
        return position

    cdef bint _has_room(self, size_t size):
        """One message always fits: what is larger than all the room is bounded by the connection's `max_size`."""
        return self.messages.count == 0 or (
            self.messages.count < self._maxsize and self.messages.size + size <= self._max_bytes
        )

    cdef int _drop_oldest(self) except -1:
        self._drop(self.messages.oldest_size())
        if self._positions is not None:
            del self._positions[self.messages.oldest_key()]
        self.messages.pop()
        return 0

    cdef int _drop(self, size_t size) except -1:
        self.dropped += 1
        self.dropped_bytes += size
        return 0

    cdef object take(self):
        """The oldest message; only while there is one."""
        cdef size_t size = self.messages.oldest_size()
        if self._positions is not None:
            del self._positions[self.messages.oldest_key()]
        self.delivered += 1
        self.delivered_bytes += size
        return self.messages.pop()

    cdef int wake(self) except -1:
        """Step the task that waits, if there is something for it."""
        cdef Waiter waiter
        if self.waiter is not None and (self.messages.count > 0 or self.is_shut):
            waiter = self.waiter
            waiter.wake()
        return 0

    cdef int shut(self, object failure) except -1:
        """Take no more messages."""
        self.is_shut = True
        if self.failure is None:
            self.failure = failure
        return 0

    cdef int clear(self) except -1:
        """Nobody will take what waits."""
        while self.messages.count > 0:
            self._drop_oldest()
        return 0

    def policy(self):
        """Name of the policy."""
        return _POLICY_NAMES[self._overflow]

    def depth(self):
        """Messages that wait now."""
        return self.messages.count

    cdef bint is_blocked(self):
        """Whether the connection must not read on."""
        if self._overflow != BLOCK or self.is_shut or self.messages.count == 0:
            return False
        return self._cost() >= self._max_bytes or (self.messages.count >= self._maxsize and not self.is_ending)

    cdef bint is_crowded(self):
        """Whether it is too early to read on after that."""
        if self._overflow != BLOCK or self.is_shut:
            return False
        return self._cost() > self._max_bytes // 4 or (self.messages.count > self._maxsize // 4 and not self.is_ending)

    cdef size_t _cost(self):
        """Bytes that wait; with those of the objects where their number is not bounded."""
        return self.messages.size + (self.messages.count * OBJECT_OVERHEAD if self.is_ending else 0)


def stats_of(StreamQueue queue not None):
    """Totals of a queue."""
    return StreamStats(
        name=queue.name,
        overflow=queue.policy(),
        received=queue.received,
        delivered=queue.delivered,
        dropped=queue.dropped,
        filtered=queue.filtered,
        depth=queue.messages.count,
        high_water=queue.high_water,
        received_bytes=queue.received_bytes,
        delivered_bytes=queue.delivered_bytes,
        dropped_bytes=queue.dropped_bytes,
        filtered_bytes=queue.filtered_bytes,
        depth_bytes=queue.messages.size,
        oldest_age=(monotonic_ns() - queue.messages.oldest_arrival()) * 1e-9 if queue.messages.count > 0 else None,
    )


def check_stream_settings(maxsize, max_bytes, overflow, key, filter, name):
    """Refuse what a stream cannot be made with."""
    if overflow not in (*_POLICIES,):
        raise ValueError(f"overflow must be one of {', '.join(map(repr, _POLICIES))}, not {overflow!r}")
    for word, bound in (("maxsize", maxsize), ("max_bytes", max_bytes)):
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise TypeError(f"{word} must be an int, not {type(bound).__name__}")
        if not 1 <= bound <= sys.maxsize:
            raise ValueError(f"{word} must be from 1 to {sys.maxsize}, not {bound}")
    for word, function in (("key", key), ("filter", filter)):
        check_plain_function(word, function)
    if key is not None and overflow != "latest":
        raise ValueError(f'key goes with overflow="latest" only: {overflow!r} does not tell messages apart')
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
