"""TLS over any asyncio transport."""

from libc.stdint cimport int64_t, uint8_t
from picows.buffer cimport ReadBuffer
from picows.socket_transport cimport SocketTransport

# What a protocol of ours gives instead of get_buffer and buffer_updated.
ctypedef object (*tls_target)(object protocol)                        # a writable memoryview
ctypedef int (*tls_receiver)(object protocol, Py_ssize_t size) except -1


cdef enum TLSState:
    HANDSHAKING
    OPEN
    CLOSING     # our close_notify was written, the peer's is awaited
    ENDED       # the transport below was closed or aborted; its connection_lost is to come, or came


cdef class TLSScratch:
    """Where the transports of one thread read encrypted bytes; in use only until they are in a connection's BIO."""
    cdef:
        object view             # writable, of all of it
        ReadBuffer read         # the beginning of it: `size` says how much was read
        # The latest call of `SSLObject.read`.
        object latest_target
        Py_ssize_t latest_size  # bytes asked for
        tuple arguments


cdef class TLSLayer:
    cdef:
        TLSState _state
        object _loop
        object _context                 # ssl.SSLContext
        object _ssl                     # ssl.SSLObject
        object _below                   # the transport that carries the records
        SocketTransport _socket         # the same if it is ours, else None
        object _protocol                # the one above, until the connection is lost
        object _waiter                  # future of the handshake, or None
        object _deadline                # timer of the handshake or the shutdown
        object _failure                 # what connection_lost is to tell
        object _handshake_timeout       # seconds
        object _shutdown_timeout        # seconds
        # Bound methods.
        object _read
        object _pending
        object _encrypt
        object _feed_incoming
        object _take_outgoing
        # How to deliver to the protocol above: one of these pairs, or its data_received.
        tls_target _target
        tls_receiver _receiver
        object _get_buffer
        object _buffer_updated
        TLSScratch _scratch
        bint _is_connected              # the protocol above knows of the connection
        bint _is_write_paused
        bint _is_paused                 # by the protocol above
        bint _is_below_paused
        bint _has_peer_ended            # by close_notify or the end of the stream
        # Where the stream of records stands (RFC 8446 section 5.1).
        bint _is_untracked              # what came is no record: only OpenSSL knows what to do with it
        uint8_t _header[5]
        size_t _header_filled           # bytes
        size_t _body_missing            # bytes
        size_t _records                 # complete and not read yet; never too few

    cdef int deliver_with(self, tls_target target, tls_receiver receiver) except -1
    cdef int send(self, object data, object more=*) except -1
    cdef int pollable(self) except? -1

    cdef int _received(self, Py_ssize_t size) except -1
    cdef int _write_below(self, bytes sealed) except -1
    cdef int _count_records(self, const uint8_t* data, size_t size) noexcept
    cdef int _shake_hands(self) except -1
    cdef int _deliver(self) except -1
    cdef Py_ssize_t _decrypt(self, object target, Py_ssize_t room) except -1
    cdef Py_ssize_t _read_into(self, object target, Py_ssize_t size) except -1
    cdef int _deliver_outside_read(self) except -1
    cdef object _next_target(self)
    cdef int _hand_up(self, Py_ssize_t size) except -1
    cdef bytes _seal(self, object data)
    cdef int _discard(self) except -1
    cdef int _flush(self) except -1
    cdef int _finish(self) except -1
    cdef int _fail(self, object exception) except -1
    cdef int _hold_below(self, bint hold) except -1
    cdef int _set_deadline(self, object seconds, object callback) except -1
    cdef int _clear_deadline(self) except -1
