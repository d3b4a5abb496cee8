"""Frames as listeners see them."""

from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t

from picows.enums cimport WSCloseCode, WSMsgType


cdef class WSFrame:
    cdef:
        # unmasked payload; valid while the frame is held, or until the callback returns
        char* payload_ptr
        readonly Py_ssize_t payload_size  # bytes
        readonly Py_ssize_t tail_size    # bytes behind this frame in the same read
        WSMsgType msg_type               # for C; set by `set_opcode`, with the next
        PyObject* _msg_type              # what Python sees as `msg_type`: borrowed from OPCODES, where it stays
        readonly bint fin
        readonly bint rsv1
        readonly bint rsv2
        readonly bint rsv3
        readonly bint last_in_buffer
        object owner                     # keeps payload_ptr alive: a ReadBuffer, or bytes that are the payload
        Py_ssize_t exports               # views that exist now
        bint copies_views                # small views get memory of their own
        WSFrame next_kept                # for the parser's list of frames that outlived their callbacks

    cpdef bytes get_payload_as_bytes(self)
    cpdef str get_payload_as_utf8_text(self)
    cpdef str get_payload_as_utf8(self)
    cpdef str get_payload_as_ascii_text(self)
    cpdef object get_payload_as_memoryview(self)
    cpdef WSCloseCode get_close_code(self)
    cpdef bytes get_close_message(self)
    cpdef str get_close_reason(self)
    cdef bint was_kept(self)
    cdef int detach(self) except -1


cdef PyObject* OPCODES[16]   # the members of WSMsgType, None where there is none; a tuple of the module owns them


cdef inline void set_opcode(WSFrame frame, int opcode) noexcept:
    frame.msg_type = <WSMsgType> opcode
    frame._msg_type = OPCODES[opcode]
