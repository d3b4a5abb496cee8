# cython: auto_pickle=False, autotestdict=False
"""Frames as listeners see them: a header's facts and a view of the payload.

A frame holds the memory it points into, and a view of it holds the frame, so neither can dangle. While nobody keeps it,
one frame object serves a whole connection.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from picows.enums cimport WSCloseCode
from picows.recycling cimport is_recycled, recycled_bytes, recycled_text

from picows.enums import WSMsgType as OpcodeEnum

cdef extern from *:
    """
    #include <structmember.h>

    /* A member, not a property: CPython's interpreter then reads it itself, without a call. */
    static int ws_add_member(PyObject *type, const char *name, Py_ssize_t offset)
    {
        static PyMemberDef member = {NULL, T_OBJECT_EX, 0, READONLY, NULL};
        member.name = name;
        member.offset = offset;
        PyObject *descriptor = PyDescr_NewMember((PyTypeObject *)type, &member);
        if (descriptor == NULL)
            return -1;
        int status = PyDict_SetItemString(((PyTypeObject *)type)->tp_dict, name, descriptor);
        Py_DECREF(descriptor);
        PyType_Modified((PyTypeObject *)type);
        return status;
    }
    """
    int ws_add_member(object type, const char* name, Py_ssize_t offset) except -1

cdef enum:
    SMALL_PAYLOAD = 4096   # bytes: below it a kept payload moves out, so that it pins at most 16 times its size

_NAMES = {0x0: "CONTINUATION", 0x1: "TEXT", 0x2: "BINARY", 0x8: "CLOSE", 0x9: "PING", 0xA: "PONG"}


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class WSFrame:
    """One received frame (RFC 6455 section 5.2), its payload unmasked.

    Frames come from the library, to ``on_ws_frame``. A frame may be kept: it stays valid and unchanged for as long as
    it, or a view made from it, is held. ``memoryview(frame)`` and every function that takes bytes-like objects accept
    it.

    Attributes:
        msg_type: The opcode, a :class:`WSMsgType`.
        fin: Whether the frame is the last of its message.
        rsv1: First reserved bit, set by extensions.
        rsv2: Second reserved bit.
        rsv3: Third reserved bit.
        payload_size: Bytes of the payload.
        tail_size: Bytes that the same read brought behind this frame.
        last_in_buffer: Whether no whole frame is among them.
    """

    def __init__(self, *args, **kwargs):
        raise TypeError("WSFrame objects are made by picows: they arrive in WSListener.on_ws_frame")

    cpdef bytes get_payload_as_bytes(self):
        """The payload as bytes; no copy is made of a frame that arrived in a buffer of its own."""
        if PyBytes_CheckExact(self.owner) and PyBytes_GET_SIZE(self.owner) == self.payload_size:
            return <bytes> self.owner
        if is_recycled(self.payload_size):
            return recycled_bytes(self.payload_ptr, self.payload_size)
        return PyBytes_FromStringAndSize(self.payload_ptr, self.payload_size)

    cpdef str get_payload_as_utf8_text(self):
        """The payload decoded as UTF-8, a new str on each call.

        Raises:
            UnicodeDecodeError: The payload is not UTF-8; a fragment may also end inside a character.
        """
        cdef str text = recycled_text(self.payload_ptr, self.payload_size) if is_recycled(self.payload_size) else None
        return PyUnicode_DecodeUTF8(self.payload_ptr, self.payload_size, NULL) if text is None else text

    cpdef str get_payload_as_utf8(self):
        """The same as :meth:`get_payload_as_utf8_text`."""
        return self.get_payload_as_utf8_text()

    cpdef str get_payload_as_ascii_text(self):
        """The payload decoded as ASCII, a new str on each call: faster than UTF-8 where the peer sends only ASCII.

        Raises:
            UnicodeDecodeError: An octet is above 127.
        """
        cdef str text = recycled_text(self.payload_ptr, self.payload_size) if is_recycled(self.payload_size) else None
        return PyUnicode_DecodeASCII(self.payload_ptr, self.payload_size, NULL) if text is None else text

    cpdef object get_payload_as_memoryview(self):
        """A read-only view of the payload, without a copy; it stays valid for as long as it is held."""
        return PyMemoryView_FromObject(self)

    cpdef WSCloseCode get_close_code(self):
        """The code of a CLOSE frame, NO_INFO when it has none; only meaningful for CLOSE frames."""
        if self.payload_size < 2:
            return WSCloseCode.NO_INFO
        return <WSCloseCode> ((<unsigned char> self.payload_ptr[0]) << 8 | <unsigned char> self.payload_ptr[1])

    cpdef bytes get_close_message(self):
        """The reason of a CLOSE frame as bytes, None when it has none; only meaningful for CLOSE frames."""
        if self.payload_size <= 2:
            return None
        return PyBytes_FromStringAndSize(self.payload_ptr + 2, self.payload_size - 2)

    cpdef str get_close_reason(self):
        """The reason of a CLOSE frame as text, None when it has none; only meaningful for CLOSE frames."""
        if self.payload_size <= 2:
            return None
        return PyUnicode_DecodeUTF8(self.payload_ptr + 2, self.payload_size - 2, NULL)

    def __getbuffer__(self, Py_buffer* view, int flags):
        if self.copies_views and self.exports == 0 and self.payload_size < SMALL_PAYLOAD:
            self.detach()
        PyBuffer_FillInfo(view, self, self.payload_ptr, self.payload_size, 1, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer* view):
        self.exports -= 1

    def __str__(self):
        bits = f"fin={bool(self.fin)}, rsv1={bool(self.rsv1)}, rsv2={bool(self.rsv2)}, rsv3={bool(self.rsv3)}"
        return (
            f"WSFrame({_NAMES[int(self.msg_type)]}, {bits}, last_in_buffer={bool(self.last_in_buffer)}, "
            f"payload_sz={self.payload_size}, tail_sz={self.tail_size})"
        )

    def __repr__(self):
        return str(self)

    cdef bint was_kept(self):
        """Called when a callback is over and the frame is still held: a small payload leaves the read buffer if it can.

        Returns:
            Whether a view of a small payload outlived the callback, and so the whole read buffer has to.
        """
        if self.payload_size >= SMALL_PAYLOAD or PyBytes_CheckExact(self.owner):
            return False
        if self.exports > 0:
            return True
        self.detach()
        return False

    cdef int detach(self) except -1:
        """Move the payload to memory of its own; only while no view exists."""
        if PyBytes_CheckExact(self.owner):
            return 0
        cdef bytes payload = PyBytes_FromStringAndSize(self.payload_ptr, self.payload_size)
        self.owner = payload
        self.payload_ptr = PyBytes_AS_STRING(payload)
        return 0


# Keeps what OPCODES points to.
cdef tuple MEMBERS = tuple([OpcodeEnum._value2member_map_.get(opcode) for opcode in range(16)])


cdef int add_msg_type() except -1:
    cdef int opcode
    cdef WSFrame frame = WSFrame.__new__(WSFrame)
    for opcode in range(16):
        OPCODES[opcode] = <PyObject*> MEMBERS[opcode]
    return ws_add_member(WSFrame, b"msg_type", <char*> &frame._msg_type - <char*> <PyObject*> frame)


add_msg_type()
