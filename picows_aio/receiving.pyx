# cython: auto_pickle=False, autotestdict=False
"""The receiving side of a connection: a bounded queue, and the ways to take messages out of it.

The core's callback puts what arrives into the queue; when the frames of a read are all there, the task that waits is
stepped at once, inside the read callback. There is one reader at a time, and what it asks for decides what the queue
holds: messages, or the frames they came in.
"""

import codecs
import sys
from time import monotonic_ns

cimport cython
from cpython.bytes cimport PyBytes_CheckExact
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport uint64_t
from picows.enums cimport WSMsgType
from picows.frame cimport WSFrame
from picows_aio.assembly cimport MessageAssembler, is_whole_message
from picows_aio.awaitable cimport (
    Operation, Waiter, is_abandoned, make_steppable, mark_coroutine_function, may_reuse,
)
from picows_aio.endpoint cimport CLOSED, Endpoint
from picows_aio.messages cimport (
    OBJECT_OVERHEAD, FragmentedMessage, MessageQueue, frame_of, new_frame, view_of, whole,
)
from picows_aio.stream_queue cimport StreamQueue

from picows import WSProtocolError
from picows_aio.exceptions import ConcurrencyError, ConnectionClosedOK
from picows_aio.frames import CloseCode

cdef enum:
    VIEW_COPY_SIZE = 4096   # bytes: below it a copy costs less than the read buffer that a view would hold

cdef size_t UNBOUNDED = <size_t> -1


cdef class ReceivingEndpoint(Endpoint):
    """The receiving side of a connection; base of :class:`Connection`."""

    def __cinit__(self, *args, **kwargs):
        self._queue = MessageQueue()

    def recv(self, decode=None):
        """Receive the next message.

        Cancelling it loses nothing: the message stays for the next call.

        Args:
            decode: True for a str, False for bytes, whatever was sent; None for what was sent.

        Returns:
            A str for a text message, bytes for a binary one.

        Raises:
            ConnectionClosed: The connection is closed, and all that was received before was taken.
            ConcurrencyError: Another task receives, a stream is open, or a message was not taken whole from
                ``recv_streaming()`` or ``frames()``.
        """
        cdef RecvOperation operation = self._spare_recv
        if operation is None or not may_reuse(operation):
            operation = RecvOperation.__new__(RecvOperation)
        self._spare_recv = None
        operation.has_begun = False
        operation.endpoint = self
        operation.decode = decode
        return operation

    def __aiter__(self):
        if type(self).recv is not ReceivingEndpoint.recv or "recv" in getattr(self, "__dict__", ()):
            return self._iterate_overridden()
        cdef MessageIterator iterator = MessageIterator.__new__(MessageIterator)
        iterator._endpoint = self
        return iterator

    async def _iterate_overridden(self):
        """A subclass receives in its own way, or an object got another `recv`: iteration goes through that."""
        try:
            while True:
                yield await self.recv()
        except ConnectionClosedOK:
            return

    def __anext__(self):
        cdef NextOperation operation = NextOperation.__new__(NextOperation)
        operation.endpoint = self
        return operation

    async def recv_streaming(self, decode=None):
        """Receive the next message fragment by fragment, as the frames arrive.

        The message must be taken whole; once a stream was left half-way, receiving is a ConcurrencyError. Cancelling
        before the first fragment is safe.

        Args:
            decode: As for :meth:`recv`; text is decoded across the cuts between fragments.

        Yields:
            A str or bytes for each fragment.
        """
        cdef FragmentOperation operation = FragmentOperation.__new__(FragmentOperation)
        cdef FragmentedMessage message
        operation.endpoint = self
        first = await operation
        if not isinstance(first, FragmentedMessage):
            yield await self._convert(first, decode)
            return
        message = first
        is_text = message.is_text if decode is None else decode
        decoder = codecs.getincrementaldecoder("utf-8")() if is_text else None
        while True:
            if message.has_part():
                part = message.take()
                self.unpause()
                is_last = message.is_complete and not message.has_part()
                if is_last:
                    self._streamed = None
                yield part if decoder is None else await self._decode_part(decoder, part, is_last)
                if is_last:
                    return
            else:
                operation = FragmentOperation.__new__(FragmentOperation)
                operation.endpoint = self
                operation.has_begun = True
                await operation

    def frames(self, *, raw=False):
        """Iterate over data frames as they are on the wire: :class:`picows.WSFrame` objects, fragments included.

        Frames that are taken in the turn in which they arrive point into the read buffer, and nothing is copied. Each
        stays valid and unchanged for as long as it is held. Iterating counts as receiving; it ends as iteration over
        the connection does. Messages that were complete before the first frame was asked for come as one frame each.
        Once the first frame of a message was taken, the others have to be taken before any other way to receive can be
        used.

        Args:
            raw: Also where an extension such as permessage-deflate was negotiated, which then nothing undoes: from the
                first frame on the messages of this connection can only be received in this way.

        Raises:
            ValueError: An extension was negotiated.
        """
        if (self._deflate is not None or self._extensions is not None) and not raw:
            raise ValueError(
                "frames carry the payload of an extension here: pass raw=True to get it as it is, take messages by "
                "views(), or connect with compression=None"
            )
        cdef FrameIterator iterator = FrameIterator.__new__(FrameIterator)
        iterator._endpoint = self
        iterator._is_raw = raw
        return iterator

    def views(self):
        """Iterate over messages as read-only views of their bytes, text in UTF-8.

        A large message that arrived unfragmented and uncompressed is not copied. Each view stays valid and unchanged
        for as long as it is held; one of less than 4 KiB has memory of its own, so that keeping it keeps nothing else.
        Iterating counts as receiving; it ends as iteration over the connection does.
        """
        cdef ViewIterator iterator = ViewIterator.__new__(ViewIterator)
        iterator._endpoint = self
        return iterator

    def batches(self, *, max_messages=None, max_bytes=None):
        """Iterate over lists of messages: all that one read brought, at least one.

        While a task waits for a batch, ``max_queue`` does not cut reads into parts. Iterating counts as receiving; it
        ends as iteration over the connection does.

        Args:
            max_messages: Messages in a list at most; None: as many as there are.
            max_bytes: Bytes after which a list is complete; None: no bound of its own.

        Raises:
            ValueError, TypeError: A bound is no number of 1 or more.
        """
        for name, bound in (("max_messages", max_messages), ("max_bytes", max_bytes)):
            if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int)):
                raise TypeError(f"{name} must be an int or None, not {type(bound).__name__}")
            if bound is not None and not 1 <= bound <= sys.maxsize:
                raise ValueError(f"{name} must be from 1 to {sys.maxsize}, not {bound}")
        cdef BatchIterator iterator = BatchIterator.__new__(BatchIterator)
        iterator._endpoint = self
        iterator._max_messages = max_messages or UNBOUNDED
        iterator._max_bytes = max_bytes or UNBOUNDED
        return iterator

    async def _convert(self, message, decode):
        try:
            return whole(message, decode)
        except UnicodeDecodeError as exc:
            await self._fail_text(exc)

    async def _decode_part(self, decoder, part, is_last):
        try:
            return decoder.decode(part, is_last)
        except UnicodeDecodeError as exc:
            self._streamed = None
            await self._fail_text(exc)

    async def _fail_text(self, exc):
        """What was to be decoded is not text: close, as for text that is not valid UTF-8 (RFC 6455 section 8.1)."""
        if self.is_open():
            self._close_cause = exc
            self._start_close(CloseCode.INVALID_DATA, f"{exc.reason} at position {exc.start}")
        await self.wait_closed()
        raise self._closed_error()

    def deliver_now(self):
        """Take what a pause has held back, which is over but would reach until the next turn of the loop."""
        self._transport.deliver_held_back()

    def is_reading_paused(self):
        """Whether messages wait that the application does not receive, so that nothing more is read."""
        return bool(self._is_paused)

    def messages_waiting(self):
        """Messages that came and were not received yet, in streams too; of one that is received in fragments, those."""
        waiting = self._queue.count + (0 if self._streamed is None else self._streamed.parts())
        for queue in self._open_queues():
            waiting += (<StreamQueue> queue).depth()
        return waiting

    # Into the queue

    cdef int receive(self, WSFrame frame) except -1:
        """A data frame arrived."""
        # Once something was dropped all that follows is: messages would be missing in the middle, or a context of
        # deflate.
        if self._discards and (self._discarded > 0 or (self._stream_queues is None and self.is_over_bounds())):
            self._discarded += 1
            return 0
        if self._stream_queues is None and self._format == FRAMES:
            return self._enqueue(frame, frame.payload_size)
        if not is_whole_message(frame) or self._extensions is not None or self._under_way() is not None:
            return self._receive_part(frame)
        if self._format == VIEWS and self._stream_queues is None:
            if frame.payload_size >= VIEW_COPY_SIZE:
                return self._enqueue(frame, frame.payload_size)
            if frame.msg_type == WSMsgType.TEXT:
                frame.detach()
                return self._enqueue(frame, frame.payload_size)
        if frame.msg_type == WSMsgType.TEXT:
            message = frame.get_payload_as_utf8_text()
        else:
            message = frame.get_payload_as_bytes()
        if self._stream_queues is not None:
            return self.offer_to_streams(message, frame.payload_size)
        self._queue.push(message, frame.payload_size)
        if self._queue.count <= self._high and self._queue.size <= self._high_bytes and self._streamed is None:
            return 0
        return self.check_bounds()

    cdef FragmentedMessage _under_way(self):
        """The message of which not all frames came, or None."""
        return None if self._assembler is None else self._assembler.current

    cdef int _receive_part(self, WSFrame frame) except -1:
        """A frame that is not simply a message."""
        if self._assembler is None:
            self._assembler = MessageAssembler(
                self.protocol.max_size, self.protocol.max_fragments, self._deflate, self._extensions
            )
        try:
            message = self._assembler.add(frame)
        except WSProtocolError as exc:
            self.on_read_end(self._transport)   # messages that came before the violation can still be answered
            self._transport.fail(exc)
            return 0
        if message is None or message is self._streamed:
            return self.check_bounds()
        return self._enqueue(message, self._assembler.completed_size)

    cdef int _enqueue(self, object message, size_t size) except -1:
        if self._stream_queues is not None:
            return self.offer_to_streams(message, size)
        self._queue.push(message, size)
        return self.check_bounds()

    cdef bint is_over_bounds(self):
        """Above the high mark parsing stops before the next frame, and the unparsed rest waits."""
        cdef size_t waiting
        cdef FragmentedMessage under_way
        if self._stream_queues is not None:
            return Endpoint.is_over_bounds(self)
        if self._reader is not None and self._reader.gathers:
            return self._reader.is_full()
        waiting = self._waiting_cost()
        if self._streamed is None and self._reader is None:
            under_way = self._under_way()   # a reader waits for the end of it
            if under_way is not None:
                waiting += under_way.cost()
        return waiting > self._high_bytes or self._is_count_above(self._high)

    cdef bint is_crowded(self):
        if self._stream_queues is not None:
            return Endpoint.is_crowded(self)
        return self._waiting_cost() > self._high_bytes // 4 or self._is_count_above(self._low)

    cdef size_t _waiting_cost(self):
        """Bytes of memory that what can be received holds."""
        cdef size_t cost = self._queue.size + self._queue.overhead
        if self._is_ending:
            cost += self._queue.count * OBJECT_OVERHEAD   # their number is not bounded then
        if self._streamed is not None:
            cost += self._streamed.cost()
        return cost

    cdef bint _is_count_above(self, size_t mark):
        """Whether more messages wait, or fragments of one that is streamed."""
        if self._is_ending:
            return False
        return self._queue.count > mark or (self._streamed is not None and self._streamed.parts() > mark)

    cdef uint64_t taken(self):
        cdef uint64_t count = self._queue.first
        if self._stream_queues is not None:
            return Endpoint.taken(self)
        if self._streamed is not None:
            count += self._streamed.fragments - self._streamed.parts()
        return count

    cdef int wake_reader(self) except -1:
        """All frames of a read are in the queue, or as many as fit: step who waits."""
        if self._reader is not None and (self._has_input() or self._state == CLOSED):
            self._reader.notify()
        return 0

    cdef bint _has_input(self):
        """Whether the parked reader would find something."""
        if self._streamed is not None:
            return self._streamed.has_part()
        return self._queue.count > 0 or (self._under_way() is not None and isinstance(self._reader, FragmentOperation))

    # Out of the queue

    cdef int _begin_read(self, Format format, str what) except -1:
        """One reader at a time; `what` is about to receive."""
        if self._reader is not None and is_abandoned(<PyObject*> self._reader, 1 + self._reader.is_shared):
            self._reader = None
        if self._reader is not None:
            raise ConcurrencyError(
                f"cannot call {what} while another coroutine is already running recv or recv_streaming: "
                f"{self._reader.who()} waits"
            )
        if self._streamed is not None:
            raise ConcurrencyError(
                f"cannot call {what}: the message of an earlier recv_streaming was not taken whole"
            )
        if self._stream_queues is not None:
            raise ConcurrencyError(f"messages go to the streams {self._names()}: receive from these, or close them")
        if format != self._format:
            self._set_format(format)
        return 0

    cdef int _set_format(self, Format format) except -1:
        """Another kind of reader: what waits already is converted when it is taken, but for parts of messages."""
        cdef FragmentedMessage message = self._under_way()
        cdef MessageQueue waiting
        if self._format == FRAMES:
            if self._is_raw:
                raise ConcurrencyError(
                    "frames(raw=True) has taken frames of an extension: messages cannot be put together any more"
                )
            if self._has_taken_half and not (self._state == CLOSED and self._queue.count == 0):
                raise ConcurrencyError("frames() has taken a part of a message: take its other frames first")
            self._has_taken_half = False   # also when the connection ended in the middle
            waiting = self._queue
            self._queue = MessageQueue()
            self._format = format
            while waiting.count > 0:
                size = waiting.oldest_size()
                self._requeue(waiting.pop(), size)
            return 0
        if format == FRAMES and message is not None:
            if self._deflate is not None or self._extensions is not None:
                raise ConcurrencyError(
                    "part of a message has been decoded already: receive that before frames(raw=True)"
                )
            opcode = WSMsgType.TEXT if message.is_text else WSMsgType.BINARY
            while message.has_part():
                part = message.take()
                self._queue.push(new_frame(opcode, part, False), len(part))
                opcode = WSMsgType.CONTINUATION
            self._assembler.current = None
        self._format = format
        return 0

    def _requeue(self, item, size):
        """What waited in the queue of frames, for the queue of messages."""
        if isinstance(item, WSFrame) and not is_whole_message(item):
            self._receive_part(item)
        else:
            self._queue.push(item, size)

    cdef int _deliver_held_back(self) except -1:
        """Nothing waits: what came with an earlier read and was not parsed may go on."""
        if self._is_paused:
            self.unpause()
        if self._transport is not None:
            self._transport.deliver_held_back()
        return 0

    cdef int _park(self, ReadOperation operation) except -1:
        """The operation waits for input."""
        if self._transport is not None:
            self._transport.flush()
        self._reader = operation
        self.unpause()
        operation.waiter = Waiter.create(self._loop)
        return 0

    cdef object _take(self):
        """The oldest message; only while there is one."""
        message = self._queue.pop()
        if self._is_paused:
            self.unpause()
        return message

    # For streams

    cdef int may_open_stream(self) except -1:
        return 0 if self._stream_queues is not None else self._begin_read(MESSAGES, "stream")

    cdef int replay_into(self, StreamQueue queue) except -1:
        cdef size_t size
        while self._queue.count > 0 and not queue.is_shut:
            size = self._queue.oldest_size()
            queue.offer(whole(self._queue.pop(), None), size, self._now or monotonic_ns(), False)
        return 0


# Operations


cdef class ReadOperation(Operation):
    """Takes something out of the queue, or waits until there is something."""

    cdef bint advance(self) except -1:
        cdef ReceivingEndpoint endpoint = self.endpoint
        if endpoint is None:
            raise TypeError("made by the methods of a connection only")
        if self.has_begun:
            endpoint._reader = None
        else:
            endpoint._begin_read(self.format(), self.what())
            self.has_begun = True
        if endpoint._queue.count == 0:
            endpoint._deliver_held_back()
        if endpoint._queue.count > 0:
            return self.take()
        if endpoint._state == CLOSED:
            self.at_end()
        endpoint._park(self)
        return False

    cdef Format format(self):
        return MESSAGES

    cdef str what(self):
        """What it is, for errors."""
        return "recv or recv_streaming"

    cdef bint take(self) except -1:
        """There is something: True with `value` set, or False where a coroutine has to do the rest."""
        raise NotImplementedError

    cdef int at_end(self) except -1:
        """There will be nothing more: raises."""
        raise self.endpoint._closed_error()

    cdef bint is_full(self):
        return False

    cdef int notify(self) except -1:
        """There is something."""
        cdef Waiter waiter = self.waiter
        if waiter is not None:
            waiter.wake()
        return 0

    cdef object who(self):
        """Who waits, for errors."""
        task = self.waiter.waiting_task() if self.waiter is not None else None
        return task.get_name() if hasattr(task, "get_name") else "another coroutine"

    cdef int abandon(self) except -1:
        if self.endpoint._reader is self:
            self.endpoint._reader = None
        return 0


@cython.final
cdef class RecvOperation(ReadOperation):

    cdef bint take(self) except -1:
        cdef ReceivingEndpoint endpoint = self.endpoint
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
        cdef ReceivingEndpoint endpoint = self.endpoint
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
        cdef ReceivingEndpoint endpoint = self.endpoint
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
        cdef ReceivingEndpoint endpoint = self.endpoint
        cdef MessageQueue queue = endpoint._queue
        cdef list batch = []
        cdef size_t size = 0
        if endpoint._is_paused and not self.is_full():
            self._fetch_held_back()
        while queue.count > 0 and <size_t> len(batch) < self.max_messages and size < self.max_bytes:
            size += queue.oldest_size()
            message = queue.pop()
            batch.append(whole(message, None) if isinstance(message, (FragmentedMessage, WSFrame)) else message)
        if endpoint._is_paused:
            endpoint.unpause()
        self.value = batch
        return True

    def _fetch_held_back(self):
        """What came with the same read belongs to the batch."""
        cdef ReceivingEndpoint endpoint = self.endpoint
        endpoint._is_paused = False
        endpoint._transport.resume_reading()
        endpoint._reader = self
        try:
            endpoint._transport.deliver_held_back()
        finally:
            endpoint._reader = None

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
        cdef ReceivingEndpoint endpoint = self.endpoint
        if endpoint is None:
            raise TypeError("made by the methods of a connection only")
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


mark_coroutine_function(ReceivingEndpoint.recv)
make_steppable(RecvOperation)
make_steppable(NextOperation)
make_steppable(FragmentOperation)
make_steppable(FrameOperation)
make_steppable(ViewOperation)
make_steppable(BatchOperation)
