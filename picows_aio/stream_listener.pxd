"""Streams over the callback core."""

from picows.frame cimport WSFrame
from picows_aio.assembly cimport MessageAssembler
from picows_aio.messages cimport MessageQueue
from picows_aio.streaming cimport StreamSource


cdef class StreamListener(StreamSource):
    cdef:
        MessageAssembler _assembler
        MessageQueue _held         # what came while no stream was open: one message
        size_t _max_size   # bytes of a message

    cdef int _receive(self, WSFrame frame) except -1
    cdef int _accept(self, object message, size_t size) except -1
