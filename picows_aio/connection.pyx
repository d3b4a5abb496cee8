# cython: auto_pickle=False, autotestdict=False
"""Connections: messages in, messages out.

A `Connection` is a listener of the core. Its callbacks put messages into a bounded queue; when the frames of a read are
all there, the task that waits in `recv()` is stepped at once, inside the read callback. What `recv()`, `send()` and
`async for` return are operations that finish in their first step whenever there is nothing to wait for.

States: CONNECTING until `on_ws_connected`, OPEN, CLOSING once a CLOSE frame was sent or received, CLOSED when TCP is
gone. Nothing that was received is lost: messages stay readable in every state.
"""

import asyncio
import codecs
import operator
import re
import secrets
import time
import weakref
from collections import deque
from collections.abc import AsyncIterable, Iterable, Mapping

cimport cython
from picows.enums cimport WSCloseCode, WSMsgType
from picows.frame cimport WSFrame
from picows.listener cimport WSListener
from picows.transport cimport WSTransport
from picows_aio.awaitable cimport Operation, Waiter, make_steppable
from picows_aio.messages cimport FragmentedMessage, MessageLimits, MessageQueue
from picows_aio.send_budget cimport SendBudget

from picows import WSProtocolError
from picows_aio.exceptions import (
    ConcurrencyError, ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, PayloadTooBig, ProtocolError,
    TooManyFragments,
)
from picows_aio.frames import Close, CloseCode, Frame, Opcode
from picows_aio.keepalive import Keepalive
from picows_aio.protocol import State
from picows_aio.send_policy import PushOutcome, PushStats
from picows_aio.session import ConnectionLogger

cdef enum:
    LEAST_QUEUE_BYTES = 1 << 20      # bytes that may wait, whatever the message limit
    UNLIMITED_QUEUE_BYTES = 1 << 24  # the same where messages are not limited

cdef double EVICTION_TIMEOUT = 1.0   # seconds that a peer has to take its eviction note

_OK_CODES = {CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD}
_STATES = tuple(State)
# The core tells the sizes in words.
_FRAME_TOO_BIG = re.compile(r"frame with (\d+) bytes exceeds limit of (\d+) bytes")


def queue_bounds(max_queue):
    """High and low mark that ``max_queue`` stands for; the high mark is None where nothing bounds the queue."""
    high, low = max_queue if isinstance(max_queue, tuple) else (max_queue, None)
    if high is None:
        return None, 0
    if low is None:
        low = high // 4
    if not 0 <= low <= high:
        raise ValueError(
            f"max_queue must be None, a number of messages, or (high, low) with 0 <= low <= high, not {max_queue!r}"
        )
    return high, low


def write_bounds(write_limit):
    """High and low mark in bytes that ``write_limit`` stands for."""
    high, low = write_limit if isinstance(write_limit, tuple) else (write_limit, None)
    return high, low


cdef class Connection(WSListener):
    """A WebSocket connection, of a client or of a server.

    Iterating over it yields messages until it is closed with code 1000 or 1001, or without one; any other end raises
    :exc:`ConnectionClosedError`. As an asynchronous context manager it closes itself: with code 1000, with 1011 after
    an exception.

    Args:
        protocol: Settings and state of the connection, from the opening handshake.
        ping_interval: Seconds between keepalive pings; None: none are sent.
        ping_timeout: Seconds to wait for the answer; None: for ever.
        close_timeout: Seconds for the whole closing handshake; None: no limit.
        max_queue: Messages that wait to be received before reading pauses, or ``(high, low)``; None: no limit.
        write_limit: Bytes that wait to be sent before ``send()`` waits, or ``(high, low)``.
    """

    def __init__(
        self, protocol, *, ping_interval=20, ping_timeout=20, close_timeout=10, max_queue=16, write_limit=2**15
    ):
        self.protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._queue = MessageQueue()
        self._limits = MessageLimits(protocol.max_size, protocol.max_fragments)
        high, low = queue_bounds(max_queue)
        self._is_bounded = high is not None
        self._high = high or 0
        self._low = low
        if protocol.max_size is None:
            self._high_bytes = UNLIMITED_QUEUE_BYTES
        else:
            self._high_bytes = max(<size_t> LEAST_QUEUE_BYTES, <size_t> protocol.max_size)
        self._write_limit = write_bounds(write_limit)
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._close_timeout = close_timeout

    # What the opening handshake sets

    def attach(self, transport):
        """The TCP connection is up: addresses can be asked for."""
        self._peer = transport

    def set_request(self, request):
        self.request = request

    def set_response(self, response):
        self.response = response

    def set_extensions(self, extensions):
        """Extensions that both sides agreed on, in the order of the header."""
        self.protocol.extensions = tuple(extensions)
        if len(extensions) == 1 and hasattr(extensions[0], "codec"):
            self._deflate = extensions[0].codec
        elif extensions:
            self._extensions = list(extensions)

    # Public facts

    @property
    def id(self):
        """A random UUID of the connection."""
        return self.protocol.id

    @property
    def logger(self):
        """Logs with ``extra={"websocket": connection}``."""
        if self._logger is None:
            self._logger = ConnectionLogger(self.protocol.logger, {"websocket": weakref.proxy(self)})
        return self._logger

    @property
    def state(self):
        """Where the connection is in its life, a :class:`picows_aio.State`."""
        self._is_open()
        return _STATES[self._state]

    @property
    def subprotocol(self):
        """Subprotocol negotiated during the opening handshake, None if there was none."""
        return self.protocol.subprotocol

    @property
    def transport(self):
        """The asyncio transport; frames that were gathered are written out first."""
        return self._peer if self._transport is None else self._transport.underlying_transport

    @property
    def local_address(self):
        """The local address, ``getsockname()`` of the socket."""
        return self._extra_info("sockname")

    @property
    def remote_address(self):
        """The peer's address, ``getpeername()`` of the socket."""
        return self._extra_info("peername")

    @property
    def close_code(self):
        """Close code received from the peer (RFC 6455 section 7.1.5); None while open, 1006 when TCP dropped, 1005 when
        it had none.
        """
        if self._state != CLOSED:
            return None
        received = self._close_received()
        return CloseCode.ABNORMAL_CLOSURE if received is None else received.code

    @property
    def close_reason(self):
        """Close reason received from the peer (RFC 6455 section 7.1.6); None while open, "" when there was none."""
        if self._state != CLOSED:
            return None
        received = self._close_received()
        return "" if received is None else received.reason

    def _extra_info(self, name):
        if self._transport is not None:
            return self._transport.get_extra_info(name)
        return None if self._peer is None else self._peer.get_extra_info(name)

    # Receiving

    def recv(self, decode=None):
        """Receive the next message.

        Cancelling it loses nothing: the message stays for the next call.

        Args:
            decode: True for a str, False for bytes, whatever was sent; None for what was sent.

        Returns:
            A str for a text message, bytes for a binary one.

        Raises:
            ConnectionClosed: The connection is closed, and all that was received before was taken.
            ConcurrencyError: Another task is in ``recv()``, or a message was not taken whole from ``recv_streaming()``.
        """
        cdef RecvOperation operation = RecvOperation.__new__(RecvOperation)
        operation.connection = self
        operation.decode = decode
        return operation

    def __aiter__(self):
        return self if type(self).recv is Connection.recv else self._iterate_overridden()

    async def _iterate_overridden(self):
        """A subclass receives in its own way: iteration goes through that."""
        try:
            while True:
                yield await self.recv()
        except ConnectionClosedOK:
            return

    def __anext__(self):
        cdef NextOperation operation = NextOperation.__new__(NextOperation)
        operation.connection = self
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
        cdef StreamOperation operation = StreamOperation.__new__(StreamOperation)
        cdef FragmentedMessage message
        operation.connection = self
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
                self._unpause()
                is_last = message.is_complete and not message.has_part()
                if is_last:
                    self._streamed = None
                yield part if decoder is None else await self._decode_part(decoder, part, is_last)
                if is_last:
                    return
            else:
                operation = StreamOperation.__new__(StreamOperation)
                operation.connection = self
                operation.has_begun = True
                await operation

    async def _convert(self, message, decode):
        try:
            return _converted(message, decode)
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
        if self._is_open():
            self._close_cause = exc
            self._start_close(CloseCode.INVALID_DATA, f"{exc.reason} at position {exc.start}")
        await self.wait_closed()
        raise self._closed_error()

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        """Called by the core: sort the frame into the queue."""
        try:
            if frame.rsv1 or frame.rsv2 or frame.rsv3:
                self._check_reserved_bits(frame)
            if frame.msg_type == WSMsgType.PONG:
                self._pong_received(frame.get_payload_as_bytes())
            elif frame.msg_type == WSMsgType.CLOSE:
                self._close_frame_received(frame.get_close_code(), frame.get_close_message())
            else:
                self._receive_message(frame)
        except WSProtocolError as exc:
            self._wake_reader()   # messages that came before the violation can still be answered
            transport.fail(exc)

    def _check_reserved_bits(self, WSFrame frame):
        """The core allows what any extension could use; here it is known what was negotiated (RFC 6455 section 5.2)."""
        if self._extensions is not None:
            return  # which take their bits out, and then none may be left
        # RFC 7692 section 6: bit 1 says that a message is compressed, on its first frame.
        is_first = frame.msg_type == WSMsgType.TEXT or frame.msg_type == WSMsgType.BINARY
        if self._deflate is None or not is_first or frame.rsv2 or frame.rsv3:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "reserved bits must be 0")

    cdef int _receive_message(self, WSFrame frame) except -1:
        cdef bint is_text
        # Once something was dropped all that follows is: messages would be missing in the middle, or a context of
        # deflate.
        if self._discards and (self._discarded > 0 or self._is_over_bounds()):
            self._discarded += 1
            return 0
        if self._extensions is not None:
            return self._receive_extended(frame)
        if frame.msg_type == WSMsgType.CONTINUATION:
            is_text = self._current.is_text
        else:
            is_text = frame.msg_type == WSMsgType.TEXT
            self._is_compressed = frame.rsv1
            if frame.fin and not frame.rsv1:
                if is_text:
                    return self._enqueue(frame.get_payload_as_utf8_text(), frame.payload_size)
                return self._enqueue(frame.get_payload_as_bytes(), frame.payload_size)
        if not self._is_compressed:
            return self._receive_fragment(is_text, frame.get_payload_as_bytes(), frame.fin)
        return self._receive_compressed(is_text, frame)

    def _receive_compressed(self, bint is_text, WSFrame frame):
        """RFC 7692 section 7.2.2, bounded at every step: an exact fit leaves a budget of none, not of infinity."""
        cdef size_t received = 0 if self._current is None else self._current.received()
        budget = None
        if self._limits.max_size is not None:
            budget = self._limits.max_size - received
        payload = self._deflate.decompress(frame, frame.fin, budget)
        if is_text and frame.fin and self._current is None:
            try:
                self._enqueue(payload.decode(), len(payload))
            except UnicodeDecodeError as exc:
                raise WSProtocolError(WSCloseCode.INVALID_TEXT, f"text is not valid UTF-8: {exc.reason}") from exc
            return 0
        if is_text:
            self._check_text(payload, frame.fin)
        if frame.fin and self._current is None:
            self._enqueue(payload, len(payload))
            return 0
        self._receive_fragment(is_text, payload, frame.fin)
        return 0

    def _check_text(self, payload, bint is_last):
        """Compressed text is checked after decompression, fragment by fragment."""
        if self._text_decoder is None:
            self._text_decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            self._text_decoder.decode(payload, is_last)
        except UnicodeDecodeError as exc:
            raise WSProtocolError(WSCloseCode.INVALID_TEXT, f"text is not valid UTF-8: {exc.reason}") from exc
        if is_last:
            self._text_decoder = None

    def _receive_extended(self, WSFrame frame):
        """Custom extensions work on whole frame objects, the last one of the header first."""
        decoded = Frame(
            Opcode(int(frame.msg_type)), frame.get_payload_as_bytes(), bool(frame.fin), bool(frame.rsv1),
            bool(frame.rsv2),
            bool(frame.rsv3),
        )
        for extension in reversed(self._extensions):
            decoded = extension.decode(decoded, max_size=self._limits.max_size)
        if decoded.rsv1 or decoded.rsv2 or decoded.rsv3:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "reserved bits are set, but no extension owns them")
        payload = bytes(decoded.data)
        is_text = self._current.is_text if decoded.opcode is Opcode.CONT else decoded.opcode is Opcode.TEXT
        if is_text:
            self._check_text(payload, decoded.fin)
        if decoded.fin and self._current is None:
            self._enqueue(payload.decode() if is_text else payload, len(payload))
        else:
            self._receive_fragment(is_text, payload, decoded.fin)

    cdef int _receive_fragment(self, bint is_text, bytes payload, bint is_last) except -1:
        cdef FragmentedMessage message = self._current
        if message is None:
            message = FragmentedMessage(is_text)
            self._current = message
        self._limits.check(message, len(payload))
        message.add(payload, is_last)
        if message is self._streamed:
            if is_last:
                self._current = None
            return self._check_bounds()
        if is_last:
            self._current = None
            return self._enqueue(message, message.size)
        return self._check_bounds()

    cdef int _enqueue(self, object message, size_t size) except -1:
        self._queue.push(message, size)
        return self._check_bounds()

    cdef bint _is_over_bounds(self):
        cdef size_t size = self._queue.size
        if not self._is_bounded:
            return False
        if self._streamed is not None:
            size += self._streamed.size
            if self._streamed.parts() > self._high:
                return True
        elif self._current is not None and self._reader is None:
            size += self._current.size   # but a reader waits for the end of it
        return self._queue.count > self._high or size > self._high_bytes

    cdef int _check_bounds(self) except -1:
        """Above the high mark parsing stops before the next frame, and the unparsed rest waits."""
        if not self._is_paused and not self._discards and self._is_over_bounds():
            self._is_paused = True
            self._transport.pause_reading()
        return 0

    cdef int _unpause(self) except -1:
        if not self._is_paused or self._queue.count > self._low or self._queue.size > self._high_bytes // 4:
            return 0
        if self._streamed is not None and (
            self._streamed.parts() > self._low or self._streamed.size > self._high_bytes // 4
        ):
            return 0
        self._is_paused = False
        self._transport.resume_reading()
        return 0

    cpdef on_read_end(self, WSTransport transport):
        """Called by the core: all frames of a read are in the queue, or as many as fit."""
        self._wake_reader()

    cdef int _wake_reader(self) except -1:
        cdef Waiter waiter
        if self._reader is not None and (self._has_input() or self._state == CLOSED):
            waiter = self._reader.waiter
            if waiter is not None:
                waiter.wake()
        return 0

    cdef bint _has_input(self):
        """Whether the parked reader would find something."""
        if self._streamed is not None:
            return self._streamed.has_part()
        return self._queue.count > 0 or (self._current is not None and isinstance(self._reader, StreamOperation))

    cdef int _begin_read(self, Operation operation) except -1:
        """One reader at a time."""
        if self._reader is not None:
            task = self._reader.waiter.waiting_task() if self._reader.waiter is not None else None
            name = task.get_name() if hasattr(task, "get_name") else "another coroutine"
            raise ConcurrencyError(
                "cannot call recv or recv_streaming while another coroutine is already running recv or "
                f"recv_streaming: {name} waits"
            )
        if self._streamed is not None:
            raise ConcurrencyError(
                "cannot call recv or recv_streaming: the message of an earlier recv_streaming was not taken whole"
            )
        return 0

    cdef object _parked(self, Operation operation):
        """The operation waits for input; returns what it yields."""
        if self._transport is not None:
            self._transport.flush()
        self._reader = operation
        self._unpause()
        return Waiter.create(self._loop)

    cdef object _take(self):
        """The oldest message; only while there is one."""
        message = self._queue.pop()
        if self._is_paused:
            self._unpause()
        return message

    # Sending

    def send(self, message, *, text=None, compress=None):
        """Send a message.

        Waits while more than ``write_limit`` bytes wait to be sent, or while another message is sent in fragments.

        Args:
            message: A str is sent as text, bytes-like objects as binary. An iterable or asynchronous iterable of either
                is sent as one message in fragments (RFC 6455 section 5.4); an empty one sends nothing.
            text: True sends bytes as text, False a str as binary.
            compress: Whether to compress this message where permessage-deflate was negotiated; None: if it is large
                enough.

        Raises:
            ConnectionClosed: The connection is closed or closing.
            TypeError: The message has another type; nothing was sent.
        """
        cdef SendOperation operation = SendOperation.__new__(SendOperation)
        operation.connection = self
        operation.message = message
        operation.text = text
        operation.compress = compress
        return operation

    cdef bint _may_begin(self, bint has_turn) except -1:
        """Whether a message may be sent now; without `has_turn` those in the line come first."""
        if not self._is_open() or self._is_write_paused or self._is_sending_fragments:
            return False
        return has_turn or not (self._is_turn_given or self._line)

    cdef int _send_data(self, int opcode, object message, object compress, bint fin) except -1:
        if isinstance(message, memoryview) and not message.c_contiguous:
            message = bytes(message)
        if self._extensions is not None:
            return self._send_extended(opcode, message, fin)
        if self._deflate is not None and compress is not False:
            if isinstance(message, str):
                message = (<str> message).encode()
            if compress or self._deflate.is_worthwhile(message):
                return self._transport.send_object(opcode, self._deflate.compress(message, True), fin, 4)
        return self._transport.send_object(opcode, message, fin, 0)

    def _send_extended(self, opcode, message, fin):
        frame = Frame(Opcode(opcode), message.encode() if isinstance(message, str) else message, bool(fin))
        for extension in self._extensions:
            frame = extension.encode(frame)
        self._transport.send(
            <WSMsgType> <int> int(frame.opcode), frame.data, frame.fin, frame.rsv1, frame.rsv2, frame.rsv3
        )
        return 0

    # Pushing

    @property
    def send_policy(self):
        """The :class:`picows_aio.SendPolicy` of messages that :meth:`push` and :func:`picows_aio.broadcast` bring, None
        at first. Can be set at any time.
        """
        return None if self._budget is None else self._budget.policy

    @send_policy.setter
    def send_policy(self, policy):
        self.send_budget().use(policy)

    def push(self, message, *, text=None, policy=None):
        """Send a whole message without waiting, or do with it what the policy says when too much waits to be sent.

        It does not stand in line behind calls of :meth:`send` that wait.

        Args:
            message: A str is sent as text, bytes-like objects as binary.
            text: True sends bytes as text, False a str as binary.
            policy: A :class:`picows_aio.SendPolicy` for this message; None: :attr:`send_policy`, and where that is None
                too, the message is queued however much waits.

        Returns:
            A :class:`picows_aio.PushOutcome`.

        Raises:
            ConnectionClosed: The connection is closed or closing.
            ConcurrencyError: A message is being sent in fragments; ``"latest"`` keeps the message aside instead.
            TypeError: The message or the policy has another type.
        """
        if not isinstance(message, (str, bytes, bytearray, memoryview)):
            raise TypeError("data must be str or bytes")
        if not self._is_open():
            raise self._closed_error()
        if policy is None:
            policy = self.send_policy
        if policy is not None:
            return self.send_budget().push(_opcode(message, text), message, policy, not self._is_sending_fragments)
        if self._is_sending_fragments:
            raise ConcurrencyError("sending a fragmented message")
        self._send_data(_opcode(message, text), message, None, True)
        return PushOutcome.SENT

    def push_stats(self):
        """What became of the messages pushed under a policy, a :class:`picows_aio.PushStats`."""
        return PushStats() if self._budget is None else self._budget.stats()

    async def drained(self):
        """Wait until no more than the low mark of ``write_limit`` waits to be sent, or the connection is closed."""
        try:
            await self._drain()
        except ConnectionClosed:
            pass

    def is_writing_paused(self):
        """Whether the connection was over its ``write_limit`` and has not drained yet."""
        return bool(self._is_write_paused) and self._state != CLOSED

    cpdef SendBudget send_budget(self):
        """What decides about messages under a policy; made when first needed."""
        if self._budget is None:
            self._budget = SendBudget(self, self._loop, self._write_limit[0])
        return self._budget

    def evict(self, why):
        """Close with 1013, and drop the connection soon, because its peer does not read."""
        self.logger.warning("%s", why)
        self._close_cause = ConnectionError(why)
        if self._close_timeout is None or self._close_timeout > EVICTION_TIMEOUT:
            self._close_timeout = EVICTION_TIMEOUT
        self._start_close(CloseCode.TRY_AGAIN_LATER, "reads too slowly")

    # For broadcast()

    @property
    def core_transport(self):
        """The :class:`picows.WSTransport` below, None before the opening handshake is complete."""
        return self._transport

    def is_sending_fragments(self):
        """Whether a message is being sent in fragments, so that no other can be."""
        return bool(self._is_sending_fragments)

    def send_nowait(self, opcode, message):
        """Send a whole message without regard to ``write_limit``."""
        self._send_data(opcode, message, None, True)

    async def _send_later(self, message, text, compress):
        """Send what is more than one frame, or has to wait."""
        if isinstance(message, (str, bytes, bytearray, memoryview)):
            await self._take_turn()
            try:
                self._send_data(_opcode(message, text), message, compress, True)
            finally:
                self._pass_turn()
            await self._drain()
        elif isinstance(message, Mapping):
            raise TypeError("data is a dict-like object")
        elif isinstance(message, AsyncIterable):
            await self._send_fragments(aiter(message), text, compress)
        elif isinstance(message, Iterable):
            await self._send_fragments(_AsyncIterator(message), text, compress)
        else:
            raise TypeError("data must be str, bytes, iterable, or async iterable")

    async def _send_fragments(self, fragments, text, compress):
        """One frame for each fragment and an empty last one, because only the end of the source tells which was the
        last.
        """
        try:
            first = await anext(fragments)
        except StopAsyncIteration:
            return
        kind = _fragment_kind(first)
        await self._take_turn()
        self._is_sending_fragments = True
        is_complete = False
        try:
            encoder = self._deflate if compress is not False else None
            self._send_fragment(_opcode(first, text), first, encoder, True, False)
            await self._drain()
            async for fragment in fragments:
                if _fragment_kind(fragment) is not kind:
                    raise TypeError("data iterable must contain uniform types")
                await self._ensure_open()
                self._send_fragment(WSMsgType.CONTINUATION, fragment, encoder, False, False)
                await self._drain()
            await self._ensure_open()
            self._send_fragment(WSMsgType.CONTINUATION, b"", encoder, False, True)
            is_complete = True
        finally:
            self._is_sending_fragments = False
            if not is_complete and self._is_open():
                # Half a message was sent: there is no way to take it back or to end it as something the peer may use.
                self._start_close(CloseCode.INTERNAL_ERROR, "error in fragmented message")
            self._pass_turn()
        await self._drain()

    def _send_fragment(self, opcode, fragment, encoder, bint is_first, bint fin):
        if encoder is None:
            self._send_data(opcode, fragment, False, fin)
            return
        data = encoder.compress(fragment.encode() if isinstance(fragment, str) else fragment, fin)
        self._transport.send_object(opcode, data, fin, 4 if is_first else 0)

    async def _take_turn(self):
        """Wait until a message may begin. Messages begin in the order of their calls, and one call at a time is woken.
        """
        cdef Waiter waiter
        has_turn = False
        await self._ensure_open()
        while not self._may_begin(has_turn):
            waiter = Waiter.create(self._loop)
            if self._line is None:
                self._line = deque()
            if has_turn:
                self._is_turn_given = False
                self._line.appendleft(waiter)
            else:
                self._line.append(waiter)
            try:
                await waiter
                has_turn = True
                await self._ensure_open()
            except BaseException:
                self._leave_line(waiter)
                raise
        self._is_turn_given = False

    cdef int _pass_turn(self) except -1:
        """Something that kept messages from beginning is over: the first in the line has its turn."""
        if self._budget is not None and not self._is_write_paused and not self._is_sending_fragments:
            self._budget.resume()
        if self._line and not self._is_turn_given and not self._is_write_paused and not self._is_sending_fragments:
            self._is_turn_given = True
            (<Waiter> self._line.popleft()).wake()
        return 0

    cdef int _leave_line(self, Waiter waiter) except -1:
        """Whoever waits gives up; if it had its turn already, that is the next one's."""
        if waiter in self._line:
            self._line.remove(waiter)
            return 0
        self._is_turn_given = False
        return self._pass_turn()

    async def _drain(self):
        """Wait until less than the limit waits to be sent."""
        while self._is_write_paused and self._state != CLOSED:
            waiter = Waiter.create(self._loop)
            if self._drainers is None:
                self._drainers = []
            self._drainers.append(waiter)
            try:
                await waiter
            except BaseException:
                if self._drainers is not None and waiter in self._drainers:
                    self._drainers.remove(waiter)
                raise
        if self._is_write_paused:
            raise self._closed_error()

    def _wake_drainers(self):
        drainers = self._drainers
        self._drainers = None
        if drainers is not None:
            for drainer in drainers:
                (<Waiter> drainer).wake()

    def _wake_senders(self):
        """The connection closes: nothing will be sent any more."""
        line = self._line
        self._line = None
        if line is not None:
            self._line = deque()
            for waiter in line:
                (<Waiter> waiter).wake()

    cpdef pause_writing(self):
        """Called by the core: more than ``write_limit`` bytes wait to be sent."""
        self._is_write_paused = True

    cpdef resume_writing(self):
        """Called by the core: enough of it was sent."""
        self._is_write_paused = False
        self._wake_drainers()
        self._pass_turn()

    # Pings

    async def ping(self, data=None):
        """Send a ping (RFC 6455 section 5.5.2).

        Args:
            data: At most 125 bytes, as str or bytes-like; None: 4 random bytes.

        Returns:
            A future whose result is the latency in seconds; a pong for a later ping resolves it too. It fails with
            ConnectionClosed when the connection is closed before.

        Raises:
            ConnectionClosed: The connection is closed or closing.
            ConcurrencyError: A ping with the same payload was not answered yet.
            ProtocolError: The payload is too long.
        """
        payload = b"" if data is None else _control_payload(data)
        await self._ready_to_send()
        if data is None:
            payload = secrets.token_bytes(4)
            while self._pings is not None and payload in self._pings:
                payload = secrets.token_bytes(4)
        elif self._pings is not None and payload in self._pings:
            raise ConcurrencyError("already waiting for a pong with the same data")
        future = self._loop.create_future()
        self._send_ping(payload, future)
        return future

    async def pong(self, data=b""):
        """Send an unsolicited pong (RFC 6455 section 5.5.3).

        Args:
            data: At most 125 bytes, as str or bytes-like.

        Raises:
            ConnectionClosed: The connection is closed or closing.
            ProtocolError: The payload is too long.
        """
        payload = _control_payload(data)
        await self._ready_to_send()
        self._transport.send_pong(payload)

    async def _ready_to_send(self):
        """A control frame may go between fragments, but a peer that does not read gets no more of them."""
        await self._ensure_open()
        if self._is_write_paused:
            await self._drain()
            await self._ensure_open()

    def _send_ping(self, payload, future):
        if self._pings is None:
            self._pings = {}
        self._pings[payload] = (future, time.monotonic())
        self._transport.send_ping(payload)

    def _pong_received(self, payload):
        """A pong answers the ping with its payload and all before it (RFC 6455 section 5.5.3)."""
        if self._pings is None or payload not in self._pings:
            return
        now = time.monotonic()
        for pinged in list(self._pings):
            future, sent_at = self._pings.pop(pinged)
            latency = now - sent_at
            if future is not None and not future.done():
                future.set_result(latency)
            if pinged == payload:
                self.latency = latency
                break

    def bytes_received(self):
        """Bytes that came in so far: any of them is a sign of life."""
        return 0 if self._transport is None else self._transport.bytes_received

    def is_reading_paused(self):
        """Whether messages wait that the application does not receive, so that nothing more is read."""
        return bool(self._is_paused)

    def messages_waiting(self):
        """Messages that came and were not received yet; of one that is streamed, the fragments."""
        return self._queue.count + (0 if self._streamed is None else self._streamed.parts())

    # Closing

    async def close(self, code=CloseCode.NORMAL_CLOSURE, reason=""):
        """Perform the closing handshake (RFC 6455 section 7.1.2) and wait for the end of the connection.

        Idempotent. Messages that came before stay readable. After ``close_timeout`` seconds for everything the
        connection is dropped.

        Args:
            code: Close code.
            reason: Close reason, at most 123 bytes in UTF-8.

        Raises:
            ProtocolError: The code or the reason must not be sent.
        """
        if self._is_open():
            if self._is_sending_fragments:
                code, reason = CloseCode.INTERNAL_ERROR, "close during fragmented message"
            self._start_close(code, reason)
        if self._state == CLOSING and self._transport is not None:
            self._discards = True
            if self._is_paused:
                self._is_paused = False
                self._transport.resume_reading()
        await self.wait_closed()

    def _start_close(self, code, reason):
        code = operator.index(code)
        if code == 0:   # an empty CLOSE frame, to the core
            raise ProtocolError("close code 0 must not be sent")
        if self._budget is not None:
            self._budget.finish(not self._is_sending_fragments)
        try:
            self._transport.send_close(<WSCloseCode> <int> code, reason or None)
        except (ValueError, OverflowError) as exc:
            raise ProtocolError(str(exc)) from None
        self._set_state(CLOSING)
        self._arm_close_deadline()

    def _arm_close_deadline(self):
        if self._close_deadline is None and self._close_timeout is not None and self._state != CLOSED:
            self._close_deadline = self._loop.call_later(self._close_timeout, self._close_timed_out)

    def _close_timed_out(self):
        if self._close_cause is None:
            self._close_cause = TimeoutError("timed out while closing connection")
        self.logger.debug("closing handshake took longer than %g s: dropping the connection", self._close_timeout)
        self._transport.disconnect(False)

    def _close_frame_received(self, WSCloseCode code, message):
        """Answer with the same code and reason; the server ends TCP, the client lets it (RFC 6455 sections 5.5.1,
        7.1.1).
        """
        self._set_state(CLOSING)
        self._transport.send_close(code, message)
        self._arm_close_deadline()
        self._wake_senders()
        # No frame follows, so the core does not report the end of this read.
        self._loop.call_soon(self.on_read_end, self._transport)
        if not self._transport.is_client_side:
            self._transport.disconnect()

    async def wait_closed(self):
        """Wait until the connection is closed; cancelling the wait changes nothing."""
        if self._state == CLOSED:
            return
        if self._close_waiters is None:
            self._close_waiters = []
        waiter = self._loop.create_future()
        self._close_waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if self._close_waiters is not None:
                self._close_waiters.remove(waiter)
            raise

    async def __aenter__(self):
        return self

    async def __aexit__(self, exc_type, exc, traceback):
        if exc_type is None:
            await self.close()
        else:
            await self.close(CloseCode.INTERNAL_ERROR)

    def fail(self, code, reason, cause):
        """Drop the connection after telling the peer why; ``cause`` becomes the cause of the ConnectionClosed
        exceptions.
        """
        if self._transport is None or self._state == CLOSED:
            return
        self._close_cause = cause
        self._transport.send_close(<WSCloseCode> <int> int(code), reason or None)
        self._set_state(CLOSING)
        self._transport.disconnect(self._transport.get_write_buffer_size() == 0)

    def _close_received(self):
        handshake = None if self._transport is None else self._transport.close_handshake
        return None if handshake is None or handshake.recv is None else _as_close(handshake.recv)

    def _close_sent(self):
        handshake = None if self._transport is None else self._transport.close_handshake
        return None if handshake is None or handshake.sent is None else _as_close(handshake.sent)

    cdef bint _is_open(self) except -1:
        if self._state == OPEN and self._transport.is_close_frame_sent:
            # The core failed the connection: the peer broke the protocol.
            self._set_state(CLOSING)
            self._arm_close_deadline()
        return self._state == OPEN

    async def _ensure_open(self):
        """Raise when nothing can be sent any more; where we began to close, as soon as it is known how that ends."""
        if not self._is_open():
            if self._close_received() is None and self._transport is not None:
                await self.wait_closed()
            raise self._closed_error()

    def _closed_error(self):
        """The exception for who uses a connection that is closed or closing."""
        received, sent = self._close_received(), self._close_sent()
        order = None
        if received is not None and sent is not None:
            order = bool(self._transport.close_handshake.recv_then_sent)
        is_ok = received is not None and sent is not None and received.code in _OK_CODES and sent.code in _OK_CODES
        error = (ConnectionClosedOK if is_ok else ConnectionClosedError)(received, sent, order)
        cause = self._close_cause
        if cause is None and self._transport is not None:
            cause = _as_cause(self._transport.disconnect_cause)
            if cause is None and received is None and self._state == CLOSED:
                cause = EOFError("unexpected end of stream")
        error.__cause__ = cause
        return error

    def _set_state(self, LifeCycle state):
        if state > self._state:
            self._state = state
            self.protocol.state = _STATES[state]
            if state >= CLOSING and self._keepalive is not None:
                self._keepalive.stop()   # from here on the deadline of closing counts
                self._keepalive = None

    # Called by the core

    cpdef on_ws_connected(self, WSTransport transport):
        """The opening handshake is complete."""
        self._transport = transport
        self._peer = None
        high, low = self._write_limit
        transport.set_write_buffer_limits(high, low)
        self._set_state(OPEN)
        if self._ping_interval is not None:
            self._keepalive = Keepalive(self, self._loop, self._ping_interval, self._ping_timeout)

    def keepalive_ping(self):
        """Send a ping whose answer only updates the latency."""
        self._send_ping(secrets.token_bytes(4), None)

    cpdef on_ws_disconnected(self, WSTransport transport):
        """TCP is gone: wake everybody."""
        self._set_state(CLOSED)
        if self._close_deadline is not None:
            self._close_deadline.cancel()
            self._close_deadline = None
        if self._discarded:
            self.logger.warning("%d frames that came after close() were over max_queue and dropped", self._discarded)
        self._is_paused = False
        if self._budget is not None:
            self._budget.close()
        self._fail_pings()
        self._wake_drainers()
        self._wake_senders()
        self._wake_reader()
        waiters = self._close_waiters
        self._close_waiters = None
        if waiters is not None:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _fail_pings(self):
        pings = self._pings
        self._pings = None
        if pings is not None:
            for future, _ in pings.values():
                if future is not None and not future.done():
                    future.set_exception(self._closed_error())
                    future.exception()   # nobody has to wait for a pong


# Conversions


cdef object _converted(message, decode):
    """A queued message as what `decode` asks for."""
    cdef FragmentedMessage fragmented
    if isinstance(message, FragmentedMessage):
        fragmented = message
        message = fragmented.join()
        return message.decode() if (fragmented.is_text if decode is None else decode) else message
    if decode is None:
        return message
    if isinstance(message, str):
        return message if decode else message.encode()
    return message.decode() if decode else message


cdef object _fragment_kind(fragment):
    if isinstance(fragment, str):
        return str
    if isinstance(fragment, (bytes, bytearray, memoryview)):
        return bytes
    raise TypeError("data iterable must contain bytes or str")


class _AsyncIterator:
    """Iterates over an iterable where an asynchronous iterator is wanted. (A generator left half-way would need a task
    to be closed.)
    """

    def __init__(self, iterable):
        self._iterator = iter(iterable)

    def __aiter__(self):
        return self

    async def __anext__(self):
        for item in self._iterator:
            return item
        raise StopAsyncIteration


cdef int _opcode(message, text) except -1:
    """TEXT or BINARY: what the type of a message, or of its first fragment, stands for, unless `text` says otherwise.
    """
    if text is None:
        return WSMsgType.TEXT if isinstance(message, str) else WSMsgType.BINARY
    return WSMsgType.TEXT if text else WSMsgType.BINARY


cdef object _control_payload(data):
    if isinstance(data, str):
        data = data.encode()
    elif not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError("data must be str or bytes-like")
    payload = bytes(data)
    if len(payload) > 125:
        raise ProtocolError("control frame too long")
    return payload


cdef object _as_close(info):
    """A CLOSE frame in the terms of the API: 1005 stands for a frame without a code (RFC 6455 section 7.1.5)."""
    code = int(info.code)
    return Close(code or CloseCode.NO_STATUS_RCVD, info.reason or "")


cdef object _as_cause(exception):
    """What ended the connection, as an exception of this package."""
    if not isinstance(exception, WSProtocolError):
        return exception
    if isinstance(exception.__cause__, (PayloadTooBig, TooManyFragments, UnicodeDecodeError)):
        return exception.__cause__
    code = int(exception.code)
    sizes = _FRAME_TOO_BIG.fullmatch(exception.message)
    if sizes is not None:
        error = PayloadTooBig(int(sizes[1]), int(sizes[2]))
    elif code == CloseCode.INVALID_DATA:
        error = UnicodeDecodeError("utf-8", b"", 0, 0, exception.message)   # the octets are not known any more
    else:
        error = ProtocolError(exception.message)
    error.__cause__ = exception
    return error


# Operations


cdef class ReadOperation(Operation):

    cdef bint has_message(self) except -1:
        """Whether a message can be taken; the first time, claims the connection for this reader."""
        cdef Connection connection = self.connection
        if self.has_begun:
            connection._reader = None
        else:
            connection._begin_read(self)
            self.has_begun = True
        if connection._queue.count == 0 and connection._transport is not None:
            connection._transport.deliver_held_back()
        return connection._queue.count > 0

    cdef int abandon(self) except -1:
        if self.connection._reader is self:
            self.connection._reader = None
        return 0


@cython.final
cdef class RecvOperation(ReadOperation):

    cdef bint advance(self) except -1:
        cdef Connection connection = self.connection
        if self.has_message():
            self.value = connection._take()
            if self.decode is None and not isinstance(self.value, FragmentedMessage):
                return True
            return self._convert()
        if connection._state == CLOSED:
            raise connection._closed_error()
        self.waiter = connection._parked(self)
        return False

    def _convert(self):
        try:
            self.value = _converted(self.value, self.decode)
            return True
        except UnicodeDecodeError as exc:
            self.value = None
            self.delegate(self.connection._fail_text(exc))
            return False

    cdef str qualname(self):
        return "Connection.recv"


@cython.final
cdef class NextOperation(ReadOperation):

    cdef bint advance(self) except -1:
        cdef Connection connection = self.connection
        if self.has_message():
            self.value = connection._take()
            if isinstance(self.value, FragmentedMessage):
                self.value = _converted(self.value, None)
            return True
        if connection._state == CLOSED:
            error = connection._closed_error()
            if isinstance(error, ConnectionClosedOK):
                raise StopAsyncIteration
            raise error
        self.waiter = connection._parked(self)
        return False

    cdef str qualname(self):
        return "Connection.__anext__"


@cython.final
cdef class StreamOperation(ReadOperation):
    """Waits for a message to stream, or, begun already, for the next fragment of it."""

    cdef bint advance(self) except -1:
        cdef Connection connection = self.connection
        cdef bint has_message = self.has_message()
        if connection._streamed is not None:
            if connection._streamed.has_part():
                return True
        elif has_message:
            self.value = connection._take()
            if isinstance(self.value, FragmentedMessage):
                connection._streamed = self.value
            return True
        elif connection._current is not None:
            self.value = connection._streamed = connection._current
            return True
        if connection._state == CLOSED:
            connection._streamed = connection._current = None   # the rest of it will not come
            raise connection._closed_error()
        self.waiter = connection._parked(self)
        return False

    cdef str qualname(self):
        return "Connection.recv_streaming"


@cython.final
cdef class SendOperation(Operation):

    cdef bint advance(self) except -1:
        cdef Connection connection = self.connection
        message = self.message
        self.message = None
        if connection._may_begin(False) and isinstance(message, (str, bytes, bytearray, memoryview)):
            connection._send_data(_opcode(message, self.text), message, self.compress, True)
            if not connection._is_write_paused:
                return True
            self.delegate(connection._drain())
        else:
            self.delegate(connection._send_later(message, self.text, self.compress))
        return False

    cdef str qualname(self):
        return "Connection.send"


make_steppable(RecvOperation)
make_steppable(NextOperation)
make_steppable(StreamOperation)
make_steppable(SendOperation)
