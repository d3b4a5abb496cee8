"""The closing handshake: codes and reasons on the wire (RFC 6455 sections 5.5.1 and 7.4)."""

from libc.stdint cimport uint8_t

from picows.enums cimport WSCloseCode


cdef class WSCloseInfo:
    cdef:
        readonly WSCloseCode code
        readonly str reason


cdef class WSCloseHandshake:
    cdef:
        readonly WSCloseInfo recv
        readonly WSCloseInfo sent
        readonly bint recv_then_sent


cdef bytes close_payload(int code, message)
cdef bytes close_payload_from(message)
cdef WSCloseInfo close_info(const uint8_t* payload, size_t size)
cdef object violation(int status, size_t payload_size, size_t limit)
