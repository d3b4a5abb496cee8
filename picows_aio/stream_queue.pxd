"""The queue behind a stream."""

from libc.stdint cimport int64_t, uint64_t
from picows_aio.messages cimport MessageQueue
from picows_aio.waiter cimport Waiter


cdef enum Overflow:
    BLOCK
    DROP_OLDEST
    DROP_NEWEST
    LATEST
    CLOSE


cdef class StreamQueue:
    cdef:
        readonly str name
        Overflow _overflow
        size_t _maxsize           # messages
        size_t _max_bytes
        object _key               # callable, or None
        object _filter            # callable, or None
        MessageQueue messages
        dict _positions           # `latest`: where the message of each key waits
        Waiter waiter             # of the consumer that is parked until there is something to read
        object failure            # what ended this queue alone: an exception
        bint is_shut              # takes no message any more; those that wait can be received
        bint is_overflowing       # `close`: the connection is to be closed
        bint is_closed            # by aclose()
        bint has_blocked          # said once in the log
        bint is_ending            # the connection is being closed: `block` bounds the bytes alone
        uint64_t lost             # messages dropped because nobody received while it was
        # Totals: received = delivered + dropped + filtered + waiting, in messages and in bytes.
        uint64_t received
        uint64_t delivered
        uint64_t dropped
        uint64_t filtered
        uint64_t received_bytes
        uint64_t delivered_bytes
        uint64_t dropped_bytes
        uint64_t filtered_bytes
        size_t high_water         # most messages that ever waited

    cdef int offer(self, object message, size_t size, int64_t now, bint discards) except -1
    cdef int accept(self, object message, size_t size) except -1
    cdef object take(self)
    cdef int wake(self) except -1
    cdef int shut(self, object failure) except -1
    cdef int clear(self) except -1
    cdef bint is_blocked(self)
    cdef bint is_crowded(self)
    cdef int _offer_latest(self, object message, size_t size, object key, object position) except -1
    cdef size_t _cost(self)
    cdef bint _has_room(self, size_t size)
    cdef int _drop_oldest(self) except -1
    cdef int _drop(self, size_t size) except -1
