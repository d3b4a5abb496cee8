# cython: auto_pickle=False, autotestdict=False
"""From frames to messages, and the queue they wait in."""

from collections import deque

cimport cython
from cpython.ref cimport PyObject, Py_INCREF, Py_XDECREF
from libc.stdlib cimport free, malloc
from picows.enums cimport WSCloseCode

from picows import WSProtocolError
from picows_aio.exceptions import PayloadTooBig, TooManyFragments

cdef enum:
    FIRST_CAPACITY = 16
    FRAGMENT_OVERHEAD = 64   # bytes that a fragment costs besides its payload: an object and its place in a list
    # times the message limit: honest streams of small fragments pass, floods of empty ones do not
    OVERHEAD_FACTOR = 4
    LEAST_BUDGET = 65536     # bytes that fragments may cost where the message limit is small


@cython.final
cdef class MessageQueue:
    """A ring of messages that knows how many bytes wait in it."""

    def __dealloc__(self):
        while self.count > 0:
            Py_XDECREF(self._slots[self._head].message)
            self._head = (self._head + 1) & (self._capacity - 1)
            self.count -= 1
        free(self._slots)

    def __len__(self):
        return self.count

    cdef int push(self, object message, size_t size) except -1:
        cdef Slot* slot
        if self.count == self._capacity:
            self._grow()
        slot = &self._slots[(self._head + self.count) & (self._capacity - 1)]
        Py_INCREF(message)
        slot.message = <PyObject*> message
        slot.size = size
        self.count += 1
        self.size += size
        return 0

    cdef object pop(self):
        """The oldest message; only while there is one."""
        cdef Slot* slot = &self._slots[self._head]
        cdef object message = <object> slot.message
        self._head = (self._head + 1) & (self._capacity - 1)
        self.count -= 1
        self.size -= slot.size
        Py_XDECREF(slot.message)
        return message

    cdef int _grow(self) except -1:
        cdef size_t capacity = FIRST_CAPACITY if self._capacity == 0 else self._capacity * 2
        cdef Slot* slots = <Slot*> malloc(capacity * sizeof(Slot))
        cdef size_t i
        if slots == NULL:
            raise MemoryError(f"cannot queue more than {self.count} messages")
        for i in range(self.count):
            slots[i] = self._slots[(self._head + i) & (self._capacity - 1)]
        free(self._slots)
        self._slots = slots
        self._capacity = capacity
        self._head = 0
        return 0


@cython.final
cdef class FragmentedMessage:
    """A message that came, or still comes, in several frames (RFC 6455 section 5.4), as bytes."""

    def __init__(self, bint is_text):
        self.is_text = is_text
        self._parts = deque()

    cdef int add(self, bytes part, bint is_last) except -1:
        self._parts.append(part)
        self.size += len(part)
        self._received += len(part)
        self._overhead += FRAGMENT_OVERHEAD
        self.fragments += 1
        self.is_complete = is_last
        return 0

    cdef bint has_part(self):
        return len(self._parts) > 0

    cdef size_t parts(self):
        """Fragments that wait."""
        return len(self._parts)

    cdef size_t received(self):
        """Payload bytes so far, those taken already included."""
        return self._received

    cdef bytes take(self):
        """The oldest fragment that was not taken; only while there is one."""
        cdef bytes part = self._parts.popleft()
        self.size -= len(part)
        self._overhead -= FRAGMENT_OVERHEAD
        return part

    cdef bytes join(self):
        """All that was not taken, in one piece."""
        cdef bytes message = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return message


@cython.final
cdef class MessageLimits:
    """Bounds on one message; a violation is a WSProtocolError with close code 1009."""

    def __init__(self, max_size, max_fragments):
        self.max_size = max_size
        self.max_fragments = max_fragments

    cdef int check(self, FragmentedMessage message, size_t size) except -1:
        """Whether a fragment of `size` bytes may be added."""
        cdef size_t limit, budget
        if self.max_fragments is not None and message.fragments >= <size_t> self.max_fragments:
            error = TooManyFragments(self.max_fragments)
            raise WSProtocolError(WSCloseCode.MESSAGE_TOO_BIG, str(error)) from error
        if self.max_size is None:
            return 0
        limit = self.max_size
        if message._received + size > limit:
            error = PayloadTooBig(size, limit - message._received, message._received or None)
            raise WSProtocolError(WSCloseCode.MESSAGE_TOO_BIG, str(error)) from error
        budget = max(OVERHEAD_FACTOR * limit, <size_t> LEAST_BUDGET)
        if message.size + message._overhead + size + FRAGMENT_OVERHEAD > budget:
            raise WSProtocolError(
                WSCloseCode.MESSAGE_TOO_BIG,
                f"{message.fragments} fragments of {message._received} bytes cost more memory than a message of "
                f"{limit} bytes may",
            ) from TooManyFragments(message.fragments)
        return 0
