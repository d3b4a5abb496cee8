"""Streams: consumers of one connection, each with a queue of its own."""

from libc.stdint cimport int64_t, uint64_t
from picows.listener cimport WSListener
from picows.transport cimport WSTransport
from picows_aio.awaitable cimport Operation
from picows_aio.stream_queue cimport StreamQueue
from picows_aio.waiter cimport Waiter


cdef class StreamSource(WSListener):
    cdef:
        object _loop
        WSTransport _transport     # None before the opening handshake is complete
        list _stream_queues        # those that take messages, or None
        Waiter _waiter             # of who parked last; used again
        StreamQueue _waking        # that the read under way is stepping a task for
        list _ended_queues         # take no more messages and were not closed: what waits can be received
        dict _closed_totals        # of streams that were closed before, by policy; None before the first
        unsigned int _streams_made
        int64_t _now               # nanoseconds: when the read under way came; 0: not asked yet
        bint _is_paused            # reading: something is full
        bint _is_ending            # close() was called: there is room for as many messages as fit into the bytes
        object _patience           # timer: nobody may be receiving
        bint _has_reader           # somebody has received since it was first started
        bint _discards             # nobody receives while it is being closed: what does not fit is dropped

    cdef int offer_to_streams(self, object message, size_t size) except -1
    cdef int wake_streams(self) except -1
    cdef int end_streams(self) except -1
    cdef Waiter park(self)
    cdef int check_bounds(self) except -1
    cdef int unpause(self) except -1
    cdef bint is_over_bounds(self)
    cdef bint is_crowded(self)
    cdef uint64_t taken(self)
    cdef int begin_ending(self) except -1
    cdef int full_while_ending(self) except -1
    cdef object longest_patience(self)
    cdef int stop_patience(self) except -1
    cdef bint is_gone(self)
    cdef int replay_into(self, StreamQueue queue) except -1
    cdef int stream_opened(self, StreamQueue queue) except -1
    cdef int may_open_stream(self) except -1
    cdef int overflowed(self, StreamQueue queue) except -1
    cdef int _after_offers(self, StreamQueue queue) except -1
    cdef int _detach(self, StreamQueue queue) except -1
    cdef int _blocked(self) except -1


cdef class Stream:
    cdef:
        StreamQueue _queue
        StreamSource _source

    cdef StreamOperation _operation(self, bint is_iteration)


cdef class StreamOperation(Operation):
    cdef:
        Stream _stream
        bint _is_iteration
        bint _has_begun

    cdef int _at_end(self) except -1
