"""Streams over the callback core."""

from picows.frame cimport WSFrame
from picows_aio.assembly cimport MessageAssembler
from picows_aio.streaming cimport StreamSource


cdef class StreamListener(StreamSource):
    cdef:
        MessageAssembler _assembler
        size_t _max_size   # bytes of a message

    cdef int _receive(self, WSFrame frame) except -1
