"""What one connection may have waiting to be sent."""

from picows.transport cimport WSTransport


cdef enum OverflowRule:
    BLOCK
    DROP_NEWEST
    LATEST
    EVICT


cdef class SendBudget:
    cdef:
        object _connection        # None when it is closed: breaks the reference cycle
        object _loop
        WSTransport _transport    # None before the first message
        size_t _write_limit       # bytes above which the transport pauses writing
        readonly object policy    # of messages that come without one; None: they have no budget
        # The policy of the latest message, taken apart.
        object _adopted
        OverflowRule _overflow
        size_t _mark              # bytes
        size_t _hard_limit        # bytes
        object _evict_after       # seconds
        # Messages kept aside, by key, in the order in which their keys came first: pairs of opcode and payload.
        object _kept              # None before the first
        size_t _kept_size         # bytes of payloads
        bint _is_sending_kept
        # Runs while the connection is over the mark of an evicting policy.
        object _clock
        size_t _clock_mark        # bytes
        double _clock_seconds
        double _clock_due         # time of the loop
        bint _has_lagged          # and was given more time
        # Totals
        size_t _sent
        size_t _dropped
        size_t _replaced
        readonly bint is_evicted

    cpdef object admit(self, object policy, bint may_write)
    cpdef object keep(self, int opcode, bytes payload, object key)
    cpdef object written(self)
    cdef int use(self, object policy) except -1
    cdef object push(self, int opcode, object message, object policy, bint may_write)
    cdef int resume(self) except -1
    cdef int finish(self, bint may_write) except -1
    cdef int close(self) except -1
    cdef int _adopt(self, object policy) except -1
    cdef size_t _waiting_over(self, size_t mark) except? 0
    cdef int _send_oldest_kept(self) except -1
    cdef int _drop_over_limit(self, object newest) except -1
    cdef int _start_clock(self) except -1
    cdef int _run_clock(self, double seconds) except -1
    cdef int _stop_clock(self) except -1
    cdef int _evict(self, str why) except -1
