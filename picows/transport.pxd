"""The sending side of a connection, as listeners and users see it."""

from libc.stdint cimport uint8_t, uint64_t

from picows.closing cimport WSCloseHandshake
from picows.enums cimport NoResult, WSCloseCode, WSMsgType
from picows.output cimport Output


cdef class TransportOwner:
    """What a transport asks of the protocol that made it."""

    cdef int pause_reading(self) except -1
    cdef int resume_reading(self) except -1
    cdef int deliver_held_back(self) except -1
    cdef int close_frame_sent(self) except -1
    cdef int drop(self, bint graceful) except -1
    cdef int fail(self, object exception) except -1
    cdef object send_listener_ping(self)
    cdef bint has_more_input(self)


cdef class WSTransport:
    cdef:
        object __weakref__
        object _request                             # head of the request as bytes; parsed when it is asked for
        object _response                            # the same for the response
        readonly WSCloseHandshake close_handshake   # None until a CLOSE frame was sent or received
        readonly bint is_client_side
        readonly bint is_secure
        readonly bint is_close_frame_sent
        readonly bint is_disconnected
        # For the protocol; what follows is not part of the public interface.
        Output output
        object logger
        bint logs_debug
        bint expects_pong                           # ask the listener whether a frame is its pong
        unsigned long _thread_id
        object _loop
        TransportOwner _owner                       # None when disconnected: breaks the reference cycle
        object _failure                             # exception for wait_disconnected()
        object _lost_with                           # exception the event loop reported, or None
        bint _is_finished                           # on_ws_disconnected is over
        list _disconnect_waiters                    # made when first needed
        object _pong_waiter                         # future of measure_roundtrip_time()
        object _auto_pong_waiter                    # called when a pong arrives: auto ping
        object _last_rtt                            # seconds, or None
        uint64_t frames_received
        uint64_t bytes_received                     # on the wire
        uint64_t pings_received
        uint64_t _pings_sent
        uint64_t _sends_after_close

    cpdef send(self, WSMsgType msg_type, message, bint fin=*, bint rsv1=*, bint rsv2=*, bint rsv3=*)
    cpdef send_message(self, message)
    cpdef send_reuse_external_bytearray(
        self, WSMsgType msg_type, bytearray buffer, Py_ssize_t msg_offset, bint fin=*, bint rsv1=*, bint rsv2=*,
        bint rsv3=*
    )
    cdef NoResult send_reuse_external_buffer(
        self, WSMsgType msg_type, char* msg_ptr, Py_ssize_t msg_size, bint fin=*, bint rsv1=*, bint rsv2=*, bint rsv3=*
    ) except NoResult.EXC
    cpdef send_ping(self, message=*)
    cpdef send_pong(self, message=*)
    cpdef send_close(self, WSCloseCode close_code=*, close_message=*)
    cpdef disconnect(self, bint graceful=*)
    cpdef notify_user_specific_pong_received(self)
    cpdef pause_reading(self)
    cpdef resume_reading(self)
    cpdef flush(self)

    cdef int deliver_held_back(self) except -1
    cdef int send_object(self, int opcode, object message, bint fin, uint8_t rsv) except -1
    cdef int _send(
        self, int opcode, const char* payload, Py_ssize_t size, object keeper, bint fin, uint8_t rsv
    ) except -1
    cdef int send_control(self, int opcode, object message) except -1
    cdef bint can_send(self)
    cdef bint can_broadcast(self) except -1
    cdef bint expect_pong(self, object callback) except -1
    cdef int fail_with(self, object exception) except -1
    cdef int note_cause(self, object exception) except -1
    cdef int close_frame_received(self, const uint8_t* payload, size_t size) except -1
    cdef int mark_disconnected(self, object exception) except -1
    cdef int finish(self) except -1
    cdef int _send_close_payload(self, bytes payload) except -1
    cdef bint _may_send(self, str what) except -1
    cdef int _check_thread(self) except -1
    cdef int _check_frame(self, int opcode, size_t size, bint fin) except -1
    cdef WSCloseHandshake _closing(self)
