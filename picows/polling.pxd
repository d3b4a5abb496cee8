"""Busy polling."""

from libc.stdint cimport int64_t

from picows.delivery cimport DeliveringProtocol


cdef class PollingProtocol(DeliveringProtocol):
    cdef:
        int _fd                         # of a plain connection, else -1
        int64_t _poll_ns                # the window now; 0: off
        bint _poll_is_armed
        bint _tracks_activity           # for auto ping
        int64_t _last_read_ns

    cdef int _start_polling(self) except -1
    cdef int _stop_polling(self) except -1
    cdef int _busy_poll(self) except -1
    cdef bint _may_poll(self) except -1
    cdef int _poll_missed(self, int64_t result) except -1
