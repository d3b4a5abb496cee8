# cython: auto_pickle=False, autotestdict=False
"""The queue that messages wait in, and messages of several frames."""

from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport PyObject, Py_INCREF, Py_XDECREF
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from picows.enums cimport WSCloseCode, WSMsgType
from picows.frame cimport WSFrame, set_opcode

from picows import WSProtocolError
from picows_aio.exceptions import PayloadTooBig, TooManyFragments

cdef enum:
    FIRST_CAPACITY = 4
    # times the message limit: 65,536 fragments always pass with a limit of 1 MiB, floods of empty ones do not
    OVERHEAD_FACTOR = 5
    LEAST_BUDGET = 65536     # bytes that fragments may cost where the message limit is small


@cython.final
cdef class MessageQueue:
    """A ring of messages that knows how many bytes wait in it."""

    def __dealloc__(self):
        while self.count > 0:
            self._drop_oldest()
        free(self._slots)

    def __len__(self):
        return self.count

    cdef int push(self, object message, size_t size) except -1:
        cdef Slot* slot = self._next_slot()
        Py_INCREF(message)
        slot.message = <PyObject*> message
        slot.key = NULL
        slot.size = size
        slot.arrived = self.stamp
        self.count += 1
        self.size += size
        if type(message) is FragmentedMessage:
            self.overhead += (<FragmentedMessage> message).overhead
        return 0

    cdef int push_keyed(self, object message, size_t size, object key) except -1:
        """The same for a message that a newer one with an equal key may replace; its position is `first + count - 1`.
        """
        self.push(message, size)
        Py_INCREF(key)
        self._slots[(self._head + self.count - 1) & (self._capacity - 1)].key = <PyObject*> key
        return 0

    cdef size_t replace(self, uint64_t position, object message, size_t size) except? 0:
        """Put a message in the place of one that still waits, whose size is returned."""
        cdef Slot* slot = &self._slots[(self._head + <size_t> (position - self.first)) & (self._capacity - 1)]
        cdef PyObject* replaced = slot.message
        cdef size_t replaced_size = slot.size
        Py_INCREF(message)
        slot.message = <PyObject*> message
        slot.size = size
        slot.arrived = self.stamp
        self.size += size - replaced_size
        Py_XDECREF(replaced)
        return replaced_size

    cdef object pop(self):
        """The oldest message; only while there is one."""
        cdef object message = <object> self._slots[self._head].message
        self._drop_oldest()
        return message

    cdef object oldest_key(self):
        """Key of the oldest message, which has one."""
        return <object> self._slots[self._head].key

    cdef size_t oldest_size(self):
        """Bytes of the oldest message; only while there is one."""
        return self._slots[self._head].size

    cdef int64_t oldest_arrival(self):
        """When what waits longest arrived; only while something waits. What replaced another kept only its place."""
        cdef int64_t arrived = self._slots[self._head].arrived
        cdef size_t i
        if self._slots[self._head].key != NULL:
            for i in range(1, self.count):
                arrived = min(arrived, self._slots[(self._head + i) & (self._capacity - 1)].arrived)
        return arrived

    cdef void _drop_oldest(self) noexcept:
        cdef Slot slot = self._slots[self._head]
        self._head = (self._head + 1) & (self._capacity - 1)
        self.count -= 1
        self.first += 1
        self.size -= slot.size
        if type(<object> slot.message) is FragmentedMessage:
            self.overhead -= (<FragmentedMessage> slot.message).overhead
        Py_XDECREF(slot.key)
        Py_XDECREF(slot.message)

    cdef Slot* _next_slot(self) except NULL:
        if self.count == self._capacity:
            self._grow()
        return &self._slots[(self._head + self.count) & (self._capacity - 1)]

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
        self.overhead += OBJECT_OVERHEAD
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

    cdef size_t cost(self):
        """Bytes of memory that wait, counted generously: an empty fragment is no object of its own."""
        return self.size + self.overhead

    cdef bytes take(self):
        """The oldest fragment that was not taken; only while there is one."""
        cdef bytes part = self._parts.popleft()
        self.size -= len(part)
        self.overhead -= OBJECT_OVERHEAD
        return part

    cdef bytes join(self):
        """All that was not taken, in one piece."""
        cdef bytes message = b"".join(self._parts)
        self._parts.clear()
        self.size = self.overhead = 0
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
        if message.cost() + size + OBJECT_OVERHEAD > budget:
            raise WSProtocolError(
                WSCloseCode.MESSAGE_TOO_BIG,
                f"{message.fragments} fragments of {message._received} bytes cost more memory than a message of "
                f"{limit} bytes may",
            ) from TooManyFragments(message.fragments)
        return 0


cdef object whole(object message, object decode):
    """A message from the queue as a str or bytes: what was sent, or what `decode` asks for.

    Raises:
        UnicodeDecodeError: It is binary and no text, but `decode` is True.
    """
    cdef FragmentedMessage fragmented
    cdef WSFrame frame
    if isinstance(message, FragmentedMessage):
        fragmented = message
        message = fragmented.join()
        return message.decode() if (fragmented.is_text if decode is None else decode) else message
    if isinstance(message, WSFrame):
        frame = message
        if frame.msg_type == WSMsgType.TEXT if decode is None else decode:
            return frame.get_payload_as_utf8_text()
        return frame.get_payload_as_bytes()
    if decode is None:
        return message
    if isinstance(message, str):
        return message if decode else message.encode()
    return message.decode() if decode else message


cdef object view_of(object message):
    """A message from the queue as a read-only view of its bytes."""
    if isinstance(message, FragmentedMessage):
        return memoryview((<FragmentedMessage> message).join())
    if isinstance(message, str):
        return memoryview((<str> message).encode())
    return memoryview(message)


cdef WSFrame frame_of(object message):
    """A message from the queue as a frame: the one it came in, or one that has the same payload."""
    cdef bint is_text
    if isinstance(message, WSFrame):
        return message
    if isinstance(message, FragmentedMessage):
        is_text = (<FragmentedMessage> message).is_text
        message = (<FragmentedMessage> message).join()
    else:
        is_text = isinstance(message, str)
        message = message.encode() if is_text else message
    return new_frame(WSMsgType.TEXT if is_text else WSMsgType.BINARY, message, True)


cdef WSFrame new_frame(WSMsgType opcode, bytes payload, bint fin):
    cdef WSFrame frame = WSFrame.__new__(WSFrame)
    frame.owner = payload
    frame.payload_ptr = PyBytes_AS_STRING(payload)
    frame.payload_size = PyBytes_GET_SIZE(payload)
    set_opcode(frame, opcode)
    frame.fin = fin
    frame.last_in_buffer = True
    return frame
