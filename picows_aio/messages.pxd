"""From frames to messages, and the queue they wait in."""

from cpython.ref cimport PyObject


cdef struct Slot:
    PyObject* message
    size_t size          # bytes the message counts in the queue


cdef class MessageQueue:
    cdef:
        Slot* _slots
        size_t _capacity       # a power of two, or 0
        size_t _head
        readonly size_t count
        readonly size_t size   # bytes

    cdef int push(self, object message, size_t size) except -1
    cdef object pop(self)
    cdef int _grow(self) except -1


cdef class FragmentedMessage:
    cdef:
        readonly bint is_text
        readonly bint is_complete
        object _parts            # bytes; those taken by a streaming reader are gone
        size_t _received       # payload bytes, taken ones included
        size_t size            # bytes that wait
        size_t _overhead       # bytes that the fragments cost besides their payload
        size_t fragments       # received, taken ones included

    cdef int add(self, bytes part, bint is_last) except -1
    cdef bytes take(self)
    cdef bint has_part(self)
    cdef size_t parts(self)
    cdef size_t received(self)
    cdef bytes join(self)


cdef class MessageLimits:
    cdef:
        readonly object max_size       # bytes of a message, or None
        readonly object max_fragments  # count, or None: then their overhead is bounded instead

    cdef int check(self, FragmentedMessage message, size_t size) except -1
