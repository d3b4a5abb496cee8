"""Busy polling."""

from libc.stdint cimport int64_t

from picows.delivery cimport DeliveringProtocol


cdef class PollingProtocol(DeliveringProtocol):
    cdef:
        int _fd                         # of a plain connection, else -1
        bint _polls_tls                 # through a TLS transport of ours
        int64_t _poll_ns                # the window now; 0: off
        int64_t _missed_ns              # when polling began that found nothing, until the next read; 0: it found
        bint _poll_is_armed
        bint _tracks_activity           # for auto ping
        int64_t _last_read_ns

    cdef int _start_polling(self) except -1
    cdef int _stop_polling(self) except -1
    cdef int _note_read(self) except -1
    cdef int _busy_poll(self) except -1
    cdef int _await_record(self) except -1
    cdef bint _may_poll(self) except -1
    cdef int _poll_missed(self, int64_t result) except -1
    cdef int _narrow_window(self) except -1
