"""Between asyncio and the layers that know nothing of it."""

from picows.polling cimport PollingProtocol


cdef class ConnectionProtocol(PollingProtocol):
    cdef:
        object _auto_ping               # AutoPing, or None
        bint _is_secure

    cdef int _received(self, size_t size) except -1
