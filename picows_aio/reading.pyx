# cython: auto_pickle=False, autotestdict=False
"""The ways to take something out of a connection's queue, as awaitables and iterators."""

cimport cython
from cpython.bytes cimport PyBytes_CheckExact
from cpython.unicode cimport PyUnicode_CheckExact
from picows.frame cimport WSFrame
from picows_aio.awaitable cimport make_steppable, may_reuse
from picows_aio.endpoint cimport CLOSED
from picows_aio.inbox cimport FRAMES, MESSAGES, VIEWS, Format, InboxEndpoint, ReadOperation
from picows_aio.messages cimport FragmentedMessage, MessageQueue, frame_of, view_of, whole

from picows_aio.exceptions import ConnectionClosedOK


@cython.final
cdef class RecvOperation(ReadOperation):

    cdef bint take(self) except -1:
        cdef InboxEndpoint endpoint = self.endpoint
        cdef object message = endpoint._take()
        if self.decode is None and (PyBytes_CheckExact(message) or PyUnicode_CheckExact(message)):
            endpoint._spare_recv = self
            self.endpoint = None
            self.value = message
            return True
        self.value = message
        return self._convert()

    def _convert(self):
        try:
            self.value = whole(self.value, self.decode)
            return True
        except UnicodeDecodeError as exc:
            self.value = None
            self.delegate(self.endpoint._fail_text(exc))
            return False

    cdef str qualname(self):
        return "Connection.recv"


cdef class NextOperation(ReadOperation):
    """For iteration, which ends quietly when the connection was closed normally."""

    cdef bint take(self) except -1:
        cdef InboxEndpoint endpoint = self.endpoint
        cdef object message = endpoint._take()
        if PyBytes_CheckExact(message) or PyUnicode_CheckExact(message):
            self.value = message
        else:
            self.value = whole(message, None)
        return True

    cdef int at_end(self) except -1:
        error = self.endpoint._closed_error()
        if isinstance(error, ConnectionClosedOK):
            raise StopAsyncIteration
        raise error

    cdef str qualname(self):
        return "Connection.__anext__"


@cython.final
cdef class FrameOperation(NextOperation):

    cdef Format format(self):
        return FRAMES

    cdef bint take(self) except -1:
        cdef InboxEndpoint endpoint = self.endpoint
        cdef WSFrame frame = frame_of(endpoint._take())
        endpoint._has_taken_half = not frame.fin
        if self.is_raw and (endpoint._deflate is not None or endpoint._extensions is not None):
            endpoint._is_raw = True
        self.value = frame
        return True

    cdef str what(self):
        return "frames"

    cdef str qualname(self):
        return "Connection.frames"


@cython.final
cdef class ViewOperation(NextOperation):

    cdef Format format(self):
        return VIEWS

    cdef bint take(self) except -1:
        self.value = view_of(self.endpoint._take())
        return True

    cdef str what(self):
        return "views"

    cdef str qualname(self):
        return "Connection.views"


@cython.final
cdef class BatchOperation(NextOperation):

    cdef bint take(self) except -1:
        cdef InboxEndpoint endpoint = self.endpoint
        cdef MessageQueue queue = endpoint._queue
        cdef list batch = []
        cdef size_t size = 0
        if not self.is_full():
            self._fetch_held_back()
        while queue.count > 0 and <size_t> len(batch) < self.max_messages and size < self.max_bytes:
            size += queue.oldest_size()
            message = queue.pop()
            batch.append(whole(message, None) if isinstance(message, (FragmentedMessage, WSFrame)) else message)
        if endpoint._is_paused:
            endpoint.unpause()
        self.value = batch
        return True

    cdef int _fetch_held_back(self) except -1:
        """What came with the same read belongs to the batch, also when a pause that held it back is just over."""
        cdef InboxEndpoint endpoint = self.endpoint
        if endpoint._is_paused:
            endpoint._is_paused = False
            endpoint._transport.resume_reading()
        endpoint._reader = self
        try:
            endpoint._transport.deliver_held_back()
        finally:
            endpoint._reader = None
        return 0

    cdef bint is_full(self):
        cdef MessageQueue queue = self.endpoint._queue
        return (
            queue.count >= self.max_messages
            or queue.size >= self.max_bytes
            or queue.size + queue.overhead > self.endpoint._high_bytes
        )

    cdef str what(self):
        return "batches"

    cdef str qualname(self):
        return "Connection.batches"


@cython.final
cdef class FragmentOperation(ReadOperation):
    """Waits for a message to receive in fragments, or, begun already, for the next fragment of it."""

    cdef bint advance(self) except -1:
        cdef InboxEndpoint endpoint = self.endpoint
        if endpoint is None:
            raise TypeError("made by the methods of a connection only")
        self.wants_parts = True
        if self.has_begun:
            endpoint._reader = None
        else:
            endpoint._begin_read(MESSAGES, self.what())
            self.has_begun = True
        if endpoint._queue.count == 0:
            endpoint._deliver_held_back()
        if endpoint._streamed is not None:
            if endpoint._streamed.has_part():
                return True
        elif endpoint._queue.count > 0:
            self.value = endpoint._take()
            if isinstance(self.value, FragmentedMessage):
                endpoint._streamed = self.value
            return True
        elif endpoint._under_way() is not None:
            self.value = endpoint._streamed = endpoint._assembler.current
            return True
        if endpoint._state == CLOSED:
            endpoint._streamed = None   # the rest of it will not come
            if endpoint._assembler is not None:
                endpoint._assembler.current = None
            self.at_end()
        endpoint._park(self)
        return False

    cdef str qualname(self):
        return "Connection.recv_streaming"


cdef class MessageIterator:
    """Receives from a connection until it ends; made by a connection."""

    def __dealloc__(self):
        if self._operation is not None:
            self._operation.is_shared = False

    def __aiter__(self):
        return self

    def __anext__(self):
        cdef ReadOperation operation = self._operation
        if operation is None or not may_reuse(operation):
            operation = self.new_operation()
            operation.endpoint = self._endpoint
            operation.is_shared = True
            self._operation = operation
        operation.has_begun = False
        return operation

    cdef ReadOperation new_operation(self):
        """The operation that takes the next item."""
        return NextOperation.__new__(NextOperation)


@cython.final
cdef class FrameIterator(MessageIterator):

    cdef ReadOperation new_operation(self):
        cdef FrameOperation operation = FrameOperation.__new__(FrameOperation)
        operation.is_raw = self._is_raw
        return operation


@cython.final
cdef class ViewIterator(MessageIterator):

    cdef ReadOperation new_operation(self):
        return ViewOperation.__new__(ViewOperation)


@cython.final
cdef class BatchIterator(MessageIterator):

    cdef ReadOperation new_operation(self):
        cdef BatchOperation operation = BatchOperation.__new__(BatchOperation)
        operation.gathers = True
        operation.max_messages = self._max_messages
        operation.max_bytes = self._max_bytes
        return operation


make_steppable(RecvOperation)
make_steppable(NextOperation)
make_steppable(FragmentOperation)
make_steppable(FrameOperation)
make_steppable(ViewOperation)
make_steppable(BatchOperation)
