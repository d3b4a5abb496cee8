"""The write path of one connection."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint64_t

# Writes all of `data` and `more` (None: there is no more) to a transport, and calls back only when it has both.
ctypedef int (*whole_writer)(object transport, object data, object more) except -1


@cython.final
cdef class Output:
    cdef:
        int _fd                        # for direct writes; -1: only through the transport
        bint _is_client_side           # frames are masked
        bint _is_secure                # the transport encrypts
        bint _coalesces
        int _cork_depth
        object _transport
        whole_writer _write_whole      # instead of its methods; NULL: there is none
        object _write                  # bound method of the transport
        object _backlog_size           # bound method of the transport
        object _schedule_flush         # called with a callback that is to run in the next turn of the loop
        object _on_failure             # called with the OSError of a direct write
        bint _may_have_backlog         # the transport may hold bytes that must leave before ours
        bint _is_shared                # somebody else may write to the transport, or close it
        bint _is_stopped
        object _on_written             # called when that is over
        list _deferred                 # while the transport is being written to: what callbacks send meanwhile
        # Frames gathered for one write.
        uint8_t* _gathered
        size_t _gathered_size          # bytes
        size_t _gather_room            # bytes; more than that are written out
        size_t _high_water             # bytes that the transport holds without pausing us
        int64_t _oldest_ns             # when the first of them was gathered
        int64_t _latest_ns             # when the last frame outside a read was sent, or a moment before
        uint64_t _moment               # of the latest look at the clock
        bint _flush_is_armed
        bint _is_reading               # frames are being delivered: the end of that flushes
        bint _has_sent_in_read
        # Totals for stats().
        readonly uint64_t frames_sent
        readonly uint64_t bytes_sent   # on the wire

    cdef int set_high_water(self, size_t size) except -1
    cdef int write_with(self, whole_writer writer) except -1
    cdef int send_frame(
        self, uint8_t opcode, const uint8_t* payload, size_t size, object keeper, bint fin, uint8_t rsv, bint more_input
    ) except -1
    cdef int send_in_place(self, uint8_t opcode, uint8_t* payload, size_t size, bint fin, uint8_t rsv) except -1
    cdef int send_built(self, bytes frame) except -1
    cdef int write_raw(self, bytes data) except -1
    cdef int flush(self) except -1
    cdef int cork(self) except -1
    cdef int uncork(self) except -1
    cdef int begin_read(self) except -1
    cdef int end_read(self) except -1
    cdef object transport(self)
    cdef object share(self)
    cdef int stop(self) except -1
    cdef int lose(self) except -1
    cdef int when_written(self, object callback) except -1
    cdef size_t backlog(self) except? 0

    cdef inline bint sent_in_read(self) noexcept:
        return self._has_sent_in_read

    cdef inline bint is_stopped(self) noexcept:
        return self._is_stopped

    cdef inline bint asks_for_more_input(self) noexcept:
        """Whether `send_frame` decides by its `more_input`; it costs a call to find out."""
        return self._is_reading and self._coalesces and not self._has_sent_in_read

    cdef size_t _room_above_backlog(self) except? 0
    cdef bint _joins_gathered(self, uint8_t opcode, size_t size, bint more_input) except -1
    cdef int _gather_or_write(
        self, uint8_t opcode, const uint8_t* payload, size_t size, bint fin, uint8_t rsv
    ) except -1
    cdef bint _is_to_be_gathered(self, uint8_t opcode, size_t size, bint more_input) except -1
    cdef int _gather(self, uint8_t opcode, const uint8_t* payload, size_t size, bint fin, uint8_t rsv) except -1
    cdef bint _is_direct(self) except -1
    cdef int _send_masked(self, uint8_t opcode, const uint8_t* payload, size_t size, bint fin, uint8_t rsv) except -1
    cdef int _send_in_slices(
        self, const uint8_t* header, size_t header_size, const uint8_t* payload, size_t size, unsigned int key
    ) except -1
    cdef int _send_unmasked(
        self, uint8_t opcode, const uint8_t* payload, size_t size, object keeper, bint fin, uint8_t rsv
    ) except -1
    cdef int _send_two(
        self, const uint8_t* header, size_t header_size, const uint8_t* payload, size_t size, object keeper
    ) except -1
    cdef int _write_copy(self, const uint8_t* data, size_t size) except -1
    cdef int _write_direct(self, const uint8_t* data, size_t size) except -1
    cdef int _hand_over(self, object data, object more=*) except -1
    cdef int _write_in_parts(self, object data) except -1
    cdef int _fail(self, int64_t result) except -1


cdef bytes build_frame(uint8_t opcode, const uint8_t* payload, size_t size, bint fin, uint8_t rsv)
