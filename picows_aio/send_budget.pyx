# cython: auto_pickle=False, autotestdict=False
"""What one connection may have waiting to be sent, and what becomes of a message that comes when more is waiting.

Under the mark of its policy a message is written at once. Over it the policy decides; "latest" keeps messages aside,
unencoded, until the transport says that it drained. That comes for sure: the mark is never below the transport's own,
so over it the transport has paused writing.

A message is admitted, then written by whoever pushes it (a broadcast writes one frame to many connections), and then
reported as written.
"""

from collections import OrderedDict

cimport cython

from picows_aio.exceptions import ConcurrencyError
from picows_aio.send_policy import PushOutcome, PushStats, SendPolicy

cdef enum:
    KEPT_OVERHEAD = 256              # bytes that a message kept aside counts beside its payload
    HARD_LIMIT_FACTOR = 4            # times the mark
    LEAST_HARD_LIMIT = 1 << 20       # bytes

cdef double LAG_TOLERATED = 0.1      # share of evict_after by which our loop may be late before the peer gets more time

cdef dict _RULES = {"block": BLOCK, "drop_newest": DROP_NEWEST, "latest": LATEST, "evict": EVICT}
cdef object SENT = PushOutcome.SENT
cdef object OVER = PushOutcome.OVER
cdef object KEPT = PushOutcome.KEPT


@cython.final
cdef class SendBudget:
    """The budget of one connection.

    Args:
        connection: Has `core_transport`, `send_nowait()`, `is_writing_paused()`, `evict()` and `logger`.
        loop: Its event loop.
        write_limit: Bytes above which the transport pauses writing.
    """

    def __init__(self, connection, loop, size_t write_limit):
        self._connection = connection
        self._loop = loop
        self._write_limit = write_limit

    cdef int use(self, object policy) except -1:
        """Set the policy for messages that come without one."""
        if policy is not None and not isinstance(policy, SendPolicy):
            raise TypeError(f"the policy must be a SendPolicy or None, not {type(policy).__name__}")
        self.policy = policy
        return 0

    cdef object push(self, int opcode, object message, object policy, bint may_write):
        """Send a whole message, or do with it what the policy says; returns the outcome."""
        outcome = self.admit(policy, may_write)
        if outcome is SENT:
            self._connection.send_nowait(opcode, message)
            return self.written()
        if outcome is KEPT:
            key = policy.key
            payload = (<str> message).encode() if isinstance(message, str) else bytes(message)
            return self.keep(opcode, payload, None if key is None else key(message))
        return outcome

    cpdef object admit(self, object policy, bint may_write):
        """What is to be done with a message.

        Args:
            policy: Its policy.
            may_write: Whether no fragmented message is under way (RFC 6455 section 5.4).

        Returns:
            SENT: write it, then call `written()`. KEPT: call `keep()`. DROPPED, EVICTED: nothing; it is counted.

        Raises:
            ConcurrencyError: It can neither be written nor kept aside.
        """
        cdef size_t waiting
        self._adopt(policy)
        if self._overflow == LATEST and self._kept and may_write and not self._connection.is_writing_paused():
            self.resume()   # the transport was given other limits, and will not say that it drained
        if self._overflow == LATEST and (self._kept or not may_write):
            return KEPT
        if not may_write:
            raise ConcurrencyError("sending a fragmented message")
        waiting = self._waiting_over(self._mark)
        if waiting == 0:
            self._stop_clock()
            return SENT
        if self._overflow == LATEST:
            return KEPT
        if self._overflow == DROP_NEWEST:
            self._dropped += 1
            return PushOutcome.DROPPED
        if self._overflow == EVICT and waiting > self._hard_limit:
            self._dropped += 1
            self._evict(f"{waiting} bytes wait to be sent, more than the hard limit of {self._hard_limit}")
            return PushOutcome.EVICTED
        return SENT

    cpdef object written(self):
        """The message that was admitted last was written."""
        self._sent += 1
        if self._waiting_over(self._mark) == 0:
            return SENT
        if self._overflow == EVICT:
            self._start_clock()
        return OVER

    cpdef object keep(self, int opcode, bytes payload, object key):
        """Keep a message aside, in the place of the one with the same key."""
        if self._kept is None:
            self._kept = OrderedDict()
        older = self._kept.get(key)
        if older is not None:
            self._kept_size -= len(older[1])
            self._replaced += 1
        self._kept[key] = (opcode, payload)
        self._kept_size += len(payload)
        self._drop_over_limit(key)
        return KEPT if older is None else PushOutcome.REPLACED

    cdef int _drop_over_limit(self, object newest) except -1:
        """Drop the oldest; the newest stays, also when it is alone over the limit."""
        while len(self._kept) > 1 and self._kept_size + len(self._kept) * KEPT_OVERHEAD > self._hard_limit:
            oldest = next(key for key in self._kept if key != newest)
            self._kept_size -= len(self._kept.pop(oldest)[1])
            self._dropped += 1
        return 0

    cdef int resume(self) except -1:
        """Messages may begin again: the transport drained, or a fragmented message is complete."""
        self._stop_clock()
        if self._is_sending_kept or not self._kept:
            return 0
        self._is_sending_kept = True   # a write may say again that the transport drained
        try:
            while self._kept and not self._transport.is_close_frame_sent and self._waiting_over(self._mark) == 0:
                self._send_oldest_kept()
        finally:
            self._is_sending_kept = False
        return 0

    cdef int finish(self, bint may_write) except -1:
        """A CLOSE frame is about to be sent; what is kept aside goes before it, whatever waits."""
        self._stop_clock()
        while self._kept and may_write and not self.is_evicted:
            self._send_oldest_kept()
        return 0

    cdef int close(self) except -1:
        """The connection is gone."""
        self._stop_clock()
        self._connection = None
        if self._kept:
            self._dropped += len(self._kept)
            self._kept_size = 0
        self._kept = None
        return 0

    cdef int _send_oldest_kept(self) except -1:
        opcode, payload = self._kept.popitem(last=False)[1]
        self._kept_size -= len(payload)
        try:
            self._connection.send_nowait(opcode, payload)
            self._sent += 1
        except Exception:   # an extension's own
            self._dropped += 1
            self._connection.logger.error("failed to write a message that was kept aside", exc_info=True)
        return 0

    def stats(self):
        """A :class:`PushStats`."""
        return PushStats(
            sent=self._sent,
            dropped=self._dropped,
            replaced=self._replaced,
            kept=len(self._kept) if self._kept else 0,
            kept_bytes=self._kept_size,
            is_evicted=bool(self.is_evicted),
        )

    cdef int _adopt(self, object policy) except -1:
        if policy is self._adopted:
            return 0
        if not isinstance(policy, SendPolicy):
            raise TypeError(f"policy must be a SendPolicy or None, not {type(policy).__name__}")
        self._transport = self._connection.core_transport
        self._mark = self._write_limit if policy.max_bytes is None else policy.max_bytes
        if self._mark < self._write_limit:
            self._transport.set_write_buffer_limits(self._mark)
            self._write_limit = self._mark
        if policy.hard_limit is None:
            self._hard_limit = max(<size_t> LEAST_HARD_LIMIT, HARD_LIMIT_FACTOR * self._mark)
        else:
            self._hard_limit = policy.hard_limit
        self._overflow = _RULES[policy.overflow]
        self._evict_after = policy.evict_after
        self._adopted = policy
        return 0

    cdef size_t _waiting_over(self, size_t mark) except? 0:
        """Bytes that wait to be sent if these are more than the mark, else 0."""
        cdef size_t waiting = self._transport.get_write_buffer_size()
        if waiting <= mark:
            return 0
        self._transport.flush()   # some may only have been gathered, for a socket that would take them
        waiting = self._transport.get_write_buffer_size()
        return waiting if waiting > mark else 0

    # The clock of "evict". Between two looks at it the connection cannot have been under the mark and over it again
    # without a message, and that looks too.

    cdef int _start_clock(self) except -1:
        if self._clock is None:
            self._clock_mark = self._mark
            self._clock_seconds = self._evict_after
            self._has_lagged = False
            self._run_clock(self._clock_seconds)
        return 0

    cdef int _run_clock(self, double seconds) except -1:
        self._clock_due = self._loop.time() + seconds
        self._clock = self._loop.call_at(self._clock_due, self._time_is_over)
        return 0

    cdef int _stop_clock(self) except -1:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        return 0

    def _time_is_over(self):
        cdef size_t waiting
        cdef double lag = self._loop.time() - self._clock_due
        self._clock = None
        if self._transport.is_close_frame_sent:
            return   # the deadline of closing counts
        waiting = self._waiting_over(self._clock_mark)
        if waiting == 0:
            return
        if lag > self._clock_seconds * LAG_TOLERATED and not self._has_lagged:
            # It was our loop that stood still, and offered the peer nothing.
            self._has_lagged = True
            self._run_clock(min(lag, self._clock_seconds))
            return
        self._evict(
            f"{waiting} bytes wait to be sent, for {self._clock_seconds:g} s over the mark of {self._clock_mark}"
        )

    cdef int _evict(self, str why) except -1:
        self._stop_clock()
        self.is_evicted = True
        self._connection.evict(f"evicted, because the peer reads too slowly: {why}")
        return 0
