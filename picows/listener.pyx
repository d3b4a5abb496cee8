# cython: auto_pickle=False, autotestdict=False
"""The callbacks users override, in Python or in Cython."""

from cpython.ref cimport PyObject
from picows.enums cimport WSMsgType
from picows.frame cimport WSFrame
from picows.transport cimport WSTransport

cdef extern from "Python.h":
    int PyObject_GenericSetAttr(object instance, object name, PyObject* value) except -1
    PyObject* PyDict_GetItemWithError(object dictionary, object key) except? NULL

cdef extern from *:
    """
    #define ws_is_heap_type(type) PyType_HasFeature((PyTypeObject *)(type), Py_TPFLAGS_HEAPTYPE)
    #define ws_names_of(type) (((PyTypeObject *)(type))->tp_dict)
    """
    bint ws_is_heap_type(object type) noexcept
    PyObject* ws_names_of(object type) noexcept


cdef class WSListener:
    """Receives the events of one connection.

    Subclass it and override what you need; every method is called in the event loop's thread and must return soon. What
    a method raises ends the connection with close code 1011, or with that of a :exc:`WSProtocolError` it raised. Then
    :meth:`WSTransport.wait_disconnected` raises it on the client side, and the server side logs it.
    """

    cpdef on_ws_connected(self, WSTransport transport):
        """The opening handshake is complete; frames may be sent."""

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        """A frame arrived: TEXT, BINARY, CONTINUATION, CLOSE, and PING or PONG that nothing else answers.

        The frame may be kept; it stays as it is. With ``disconnect_on_exception=False`` exceptions are logged and
        nothing else.
        """

    cdef int deliver_frame(self, WSTransport transport, WSFrame frame) except -1:
        """Call `on_ws_frame`."""
        self.on_ws_frame(transport, frame)
        return 0

    cdef bint has_undelivered(self):
        """Whether the listener keeps frames of the read for whoever it calls now, so that more answers are likely."""
        return False

    cpdef on_ws_disconnected(self, WSTransport transport):
        """The connection is gone. Called exactly once for each ``on_ws_connected``."""

    cpdef on_read_end(self, WSTransport transport):
        """The last frame that one read brought was delivered: the place for work on a batch.

        Also before the connection fails because of what the peer sent behind that frame.
        """

    cpdef send_user_specific_ping(self, WSTransport transport):
        """Send what the peer has to answer; the default is ``transport.send_ping()``."""
        if transport is None:
            raise TypeError("transport must be a WSTransport, not None")
        transport.send_ping()

    cpdef is_user_specific_pong(self, WSFrame frame):
        """Whether the frame answers the ping, and so is not for ``on_ws_frame``; the default is: a PONG does.

        Asked only while an answer is expected, for every frame that arrives.
        """
        if frame is None:
            raise TypeError("frame must be a WSFrame, not None")
        return frame.msg_type == WSMsgType.PONG

    cpdef pause_writing(self):
        """The transport's write buffer went over its high-water mark: whoever can wait should. Sending stays possible.
        """

    cpdef resume_writing(self):
        """The transport's write buffer drained below its low-water mark."""

    def __setattr__(self, name, value):
        PyObject_GenericSetAttr(self, name, <PyObject*> value)
        if name in HOOKS:
            self.hooks_version += 1

    def __delattr__(self, name):
        PyObject_GenericSetAttr(self, name, NULL)
        if name in HOOKS:
            self.hooks_version += 1


cdef frozenset HOOKS = frozenset(name for name in vars(WSListener) if not name.startswith("_"))


cdef object defining_class(WSListener listener, str name):
    """The class whose `name` the listener has, or None where the instance has its own."""
    cdef PyObject* names
    if name in getattr(listener, "__dict__", ()):
        return None
    for cls in type(listener).__mro__:
        names = ws_names_of(cls)
        if names != NULL and PyDict_GetItemWithError(<object> names, name) != NULL:
            return cls
    return None


cdef object python_override(WSListener listener, str name):
    """The bound method when `name` was overridden in Python, else None: then the C method is the fastest way.

    Calling a bound method costs half of a `cpdef` dispatch that has to look for the override on every call.
    """
    cls = defining_class(listener, name)
    return getattr(listener, name) if cls is None or ws_is_heap_type(cls) else None


cdef bint is_overridden(WSListener listener, str name) except -1:
    """Whether a subclass, in Python or Cython, or the instance has its own `name`."""
    return defining_class(listener, name) is not WSListener
