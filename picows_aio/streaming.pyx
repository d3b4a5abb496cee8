# cython: auto_pickle=False, autotestdict=False
"""Streams: consumers of one connection, each with a queue of its own and a policy for when that is full.

A source puts each message into the queues of all its streams, in the read callback; at the end of the read the tasks
that wait are stepped. A `StreamQueue` knows nothing of the connection, and a source holds only queues: a `Stream` that
is dropped without `aclose()` gives its place up.
"""

import warnings
from time import monotonic_ns

from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t
from picows.listener cimport WSListener
from picows_aio.awaitable cimport Operation, is_abandoned, make_steppable, mark_coroutine_function
from picows_aio.messages cimport whole
from picows_aio.stream_queue cimport StreamQueue
from picows_aio.waiter cimport Waiter

from picows_aio.exceptions import ConcurrencyError, ConnectionClosedOK
from picows_aio.stream_queue import check_stream_settings, stats_of

_PATIENCE = 0.5   # seconds that a full connection which is being closed waits for somebody to receive
_PATIENCE_WITH_READER = 2.0   # the same when somebody did


cdef class StreamSource(WSListener):
    """A connection whose messages can go to streams."""

    def stream(
        self, *, maxsize=1024, max_bytes=2**24, overflow="block", key=None, filter=None, name=None, replay=False
    ):
        """Open a stream: an asynchronous iterator over all messages from now on, with a bounded queue of its own.

        While a stream is open messages go to streams only, to each of them. Open it with ``async with``, or close it
        with :meth:`picows_aio.Stream.aclose`.

        Args:
            maxsize: Messages that may wait.
            max_bytes: Bytes that may wait; a single message may be larger.
            overflow: What happens when there is no room. ``"block"``: reading pauses, and with it the other streams,
                until a quarter is left. ``"drop_oldest"``, ``"drop_newest"``: a message is dropped.
                ``"latest"``: only the newest message of each ``key`` waits, and a new key that finds no room drops the
                oldest one. ``"close"``: the connection is closed, by a client with code 1008, by a server with 1013.
            key: For ``"latest"``: called with each message for what it is about; None: all are about the same.
            filter: Called with each message; those for which the result is false do not enter the stream.
            name: For logs, errors and statistics.
            replay: Begin with the messages that wait for ``recv()``.

        Raises:
            ValueError, TypeError: An argument is wrong.
            ConcurrencyError: A task waits in ``recv()``, or a message is being taken fragment by fragment.
            ConnectionClosed: The connection is closed.
        """
        check_stream_settings(maxsize, max_bytes, overflow, key, filter, name)
        self.may_open_stream()
        if self.is_gone() and not replay:
            raise self._closed_error()
        self._streams_made += 1
        cdef StreamQueue queue = StreamQueue(
            f"stream-{self._streams_made}" if name is None else name, overflow, maxsize, max_bytes, key, filter
        )
        queue.is_ending = self._is_ending
        if replay:
            self.replay_into(queue)
        if self.is_gone():
            queue.shut(None)
        else:
            # A list that is being iterated over is never changed: `key`, `filter` and consumers may open and close
            # streams.
            self._stream_queues = [*(self._stream_queues or ()), queue]
            self.stream_opened(queue)
            self._after_offers(queue)
            self._streams_changed()
        return Stream.__new__(Stream, queue, self)

    def _streams_changed(self):
        """What is full may be another queue than before."""
        if self._is_paused:
            self.unpause()
        self.check_bounds()

    def _closed_error(self):
        """The exception for who waits for messages of a connection that is gone."""
        raise NotImplementedError

    def stream_stats(self):
        """The :class:`picows_aio.StreamStats` of the streams that are not closed, also when the connection is."""
        return tuple(stats_of(queue) for queue in self._open_queues())

    def stream_totals(self):
        """Messages received, delivered, dropped and filtered by all streams there ever were, by their policy."""
        totals = {policy: list(counts) for policy, counts in (self._closed_totals or {}).items()}
        for queue in self._open_queues():
            _add_totals(totals, queue)
        return {policy: tuple(counts) for policy, counts in totals.items()}

    def _open_queues(self):
        return (*(self._stream_queues or ()), *(self._ended_queues or ()))

    def _names(self):
        return ", ".join(repr((<StreamQueue> queue).name) for queue in self._stream_queues or ())

    cdef int offer_to_streams(self, object message, size_t size) except -1:
        cdef StreamQueue queue
        cdef list queues = self._stream_queues
        if self._now == 0:
            self._now = monotonic_ns()
        message = whole(message, None)
        for queue in queues:
            queue.offer(message, size, self._now, self._discards)
            self._after_offers(queue)
        return self.check_bounds()

    cdef int _after_offers(self, StreamQueue queue) except -1:
        if queue.is_overflowing:
            queue.is_overflowing = False
            self.overflowed(queue)
        elif queue.failure is not None:
            # What comes from now on is for the others, or for `recv()`.
            self._detach(queue)
            self._loop.call_soon(self._wake_ended, queue)
        return 0

    def _wake_ended(self, StreamQueue queue not None):
        queue.wake()

    cdef int wake_streams(self) except -1:
        """The read is over: step the tasks that wait, in the order in which the streams were opened."""
        cdef StreamQueue queue
        cdef list queues = self._stream_queues
        self._now = 0
        if queues is not None:
            for queue in queues:
                self._waking = queue
                queue.wake()
            self._waking = None
        return 0

    cdef bint has_undelivered(self):
        return self._waking is not None and self._waking.messages.count > 0

    cdef int end_streams(self) except -1:
        """The connection is gone: consumers take what waits, then learn why."""
        cdef StreamQueue queue
        cdef list queues = self._stream_queues
        self._stream_queues = None
        self._waiter = None
        if queues is not None:
            self._ended_queues = [*(self._ended_queues or ()), *queues]
            for queue in queues:
                queue.shut(None)
                if queue.lost > 0:
                    self.logger.warning(
                        "stream %r: %d messages were dropped while the connection was closed: nobody received, and %d "
                        "wait already", queue.name, queue.lost, queue.depth(),
                    )
            for queue in queues:
                queue.wake()
        return 0

    cdef Waiter park(self):
        """For who is about to wait for messages: what it has sent leaves now."""
        if self._transport is not None:
            self._transport.flush()
        self._waiter = Waiter.renew(self._waiter, self._loop)
        return self._waiter

    cdef int check_bounds(self) except -1:
        """Over the bounds parsing stops before the next frame, and the unparsed rest waits."""
        if not self._is_paused and not self._discards and self._transport is not None and self.is_over_bounds():
            self._is_paused = True
            if self._stream_queues is not None:
                self._blocked()
            self._transport.pause_reading()
            if self._is_ending:
                self.full_while_ending()
        return 0

    cdef int _blocked(self) except -1:
        """A stream that is full holds everything up: say so, once."""
        cdef StreamQueue queue
        for queue in self._stream_queues:
            if queue.is_blocked() and not queue.has_blocked:
                queue.has_blocked = True
                self.logger.info(
                    "stream %r is full (%d messages, %d bytes): reading pauses, and with it every stream of the "
                    "connection", queue.name, queue.messages.count, queue.messages.size,
                )
        return 0

    cdef int unpause(self) except -1:
        if self._is_paused and not self.is_crowded():
            self._is_paused = False
            self._transport.resume_reading()
        return 0

    cdef bint is_over_bounds(self):
        """Whether something is full."""
        cdef StreamQueue queue
        if self._stream_queues is not None:
            for queue in self._stream_queues:
                if queue.is_blocked():
                    return True
        return False

    cdef bint is_crowded(self):
        """Whether something is still fuller than its low mark."""
        cdef StreamQueue queue
        if self._stream_queues is not None:
            for queue in self._stream_queues:
                if queue.is_crowded():
                    return True
        return False

    cdef uint64_t taken(self):
        """A number that changes when something is taken out of what is full."""
        cdef StreamQueue queue
        cdef uint64_t count = 0
        for queue in self._stream_queues or ():
            if queue.is_blocked():
                count += queue.delivered
        return count

    cdef int begin_ending(self) except -1:
        """The closing handshake began. The peer's CLOSE frame is behind all that it has sent: how many messages wait
        does not matter any more, only their bytes do.
        """
        cdef StreamQueue queue
        self._is_ending = True
        for queue in self._stream_queues or ():
            queue.is_ending = True
        if self._is_paused:
            if self.is_over_bounds():
                self.full_while_ending()
            else:
                self._is_paused = False
                self._transport.resume_reading()
        return 0

    cdef int full_while_ending(self) except -1:
        """Reading has paused, and the peer's CLOSE frame comes behind what is not read. Wait for who receives, but not
        for ever: whoever closes may be the only one who did.
        """
        cdef object limit
        if self._patience is None:
            seconds = _PATIENCE_WITH_READER if self._has_reader else _PATIENCE
            limit = self.longest_patience()
            self._patience = self._loop.call_later(
                seconds if limit is None else min(seconds, limit), self._out_of_patience, self.taken()
            )
        return 0

    def _out_of_patience(self, taken):
        self._patience = None
        if not self._is_paused:
            return
        if self.taken() != taken:
            self._has_reader = True
            self.full_while_ending()
            return
        self._discards = True
        self._is_paused = False
        self._transport.resume_reading()

    cdef object longest_patience(self):
        """Seconds that closing may be held up, or None."""
        return None

    cdef int stop_patience(self) except -1:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        return 0

    cdef bint is_gone(self):
        """Whether no message can come any more."""
        return self._transport is not None and self._transport.is_disconnected

    cdef int replay_into(self, StreamQueue queue) except -1:
        """Move what waits for others into the queue."""
        return 0

    cdef int stream_opened(self, StreamQueue queue) except -1:
        """A stream was added to those that messages go to."""
        return 0

    cdef int may_open_stream(self) except -1:
        """Raise if somebody receives in another way."""
        return 0

    cdef int overflowed(self, StreamQueue queue) except -1:
        """A stream with ``overflow="close"`` has no room."""
        raise NotImplementedError

    cdef int _detach(self, StreamQueue queue) except -1:
        """The stream is closed, or has failed and takes no more messages."""
        if self._stream_queues is not None and queue in self._stream_queues:
            self._stream_queues = [other for other in self._stream_queues if other is not queue] or None
        ended = [other for other in self._ended_queues or () if other is not queue]
        if queue.is_closed:
            if self._closed_totals is None:
                self._closed_totals = {}
            _add_totals(self._closed_totals, queue)
        else:
            ended.append(queue)
        self._ended_queues = ended or None
        if not self.is_gone():
            self._streams_changed()
        return 0


cdef class Stream:
    """One consumer of a connection; made by ``stream()`` of a connection or of a :class:`StreamListener`.

    Iteration yields the messages. When the connection ends, those that wait come first; then iteration ends if it was
    closed with 1000, 1001 or without a code, and otherwise raises :exc:`ConnectionClosedError`. What ``key`` or
    ``filter`` raised ends the stream in the same way, and nothing but the stream: it is raised once, and the stream is
    closed then.
    """

    def __cinit__(self, *args):
        # Only stream() passes both.
        if len(args) != 2 or not isinstance(args[0], StreamQueue) or not isinstance(args[1], StreamSource):
            raise TypeError("streams are made by the method stream() of a connection")
        self._queue, self._source = args

    def __init__(self, *args, **kwargs):
        raise TypeError("streams are made by the method stream() of a connection")

    def __aiter__(self):
        self._check_open()
        return self

    def __anext__(self):
        return self._operation(True)

    def recv(self):
        """Receive the next message; cancelling it loses nothing.

        Raises:
            ConnectionClosed: The connection is closed, and all that was received before was taken.
            ConcurrencyError: Another task receives from this stream.
            RuntimeError: The stream is closed.
        """
        self._check_open()
        return self._operation(False)

    cdef StreamOperation _operation(self, bint is_iteration):
        cdef StreamOperation operation = StreamOperation.__new__(StreamOperation)
        operation._stream = self
        operation._is_iteration = is_iteration
        return operation

    async def aclose(self):
        """Close the stream; what waits is dropped, and counted as such. Safe to repeat.

        A task that waits in the stream sees its iteration end.
        """
        self._close()

    def _close(self):
        cdef StreamQueue queue = self._queue
        if queue.is_closed:
            return
        queue.is_closed = True
        if queue.failure is not None:
            self._source.logger.error("stream %r ended and nobody received why", queue.name, exc_info=queue.failure)
            queue.failure = None
        queue.shut(None)
        queue.clear()
        self._source._detach(queue)
        queue.wake()

    async def __aenter__(self):
        self._check_open()
        return self

    async def __aexit__(self, exc_type, exc, traceback):
        self._close()

    def __del__(self):
        if self._queue is None or self._queue.is_closed:
            return
        is_forgotten, text = not self._queue.is_shut, f"unclosed {self!r}"
        self._close()
        if is_forgotten:   # last: warnings may be errors
            warnings.warn(text, ResourceWarning, source=self)

    def _check_open(self):
        if self._queue.is_closed:
            raise RuntimeError(f"stream {self._queue.name!r} is closed: open another with stream()")

    def stats(self):
        """Totals of the stream."""
        return stats_of(self._queue)

    @property
    def name(self):
        """Name of the stream."""
        return self._queue.name

    @property
    def received(self):
        """Messages that the connection brought since the stream was opened."""
        return self._queue.received

    @property
    def delivered(self):
        """Messages that the consumer took."""
        return self._queue.delivered

    @property
    def dropped(self):
        """Messages that the policy dropped or replaced, and those that waited when the stream was closed."""
        return self._queue.dropped

    @property
    def filtered(self):
        """Messages that the filter refused."""
        return self._queue.filtered

    @property
    def high_water(self):
        """Most messages that ever waited."""
        return self._queue.high_water

    def __len__(self):
        """Messages that wait now."""
        return self._queue.messages.count

    def __bool__(self):
        return True

    def __repr__(self):
        queue = self._queue
        state = "closed" if queue.is_closed else "ended" if queue.is_shut else "open"
        return f"<Stream {queue.name!r} {state}, {queue.messages.count} messages wait, {queue.dropped} dropped>"


cdef class StreamOperation(Operation):
    """Takes the next message of a stream, or waits for it."""

    cdef bint advance(self) except -1:
        if self._stream is None:
            raise TypeError("made by the methods of a stream only")
        cdef StreamQueue queue = self._stream._queue
        cdef StreamSource source = self._stream._source
        if self._has_begun:
            queue.waiter = None
        elif queue.waiter is not None and not is_abandoned(
            <PyObject*> queue.waiter, 1 + (source._waiter is queue.waiter)
        ):
            raise second_consumer(queue)
        self._has_begun = True
        if queue.messages.count == 0 and not queue.is_shut and source._transport is not None:
            source.unpause()
            source._transport.deliver_held_back()
        if queue.messages.count > 0:
            self.value = queue.take()
            if source._is_paused:
                source.unpause()
            return True
        if queue.is_closed or queue.failure is not None or (queue.is_shut and source.is_gone()):
            self._at_end()
        queue.waiter = self.waiter = source.park()
        return False

    cdef int _at_end(self) except -1:
        cdef StreamQueue queue = self._stream._queue
        cdef object failure = queue.failure
        if failure is not None:
            # Kept, it would refer to the frames of the consumer, and these to the stream.
            queue.failure = None
            self._stream._close()
            raise failure
        if queue.is_closed:
            if self._is_iteration:
                raise StopAsyncIteration
            raise RuntimeError(f"stream {queue.name!r} was closed")
        error = self._stream._source._closed_error()
        if self._is_iteration and isinstance(error, ConnectionClosedOK):
            raise StopAsyncIteration
        raise error

    cdef int abandon(self) except -1:
        if self._stream._queue.waiter is self.waiter:
            self._stream._queue.waiter = None
        return 0

    cdef str qualname(self):
        return "Stream.__anext__" if self._is_iteration else "Stream.recv"


mark_coroutine_function(Stream.recv)
make_steppable(StreamOperation)


def _add_totals(totals, StreamQueue queue):
    counts = totals.setdefault(queue.policy(), [0, 0, 0, 0])
    for index, count in enumerate((queue.received, queue.delivered, queue.dropped, queue.filtered)):
        counts[index] += count


def second_consumer(StreamQueue queue not None):
    """The error for who would receive from a stream that has a consumer."""
    task = queue.waiter.waiting_task()
    name = task.get_name() if hasattr(task, "get_name") else "another coroutine"
    return ConcurrencyError(
        f"stream {queue.name!r} has a consumer already: {name} waits; open a stream for each with stream()"
    )
