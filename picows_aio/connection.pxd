"""Connections: messages in, messages out."""

from picows_aio.pushing cimport PushingEndpoint


cdef class Connection(PushingEndpoint):
    cdef:
        object _ping_interval
        object _ping_timeout
        object _pings                     # PendingPings, made when first needed
        readonly double latency           # seconds; 0.0 before the first pong
