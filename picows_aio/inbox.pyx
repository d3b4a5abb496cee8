# cython: auto_pickle=False, autotestdict=False
"""What arrives at a connection, and the bounded queue that it waits in.

The core's callback puts what arrives into the queue; when the frames of a read are all there, the task that waits is
stepped at once, inside the read callback. There is one reader at a time, and what it asks for decides what the queue
holds: messages, or the frames they came in.
"""

from time import monotonic_ns

from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t
from picows.enums cimport WSMsgType
from picows.frame cimport WSFrame
from picows_aio.assembly cimport MessageAssembler, is_whole_message
from picows_aio.awaitable cimport Operation, is_abandoned
from picows_aio.endpoint cimport CLOSED, Endpoint
from picows_aio.messages cimport OBJECT_OVERHEAD, FragmentedMessage, MessageQueue, new_frame, whole
from picows_aio.stream_queue cimport StreamQueue
from picows_aio.waiter cimport Waiter

from picows import WSProtocolError
from picows_aio.exceptions import ConcurrencyError
from picows_aio.frames import CloseCode

cdef enum:
    VIEW_COPY_SIZE = 4096   # bytes: below it a copy costs less than the read buffer that a view would hold

cdef size_t UNBOUNDED = <size_t> -1


cdef class InboxEndpoint(Endpoint):
    """The queue of a connection; base of :class:`Connection`."""

    def __cinit__(self, *args, **kwargs):
        self._queue = MessageQueue()

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
        return self._queue.count > 0 or (self._under_way() is not None and self._reader.wants_parts)

    cdef bint has_undelivered(self):
        if self._stream_queues is not None:
            return Endpoint.has_undelivered(self)
        return self._queue.count > 0 or (self._streamed is not None and self._streamed.has_part())

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
        self._reader = operation
        self.unpause()
        operation.waiter = self.park()
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


cdef class ReadOperation(Operation):
    """Takes something out of the queue, or waits until there is something."""

    cdef bint advance(self) except -1:
        cdef InboxEndpoint endpoint = self.endpoint
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
