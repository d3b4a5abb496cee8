"""What a connection consists of, and how it ends."""

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


cdef double CLOSE_TIMEOUT   # seconds for the peer to answer a CLOSE frame, or to take what is still queued


cdef class EndingProtocol(TransportOwner):
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
        object _deadline                # timer that aborts: handshake, lingering, unanswered CLOSE
        State _state
        bint _is_paused                 # pause_reading() was called
        bint _is_peer_held              # the transport does not read
        bint _has_received_close

    cdef int _stop_frames(self) except -1
    cdef int _leave(self, int code, str reason) except -1
    cdef int _after_close_frame(self, WSFrame frame) except -1
    cdef int _complete_close(self) except -1
    cdef int _fail(self, object exception) except -1
    cdef int _hold_peer(self, bint hold) except -1
    cdef int _set_deadline(self, double seconds, object callback) except -1
