"""The callbacks users override."""

from picows.frame cimport WSFrame
from picows.transport cimport WSTransport


cdef class WSListener:
    cdef:
        object __weakref__
        unsigned int hooks_version   # changes when an instance attribute may have replaced a callback

    cpdef on_ws_connected(self, WSTransport transport)
    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame)
    # How the core calls it. Extension types that may be subclassed in Python override both: what arrives here has no
    # override in Python, and a `cpdef` method would look for one every time.
    cdef int deliver_frame(self, WSTransport transport, WSFrame frame) except -1
    cdef bint has_undelivered(self)
    cpdef on_ws_disconnected(self, WSTransport transport)
    cpdef on_read_end(self, WSTransport transport)
    cpdef send_user_specific_ping(self, WSTransport transport)
    cpdef is_user_specific_pong(self, WSFrame frame)
    cpdef pause_writing(self)
    cpdef resume_writing(self)


cdef object python_override(WSListener listener, str name)
cdef bint is_overridden(WSListener listener, str name) except -1
