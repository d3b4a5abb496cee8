"""What is known of a connection, and how it ends."""

from picows.transport cimport WSTransport
from picows_aio.stream_queue cimport StreamQueue
from picows_aio.streaming cimport StreamSource


cdef enum LifeCycle:
    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


cdef class Endpoint(StreamSource):
    cdef:
        readonly object protocol          # Session
        object _peer                      # asyncio transport before the handshake is complete
        object _logger                    # made when first needed
        object _request                   # ours, or the core's while the handshake is under way, or None
        object _response                  # the same
        LifeCycle _state
        # Extensions
        object _deflate                   # codec of permessage-deflate, or None
        list _extensions                  # others, or None
        # Closing
        object _close_timeout
        object _close_deadline            # timer
        object _close_cause               # exception behind the one that recv() and send() raise
        list _close_waiters
        object _keepalive                 # made when the connection opens

    cdef int forget_heads(self) except -1
    cdef bint is_open(self) except -1
    cdef bint is_sending_half(self)
    cdef int finish_pushes(self) except -1
    cdef int senders_end(self) except -1
