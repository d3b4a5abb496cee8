# cython: auto_pickle=False, autotestdict=False
"""Busy polling: after a send the answer is looked for, instead of sleeping until it comes."""

from os import strerror

from libc.stdint cimport int64_t
from picows.delivery cimport DeliveringProtocol
from picows.ending cimport OPEN
from picows.native cimport WS_HAS_DIRECT_IO, ws_clock_ns, ws_peek, ws_would_block
from picows.tls_transport cimport TLSLayer

from picows.options import PICOWS_DEBUG_LL

cdef enum:
    POLL_TURN_NS = 100_000    # answers are polled for so long before the event loop has its turn


cdef class PollingProtocol(DeliveringProtocol):
    """Polls the socket of a plain connection, and below a TLS transport of ours."""

    def __init__(self, loop, options, *, bint is_client_side):
        super().__init__(loop, options, is_client_side=is_client_side)
        self._fd = -1
        self._tracks_activity = options.enable_auto_ping

    cdef int _start_polling(self) except -1:
        self._polls_tls = isinstance(self._peer, TLSLayer)
        if WS_HAS_DIRECT_IO and self.options.busy_poll_ns and (self._fd >= 0 or self._polls_tls):
            self._poll_ns = self.options.busy_poll_ns
            self._parser.note_poller_read(ws_clock_ns())
        return 0

    cdef int _stop_polling(self) except -1:
        if self._poll_ns > 0:
            self._parser.leave_pollers()
        return 0

    cdef int _note_read(self) except -1:
        """The event loop has read something. An answer that came soon enough after all restores the window: twice its
        length, because waking up takes as long as polling saves.
        """
        cdef int64_t now = ws_clock_ns()
        self._parser.note_poller_read(now)
        if self._missed_ns > 0:
            if now - self._missed_ns <= 2 * <int64_t> self.options.busy_poll_ns:
                self._poll_ns = self.options.busy_poll_ns
            self._missed_ns = 0
        return 0

    cdef int _busy_poll(self) except -1:
        """We just sent something: look for the answer for some microseconds instead of sleeping in the event loop.

        While one answer follows another this goes on, but not for long: then back through the loop, so that other
        connections are served; epoll reports levels, so no wake-up is lost.
        """
        cdef int64_t received, end = 0
        if self._polls_tls:
            return self._await_record()
        while self._fd >= 0 and self._may_poll():
            received = self._parser.poll(self._fd, self._poll_ns)
            if received <= 0:
                return self._poll_missed(received)
            self._poll_ns = self.options.busy_poll_ns
            if self._tracks_activity:
                self._last_read_ns = ws_clock_ns()
            self._transport.bytes_received += received
            if self._parser.received(received):
                self._deliver()
            if end == 0:
                end = ws_clock_ns() + POLL_TURN_NS
            elif ws_clock_ns() > end:
                self._arm_poll()
                return 0
        return 0

    cdef int _await_record(self) except -1:
        """TLS: only the transport can read. When something has come, the loop finds it without sleeping."""
        cdef int fd = (<TLSLayer> self._peer).pollable() if self._peer is not None else -1
        cdef int64_t result, deadline
        if fd < 0 or not self._may_poll():
            return 0
        deadline = ws_clock_ns() + self._poll_ns
        with nogil:
            while True:
                result = ws_peek(fd)
                if not ws_would_block(result) or ws_clock_ns() >= deadline:
                    break
        if ws_would_block(result):
            self._narrow_window()
        elif result > 0:
            self._poll_ns = self.options.busy_poll_ns
        return 0

    cdef bint _may_poll(self) except -1:
        if self._poll_is_armed or self._is_paused or self._state != OPEN:
            return False
        return self._output.sent_in_read() and self._parser.is_only_poller(self._poll_ns)

    cdef int _poll_missed(self, int64_t result) except -1:
        """Nothing came in time, or the connection has ended, which the transport finds out by itself."""
        if result == 0:
            return 0
        if ws_would_block(result):
            return self._narrow_window()
        # The socket has told us its error and will not tell the transport: it has to hear of it.
        error = OSError(<int> -result, strerror(<int> -result))
        self._logger.log(PICOWS_DEBUG_LL, "read failed: %r", error)
        self._transport.note_cause(error)
        self._peer.abort()
        return 0

    cdef int _narrow_window(self) except -1:
        self._missed_ns = ws_clock_ns() - self._poll_ns
        self._poll_ns = max(self._poll_ns // 2, <int64_t> self.options.busy_poll_ns // 16 + 1)
        return 0

    def _arm_poll(self):
        if self._state == OPEN and not self._poll_is_armed:
            self._poll_is_armed = True
            self.loop.call_soon(self._poll_again)

    def _poll_again(self):
        self._poll_is_armed = False
        if self._state == OPEN:
            self._busy_poll()
