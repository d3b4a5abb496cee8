"""A transport that reads and writes a plain socket itself."""

from libc.stdint cimport int64_t

# Reads once from the socket and delivers what came: bytes, 0 at the end of the stream, or a negative errno.
# `room` is set to how much it could have been.
ctypedef int64_t (*ws_reader)(object protocol, int fd, size_t* room) except? -1


cdef class SocketTransport:
    cdef:
        object _loop
        object _server                 # SocketServer that accepted it, or None
        object _sock
        object _protocol
        int _fd                        # -1 once it is closed
        # How to read for the protocol: one of these.
        ws_reader _read
        object _get_buffer
        object _buffer_updated
        object _data_received
        # What is written and not taken by the socket yet.
        object _backlog                # deque of memoryviews of bytes that nobody changes, or None
        size_t _backlog_size           # bytes
        size_t _high                   # bytes
        size_t _low
        # State
        bint _is_registered            # the loop watches for input
        bint _is_paused
        bint _is_closing
        bint _is_lost                  # connection_lost was called or is about to be
        bint _has_written_eof
        bint _is_protocol_paused
        int _ignored_writes
        # Facts that outlive the socket.
        object _peername
        object _sockname

    cdef int fileno(self)
    cdef int read_with(self, ws_reader reader) except -1
    cdef int write_bytes(self, bytes data) except -1

    cdef int _watch(self, bint wanted) except -1
    cdef int64_t _receive(self, size_t* room) except? -1
    cdef int _end_of_stream(self) except -1
    cdef int _queue(self, object data, size_t done) except -1
    cdef int _forget_backlog(self) except -1
    cdef int _lose(self, object exc) except -1
    cdef int _let_go(self) except -1
    cdef int _failed(self, object exc, str message) except -1
    cdef int _call_protocol(self, object callback, str name) except -1
