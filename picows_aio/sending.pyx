# cython: auto_pickle=False, autotestdict=False
"""The sending side of a connection: whole messages at once, fragments and back-pressure in a line."""

from collections import deque
from collections.abc import AsyncIterable, Iterable, Mapping

cimport cython
from picows.enums cimport WSMsgType
from picows_aio.awaitable cimport (
    Operation, make_steppable, mark_coroutine_function, may_reuse,
)
from picows_aio.endpoint cimport CLOSED
from picows_aio.receiving cimport ReceivingEndpoint
from picows_aio.waiter cimport Waiter

from picows_aio.frames import CloseCode, Frame, Opcode


cdef class SendingEndpoint(ReceivingEndpoint):
    """The sending side of a connection; base of :class:`Connection`."""

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
        cdef SendOperation operation = self._spare_send
        if operation is None or not may_reuse(operation):
            operation = SendOperation.__new__(SendOperation)
        self._spare_send = None
        operation.endpoint = self
        operation.message = message
        operation.text = text
        operation.compress = compress
        return operation

    cdef bint _may_begin(self, bint has_turn) except -1:
        """Whether a message may be sent now; without `has_turn` those in the line come first."""
        if not self.is_open() or self._is_write_paused or self._is_sending_fragments:
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

    def send_shared(self, opcode, bytes message, shared):
        """The same for a message to many connections: it is compressed once for those that can share what it becomes.
        """
        if self._extensions is None and self._deflate is not None and self._deflate.is_worthwhile(message):
            self._transport.send_object(opcode, self._deflate.compress_shared(message, shared), True, 4)
        else:
            self._send_data(opcode, message, None, True)

    async def _send_later(self, message, text, compress):
        """Send what is more than one frame, or has to wait."""
        if isinstance(message, (str, bytes, bytearray, memoryview)):
            await self._take_turn()
            try:
                self._send_data(opcode_of(message, text), message, compress, True)
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
            self._send_fragment(opcode_of(first, text), first, encoder, True, False)
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
            if not is_complete and self.is_open():
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
        if not self._is_write_paused and not self._is_sending_fragments:
            self.resume_pushes()
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

    cdef int resume_pushes(self) except -1:
        """Less than the limit waits to be sent, and no message is half sent."""
        return 0

    cdef bint is_sending_half(self):
        return self._is_sending_fragments

    cdef int senders_end(self) except -1:
        line = self._line
        self._line = None
        if line is not None:
            self._line = deque()
            for waiter in line:
                (<Waiter> waiter).wake()
        return 0

    async def _ready_to_send(self):
        """A control frame may go between fragments, but a peer that does not read gets no more of them."""
        await self._ensure_open()
        if self._is_write_paused:
            await self._drain()
            await self._ensure_open()

    cpdef pause_writing(self):
        """Called by the core: more than ``write_limit`` bytes wait to be sent."""
        self._is_write_paused = True

    cpdef resume_writing(self):
        """Called by the core: enough of it was sent."""
        self._is_write_paused = False
        self._wake_drainers()
        self._pass_turn()


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


cdef int opcode_of(object message, object text) except -1:
    """TEXT or BINARY: what the type of a message, or of its first fragment, stands for, unless `text` says otherwise.
    """
    if text is None:
        return WSMsgType.TEXT if isinstance(message, str) else WSMsgType.BINARY
    return WSMsgType.TEXT if text else WSMsgType.BINARY


@cython.final
cdef class SendOperation(Operation):

    cdef bint advance(self) except -1:
        cdef SendingEndpoint endpoint = self.endpoint
        if endpoint is None:
            raise TypeError("made by the methods of a connection only")
        message = self.message
        self.message = None
        if endpoint._may_begin(False) and isinstance(message, (str, bytes, bytearray, memoryview)):
            endpoint._send_data(opcode_of(message, self.text), message, self.compress, True)
            if not endpoint._is_write_paused:
                endpoint._spare_send = self
                self.endpoint = None
                return True
            self.delegate(endpoint._drain())
        else:
            self.delegate(endpoint._send_later(message, self.text, self.compress))
        return False

    cdef str qualname(self):
        return "Connection.send"


mark_coroutine_function(SendingEndpoint.send)
make_steppable(SendOperation)
