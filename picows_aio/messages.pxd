"""The queue that messages wait in, and messages of several frames."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t
from picows.enums cimport WSMsgType
from picows.frame cimport WSFrame


cdef enum:
    OBJECT_OVERHEAD = 64   # bytes that a message or a fragment costs besides its payload: an object and its place


cdef struct Slot:
    PyObject* message
    PyObject* key        # NULL, or what `replace` is looked up by
    size_t size          # bytes the message counts in the queue
    int64_t arrived      # nanoseconds, as `stamp` was


cdef class MessageQueue:
    cdef:
        Slot* _slots
        size_t _capacity       # a power of two, or 0
        size_t _head
        readonly size_t count
        readonly size_t size   # bytes
        size_t overhead        # bytes that the fragments of messages cost besides
        uint64_t first         # position of the oldest message: messages are numbered in the order of arrival
        int64_t stamp          # nanoseconds: when what is pushed next arrived; 0 where nobody asks

    cdef int push(self, object message, size_t size) except -1
    cdef int push_keyed(self, object message, size_t size, object key) except -1
    cdef size_t replace(self, uint64_t position, object message, size_t size) except? 0
    cdef object pop(self)
    cdef object oldest_key(self)
    cdef size_t oldest_size(self)
    cdef int64_t oldest_arrival(self)
    cdef void _drop_oldest(self) noexcept
    cdef Slot* _next_slot(self) except NULL
    cdef int _grow(self) except -1


cdef class FragmentedMessage:
    cdef:
        readonly bint is_text
        readonly bint is_complete
        object _parts            # bytes; those taken by a streaming reader are gone
        size_t _received       # payload bytes, taken ones included
        size_t size            # bytes that wait
        size_t overhead        # bytes that these fragments cost besides their payload
        size_t fragments       # received, taken ones included

    cdef int add(self, bytes part, bint is_last) except -1
    cdef bytes take(self)
    cdef bint has_part(self)
    cdef size_t parts(self)
    cdef size_t received(self)
    cdef size_t cost(self)
    cdef bytes join(self)


cdef class MessageLimits:
    cdef:
        readonly object max_size       # bytes of a message, or None
        readonly object max_fragments  # count, or None: then their overhead is bounded instead

    cdef int check(self, FragmentedMessage message, size_t size) except -1


cdef object whole(object message, object decode)
cdef object view_of(object message)
cdef WSFrame frame_of(object message)
cdef WSFrame new_frame(WSMsgType opcode, bytes payload, bint fin)
