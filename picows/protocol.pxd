"""Between asyncio and the layers that know nothing of it."""

from libc.stdint cimport int64_t

from picows.frame cimport WSFrame
from picows.listener cimport WSListener
from picows.output cimport Output
from picows.parser cimport FrameParser
from picows.transport cimport TransportOwner, WSTransport


cdef enum State:
    OPENING      # bytes belong to the opening handshake
    OPEN         # frames are delivered
    LINGERING    # nothing is delivered any more: input is discarded until the peer ends the connection, or a timer does
    DISCONNECTED


cdef enum Callback:
    NO_CALLBACK  # the parser
    ON_WS_FRAME
    ON_READ_END
    IS_USER_SPECIFIC_PONG


cdef class ConnectionProtocol(TransportOwner):
    cdef:
        readonly object loop
        readonly object options
        readonly bint is_client_side
        object _logger
        object _peer                    # the asyncio transport; None before and after the connection
        FrameParser _parser
        Output _output
        WSTransport _transport
        WSListener _listener
        object _auto_ping               # AutoPing, or None
        object _deadline                # timer that aborts: handshake, lingering, unanswered CLOSE
        State _state
        bint _is_dropped                # disconnect() was called: nothing is delivered any more
        bint _is_paused                 # pause_reading() was called
        bint _has_ended                 # the last frames are delivered: there is nothing left to pause
        bint _is_peer_held              # the transport does not read
        bint _is_delivering
        Callback _callback              # what an exception now comes from
        object _postponed               # an exception of _deliver_more(), and what it came from
        Callback _postponed_callback
        bint _has_failed                # nothing more of the read under way is delivered
        bint _has_received_close
        # The listener's callbacks, looked up once.
        unsigned int _hooks_version
        object _on_frame                # bound method of a Python override, or None: call through the C interface
        object _on_read_end             # the same
        bint _wants_read_end
        # Auto pong to a peer that does not read.
        bint _is_write_paused
        bytes _latest_ping              # payload to answer when writing resumes
        # Activity, for auto ping and busy polling.
        bint _tracks_activity
        int64_t _last_read_ns
        int64_t _poll_ns                # busy polling window now; 0: off
        int _fd                         # of a plain connection, else -1
        bint _is_secure
        bint _poll_is_armed

    cdef int _hold_peer(self, bint hold) except -1
    cdef int _look_up_hooks(self) except -1
    cdef int _received(self, size_t size) except -1
    cdef int _deliver(self) except -1
    cdef int _deliver_more(self) except -1
    cdef int _deliver_until_done(self) except -1
    cdef int _call_on_read_end(self) except -1
    cdef int _deliver_frames(self) except -1
    cdef bint _intercepts(self, WSFrame frame) except -1
    cdef int _after_close_frame(self, WSFrame frame) except -1
    cdef int _answer_ping(self, WSFrame frame) except -1
    cdef int _callback_failed(self, object exception, str name) except -1
    cdef int _fail(self, object exception) except -1
    cdef int _complete_close(self) except -1
    cdef int _set_deadline(self, double seconds, object callback) except -1
    cdef int _busy_poll(self) except -1
    cdef bint _may_poll(self) except -1
    cdef int _poll_missed(self, int64_t result) except -1
