# cython: auto_pickle=False, autotestdict=False
"""The sending side of a connection, as listeners and users see it.

States, moved by the protocol: open; `is_close_frame_sent` (nothing more may be sent, frames may still come);
`is_disconnected` (the socket is gone). After either, sends are ignored and counted; none of them raises.
"""

import asyncio
from dataclasses import dataclass

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8String
from picows.closing cimport WSCloseHandshake, close_info, close_payload, close_payload_from
from picows.enums cimport NoResult, WSCloseCode, WSMsgType
from picows.frame cimport WSFrame
from picows.native cimport WS_MAX_CONTROL_PAYLOAD, WS_MAX_HEADER_SIZE, WS_RSV1, WS_RSV2, WS_RSV3, ws_clock_ns

from picows.http11 import restore_request, restore_response
from picows.options import PICOWS_DEBUG_LL

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() noexcept
    bint PyUnicode_IS_ASCII(object text) noexcept
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL


cdef double LATE_PONG_TIMEOUT = 1.0   # seconds


@dataclass(frozen=True, slots=True)
class WSTransportStats:
    """Totals of one connection since it opened.

    Attributes:
        frames_sent: Frames of every type, also those still waiting.
        frames_received: Frames of every type, also those the listener does not see.
        bytes_sent: Bytes on the wire, headers included; bytes still waiting count too.
        bytes_received: Bytes on the wire, headers included.
        pings_sent: PING frames sent.
        pings_received: PING frames received.
        last_rtt: Seconds of the latest round trip that auto ping or :meth:`WSTransport.measure_roundtrip_time`
            measured, or None.
        write_backlog: Bytes accepted that the socket has not taken yet.
        sends_after_close: Sends that were ignored because a CLOSE frame had been sent or the connection was gone.
    """

    frames_sent: int
    frames_received: int
    bytes_sent: int
    bytes_received: int
    pings_sent: int
    pings_received: int
    last_rtt: float | None
    write_backlog: int
    sends_after_close: int


cdef class TransportOwner:
    """What a transport asks of the protocol that made it."""

    cdef int pause_reading(self) except -1:
        raise NotImplementedError

    cdef int resume_reading(self) except -1:
        raise NotImplementedError

    cdef int deliver_held_back(self) except -1:
        raise NotImplementedError

    cdef int close_frame_sent(self) except -1:
        raise NotImplementedError

    cdef int drop(self, bint graceful) except -1:
        raise NotImplementedError

    cdef int fail(self, object exception) except -1:
        raise NotImplementedError

    cdef object send_listener_ping(self):
        raise NotImplementedError

    cdef bint has_more_input(self):
        return False


cdef class _Cork:
    """Context manager of :meth:`WSTransport.cork`."""

    cdef WSTransport _transport
    cdef int _is_entered

    def __enter__(self):
        self._transport._check_thread()
        self._is_entered += 1
        self._transport.output.cork()

    def __exit__(self, exc_type, exc, traceback):
        self._transport._check_thread()
        if self._is_entered == 0:
            raise RuntimeError("cork() was not entered: use it in a with statement")
        self._is_entered -= 1
        self._transport.output.uncork()


cdef class WSTransport:
    """Sends frames, closes, and tells about one WebSocket connection.

    All methods belong to the thread of the event loop and raise RuntimeError in any other.

    Attributes:
        close_handshake: The :class:`WSCloseHandshake`; None until a CLOSE frame was sent or received.
        is_client_side: Whether this end opened the connection.
        is_secure: Whether the connection is encrypted with TLS.
        is_close_frame_sent: Whether a CLOSE frame was sent; nothing can be sent after it.
        is_disconnected: Whether the connection is gone.
    """

    def __init__(self, *, loop, owner, output, logger, request, response, bint is_client_side, bint is_secure):
        self._thread_id = PyThread_get_thread_ident()
        self._loop = loop
        self._owner = owner
        self.output = output
        self.logger = logger
        self.logs_debug = logger.isEnabledFor(PICOWS_DEBUG_LL)
        self._request = request
        self._response = response
        self.is_client_side = is_client_side
        self.is_secure = is_secure

    @property
    def request(self):
        """The :class:`WSUpgradeRequest` of the opening handshake."""
        if isinstance(self._request, bytes):
            self._request = restore_request(self._request)
        return self._request

    @property
    def response(self):
        """The :class:`WSUpgradeResponse` that answered it."""
        if isinstance(self._response, bytes):
            self._response = restore_response(self._response)
        return self._response

    @property
    def underlying_transport(self):
        """The asyncio transport. Writing to it directly is possible between frames; gathered frames are flushed first.
        """
        self._check_thread()
        return self.output.share()

    @property
    def disconnect_cause(self):
        """The exception that ended the connection, or None.

        It is what :meth:`wait_disconnected` raises, or an OSError that the event loop reported.
        """
        return self._failure if self._failure is not None else self._lost_with

    def get_extra_info(self, name, default=None):
        """The same as asyncio's :meth:`~asyncio.BaseTransport.get_extra_info`, without touching what is gathered."""
        return self.output.transport().get_extra_info(name, default)

    def set_write_buffer_limits(self, high=None, low=None):
        """Set the marks in bytes for ``pause_writing`` and ``resume_writing``, as asyncio's transports do."""
        self._check_thread()
        self.output.transport().set_write_buffer_limits(high, low)
        if high is not None:
            self.output.set_high_water(high)
        elif low is not None:
            self.output.set_high_water(4 * low)   # asyncio's rule

    cpdef send(self, WSMsgType msg_type, message, bint fin=True, bint rsv1=False, bint rsv2=False, bint rsv3=False):
        """Send one frame (RFC 6455 section 5.2).

        Returns at once: what the socket does not take is queued. After a CLOSE frame was sent or the peer is gone, the
        call is ignored, counted in :meth:`stats`, and the first one is logged. An operating system error never escapes;
        it ends the connection and is raised by :meth:`wait_disconnected`.

        Args:
            msg_type: The opcode. A CLOSE frame is checked and counts like that of :meth:`send_close`.
            message: The payload. A str is encoded as UTF-8; bytes that claim to be TEXT are not checked. None is an
                empty payload.
            fin: Whether this frame ends its message.
            rsv1: First reserved bit, for an extension both sides agreed on.
            rsv2: Second reserved bit.
            rsv3: Third reserved bit.

        Raises:
            ValueError: Not a valid frame: unknown opcode, control frame of more than 125 bytes or without ``fin``.
            TypeError: The message is none of the accepted types.
            RuntimeError: Called from a thread other than the event loop's.
        """
        if not self._may_send("a frame"):
            return
        if msg_type == WSMsgType.CLOSE:
            self._send_close_payload(b"" if message is None else close_payload_from(message))
        else:
            self.send_object(<int> msg_type, message, fin, rsv_bits(rsv1, rsv2, rsv3))

    cpdef send_message(self, message):
        """Send a whole message in one frame: TEXT for a str, BINARY for bytes-like objects; otherwise as :meth:`send`.
        """
        if not self._may_send("a message"):
            return
        self.send_object(WSMsgType.TEXT if isinstance(message, str) else WSMsgType.BINARY, message, True, 0)

    cpdef send_reuse_external_bytearray(
        self, WSMsgType msg_type, bytearray buffer, Py_ssize_t msg_offset, bint fin=True, bint rsv1=False,
        bint rsv2=False, bint rsv3=False
    ):
        """Send ``buffer[msg_offset:]`` as one frame without copying it: the header is written in front, a client masks
        in place.

        The content of the buffer is unspecified afterwards, and the buffer may be reused at once.

        Args:
            msg_type: As for :meth:`send`.
            buffer: The message, behind at least 14 bytes of room.
            msg_offset: Where the message begins, in bytes.
            fin: Whether this frame ends its message.
            rsv1: First reserved bit.
            rsv2: Second reserved bit.
            rsv3: Third reserved bit.

        Raises:
            ValueError: The offset is below 14 or behind the end of the buffer, or the frame is not valid.
        """
        if not self._may_send("a frame"):
            return
        if buffer is None:
            raise TypeError("buffer must be a bytearray, not None")
        cdef Py_ssize_t size = PyByteArray_GET_SIZE(buffer)
        if msg_offset < WS_MAX_HEADER_SIZE or msg_offset > size:
            raise ValueError(
                f"msg_offset is {msg_offset}; it must be from {WS_MAX_HEADER_SIZE} (room for the header) to the "
                f"buffer's length {size}"
            )
        self.send_reuse_external_buffer(
            msg_type, PyByteArray_AS_STRING(buffer) + msg_offset, size - msg_offset, fin, rsv1, rsv2, rsv3
        )

    cdef NoResult send_reuse_external_buffer(
        self, WSMsgType msg_type, char* msg_ptr, Py_ssize_t msg_size, bint fin=True, bint rsv1=False, bint rsv2=False,
        bint rsv3=False
    ) except NoResult.EXC:
        """The same from Cython: at least 14 bytes before `msg_ptr` must be writable."""
        if not self._may_send("a frame"):
            return NoResult.SUCCESS
        if msg_type == WSMsgType.CLOSE:
            raise ValueError("CLOSE frames are sent by send_close(), which checks the code and the reason")
        self._check_frame(<int> msg_type, msg_size, fin)
        self.output.send_in_place(
            <uint8_t> msg_type, <uint8_t*> msg_ptr, msg_size, fin, rsv_bits(rsv1, rsv2, rsv3)
        )
        return NoResult.SUCCESS

    cpdef send_ping(self, message=None):
        """Send a PING frame (RFC 6455 section 5.5.2); ValueError for a payload of more than 125 bytes."""
        if not self._may_send("a PING"):
            return
        self.send_control(WSMsgType.PING, message)

    cpdef send_pong(self, message=None):
        """Send a PONG frame (RFC 6455 section 5.5.3); ValueError for a payload of more than 125 bytes."""
        if self._may_send("a PONG"):
            self.send_control(WSMsgType.PONG, message)

    cpdef send_close(self, WSCloseCode close_code=WSCloseCode.NO_INFO, close_message=None):
        """Send a CLOSE frame (RFC 6455 section 5.5.1), once; later calls are ignored.

        Nothing can be sent afterwards, but frames of the peer are delivered until its CLOSE comes. The TCP connection
        is not touched here; with ``enable_auto_close`` it ends when the closing handshake is complete, or after 10
        seconds.

        Args:
            close_code: NO_INFO sends an empty payload.
            close_message: The reason, a str or bytes of valid UTF-8.

        Raises:
            ValueError: The code must not be sent (RFC 6455 section 7.4), or the reason is longer than 123 bytes, not
                UTF-8, or given without a code.
        """
        self._check_thread()
        self._send_close_payload(close_payload(<int> close_code, close_message))

    cdef int _send_close_payload(self, bytes payload) except -1:
        cdef WSCloseHandshake closing
        if self.is_close_frame_sent or self.is_disconnected:
            return 0
        if self.logs_debug:
            self.logger.log(PICOWS_DEBUG_LL, "send CLOSE: %r", payload)
        closing = self._closing()
        closing.sent = close_info(<const uint8_t*> PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
        closing.recv_then_sent = closing.recv is not None
        self.is_close_frame_sent = True
        self.output.send_frame(
            WSMsgType.CLOSE, <const uint8_t*> PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), payload, True, 0,
            False,
        )
        if self._owner is not None:
            self._owner.close_frame_sent()
        return 0

    cpdef disconnect(self, bint graceful=True):
        """Close the TCP connection without a closing handshake (RFC 6455 section 7.1.7).

        Safe to repeat and to call from any callback; ``on_ws_disconnected`` follows in a later turn of the loop. Frames
        received but not delivered yet are dropped; if the peer is still sending, the operating system may answer with a
        reset, and what was sent last may be lost with it.

        Args:
            graceful: Write out queued data first. A peer that does not read can stretch that to minutes, until the
                operating system gives up. False drops the data.

        Raises:
            RuntimeError: Called from a thread other than the event loop's.
        """
        self._check_thread()
        if self._owner is not None:
            self._owner.drop(graceful)

    def fail(self, exception):
        """Fail the connection because of what the peer did (RFC 6455 section 7.1.7).

        Sends a CLOSE frame with the code and the message of ``exception``, a :exc:`WSProtocolError`, and disconnects.
        The same as raising it from ``on_ws_frame``, but no error of the listener's: a server logs it at INFO.
        """
        self._check_thread()
        if self._owner is not None:
            self._owner.fail(exception)

    async def wait_disconnected(self):
        """Wait until the connection is gone and ``on_ws_disconnected`` has returned.

        Cancelling the wait harms nothing; any number of tasks may wait.

        Raises:
            WSProtocolError: The client failed the connection because the server broke the protocol.
            OSError: A write failed.
            Exception: On the client side, what the first failing callback raised.
        """
        self._check_thread()
        if not self._is_finished:
            if self._disconnect_waiters is None:
                self._disconnect_waiters = []
            waiter = self._loop.create_future()
            self._disconnect_waiters.append(waiter)
            await waiter
        if self._failure is not None:
            raise self._failure

    async def measure_roundtrip_time(self, rounds):
        """Measure how long the peer takes to answer pings, one after the other.

        Pings are those of :meth:`WSListener.send_user_specific_ping`, answers those that
        :meth:`WSListener.is_user_specific_pong` accepts; they are not delivered to ``on_ws_frame``. A peer that never
        answers is waited for: put a deadline around the call.

        Args:
            rounds: How many pings.

        Returns:
            Seconds for each round.

        Raises:
            ConnectionResetError: The connection ended before all answers came.
            RuntimeError: Another measurement is under way on this connection.
            ValueError: Fewer than one round.
        """
        self._check_thread()
        if rounds < 1:
            raise ValueError(f"rounds must be at least 1, not {rounds}")
        if self._pong_waiter is not None:
            raise RuntimeError("measure_roundtrip_time() is already running on this connection: await it first")
        results = []
        try:
            for _ in range(rounds):
                await self._late_pong()
                started = ws_clock_ns()
                self._ping()
                await self._next_pong()
                self._last_rtt = (ws_clock_ns() - started) * 1e-9
                results.append(self._last_rtt)
        finally:
            # a ping that is under way stays expected, so that its pong counts for nothing else
            self._pong_waiter = None
        return results

    async def _next_pong(self):
        """Wait for the pong that is expected now, if any: one for an earlier ping must not count for the next."""
        if self.is_disconnected or self._owner is None:
            raise ConnectionResetError("the connection ended before the peer answered")
        if self.expects_pong:
            self._pong_waiter = self._loop.create_future()
            await self._pong_waiter

    async def _late_pong(self):
        """Wait for the answer to a ping that is under way, but not for ever: a peer may answer only the latest one."""
        try:
            async with asyncio.timeout(LATE_PONG_TIMEOUT):
                await self._next_pong()
        except TimeoutError:
            pass

    def _ping(self):
        if not self.can_send():
            raise ConnectionResetError("the connection is closing: no ping can be sent")
        self.expects_pong = True
        try:
            self._owner.send_listener_ping()
        except BaseException:
            self.expects_pong = False
            raise

    cpdef notify_user_specific_pong_received(self):
        """Tell auto ping and a running measurement that the peer answered; harmless when nothing is expected.

        For pongs that are only recognised after the payload was parsed, in ``on_ws_frame``.
        """
        self._check_thread()
        self.expects_pong = False
        if self._pong_waiter is not None and not self._pong_waiter.done():
            self._pong_waiter.set_result(None)
        cdef object callback = self._auto_pong_waiter
        if callback is not None:
            self._auto_pong_waiter = None
            self._last_rtt = callback()

    cpdef pause_reading(self):
        """Stop delivering frames, beginning with the next one, also inside ``on_ws_frame``; the kernel then slows the
        peer down.

        What was already read waits, at most one read of 256 KiB, and is delivered after :meth:`resume_reading`, or,
        when the connection ends first, before ``on_ws_disconnected``. While paused, pings are not answered and a lost
        connection may go unnoticed.
        """
        self._check_thread()
        if self._owner is not None:
            self._owner.pause_reading()

    cpdef resume_reading(self):
        """Go on delivering frames: within the same ``on_ws_frame``, else in the next turn of the loop."""
        self._check_thread()
        if self._owner is not None:
            self._owner.resume_reading()

    cdef int deliver_held_back(self) except -1:
        """Deliver now what a pause held back and `resume_reading` would deliver in the next turn; from Cython only."""
        return 0 if self._owner is None else self._owner.deliver_held_back()

    def cork(self):
        """Context manager: gather the frames sent inside it and write them out with one system call at its end.

        Frames up to 32 KiB are gathered, 64 KiB in all; control and larger frames take what was gathered along at once.
        Corks nest. Inside a listener callback the write happens when the frames of the read are delivered.
        """
        self._check_thread()
        cdef _Cork cork = _Cork.__new__(_Cork)
        cork._transport = self
        return cork

    cpdef flush(self):
        """Write out frames that :meth:`cork` or ``coalesce`` gathered, now."""
        self._check_thread()
        self.output.flush()

    def get_write_buffer_size(self):
        """Bytes accepted that the socket has not taken yet, gathered ones included."""
        self._check_thread()
        return self.output.backlog()

    def stats(self):
        """Totals of this connection, a :class:`WSTransportStats`."""
        self._check_thread()
        return WSTransportStats(
            frames_sent=self.output.frames_sent,
            frames_received=self.frames_received,
            bytes_sent=self.output.bytes_sent,
            bytes_received=self.bytes_received,
            pings_sent=self._pings_sent,
            pings_received=self.pings_received,
            last_rtt=self._last_rtt,
            write_backlog=self.output.backlog(),
            sends_after_close=self._sends_after_close,
        )

    def __repr__(self):
        side = "client" if self.is_client_side else "server"
        state = "disconnected" if self.is_disconnected else "closing" if self.is_close_frame_sent else "open"
        return f"<WSTransport {side} {state} {'wss' if self.is_secure else 'ws'} at {<size_t> <void*> self:#x}>"

    cdef int send_object(self, int opcode, object message, bint fin, uint8_t rsv) except -1:
        """Send a message of any accepted type, without copying it to get at its bytes."""
        cdef:
            Py_buffer view
            const char* text
            Py_ssize_t size
            bytes encoded
            WSFrame frame
        if PyBytes_CheckExact(message):
            self._check_frame(opcode, PyBytes_GET_SIZE(message), fin)
            return self._send(opcode, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), message, fin, rsv)
        if isinstance(message, str):
            if PyUnicode_IS_ASCII(message):
                text = PyUnicode_AsUTF8AndSize(message, &size)
                self._check_frame(opcode, size, fin)
                return self._send(opcode, text, size, None, fin, rsv)
            encoded = PyUnicode_AsUTF8String(message)
            self._check_frame(opcode, PyBytes_GET_SIZE(encoded), fin)
            return self._send(opcode, PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded), encoded, fin, rsv)
        if isinstance(message, WSFrame):
            frame = <WSFrame> message
            self._check_frame(opcode, frame.payload_size, fin)
            # The owner: a callback that takes a view meanwhile may move the frame to other memory.
            return self._send(opcode, frame.payload_ptr, frame.payload_size, frame.owner, fin, rsv)
        if message is None:
            self._check_frame(opcode, 0, fin)
            return self._send(opcode, NULL, 0, None, fin, rsv)
        if not PyObject_CheckBuffer(message):
            raise TypeError(f"message must be str, bytes-like, WSFrame or None, not {type(message).__name__}")
        try:
            PyObject_GetBuffer(message, &view, PyBUF_SIMPLE)
        except BufferError:   # not contiguous
            return self.send_object(opcode, memoryview(message).tobytes(), fin, rsv)
        try:
            self._check_frame(opcode, view.len, fin)
            return self._send(opcode, <const char*> view.buf, view.len, None, fin, rsv)
        finally:
            PyBuffer_Release(&view)

    cdef int _send(
        self, int opcode, const char* payload, Py_ssize_t size, object keeper, bint fin, uint8_t rsv
    ) except -1:
        if self.logs_debug:
            self.logger.log(PICOWS_DEBUG_LL, "send frame: opcode=%d, fin=%d, payload %d bytes", opcode, fin, size)
        if opcode == WSMsgType.PING:
            self._pings_sent += 1
        cdef bint more_input = False
        if self.output.asks_for_more_input() and self._owner is not None:
            more_input = self._owner.has_more_input()
        return self.output.send_frame(
            <uint8_t> opcode, <const uint8_t*> payload, size, keeper, fin, rsv, more_input
        )

    cdef int send_control(self, int opcode, object message) except -1:
        """Send a PING or PONG whose sender was already allowed to."""
        return self.send_object(opcode, message, True, 0)

    cdef bint can_send(self):
        """Whether frames may still be sent."""
        return not self.is_close_frame_sent and not self.is_disconnected and not self.output.is_stopped()

    cdef bint can_broadcast(self) except -1:
        self._check_thread()
        return self.can_send()

    cdef bint expect_pong(self, object callback) except -1:
        """Auto ping is about to ping; `callback` is called when the answer comes and returns the round trip in seconds.

        Returns:
            Whether a ping is under way already: then no other is needed, and the answers cannot be mixed up.
        """
        cdef bint is_under_way = self.expects_pong and self._pong_waiter is not None
        self.expects_pong = True
        self._auto_pong_waiter = callback
        return is_under_way

    cdef int fail_with(self, object exception) except -1:
        """Remember the first exception, for `wait_disconnected`."""
        if self._failure is None:
            self._failure = exception
        return 0

    cdef int note_cause(self, object exception) except -1:
        """Remember what first went wrong, for `disconnect_cause` only."""
        if self._lost_with is None:
            self._lost_with = exception
        return 0

    cdef int close_frame_received(self, const uint8_t* payload, size_t size) except -1:
        cdef WSCloseHandshake closing = self._closing()
        if closing.recv is None:
            closing.recv = close_info(payload, size)
        return 0

    cdef int mark_disconnected(self, object exception) except -1:
        """The connection is gone: let go of the protocol, wake who measures."""
        self.is_disconnected = True
        self.note_cause(exception)
        self.expects_pong = False
        self._auto_pong_waiter = None
        self._owner = None
        if self._pong_waiter is not None and not self._pong_waiter.done():
            self._pong_waiter.set_exception(ConnectionResetError("the connection ended before the peer answered"))
        return 0

    cdef int finish(self) except -1:
        """`on_ws_disconnected` is over: wake who waits for that."""
        self._is_finished = True
        waiters = self._disconnect_waiters
        self._disconnect_waiters = None
        if waiters is not None:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
        return 0

    cdef WSCloseHandshake _closing(self):
        if self.close_handshake is None:
            self.close_handshake = WSCloseHandshake.__new__(WSCloseHandshake)
        return self.close_handshake

    cdef bint _may_send(self, str what) except -1:
        """Whether a send is still allowed; counts those that are not, and says so once."""
        self._check_thread()
        if self.can_send():
            return True
        if self._sends_after_close == 0:
            self.logger.warning(
                "%s was not sent: %s; further ones are only counted, in WSTransport.stats()",
                what, "a CLOSE frame was sent before" if self.is_close_frame_sent else "the connection is closed",
            )
        self._sends_after_close += 1
        return False

    cdef int _check_thread(self) except -1:
        if PyThread_get_thread_ident() != self._thread_id:
            raise RuntimeError(
                "WSTransport belongs to the thread of its event loop: from other threads use "
                "loop.call_soon_threadsafe()"
            )
        return 0

    cdef int _check_frame(self, int opcode, size_t size, bint fin) except -1:
        if 0 <= opcode <= 2:
            return 0
        if opcode != WSMsgType.PING and opcode != WSMsgType.PONG:
            raise ValueError(f"{opcode} is not an opcode that can be sent: use a member of WSMsgType")
        if size > WS_MAX_CONTROL_PAYLOAD:
            raise ValueError(f"payload of a control frame is {size} bytes, the limit is 125 (RFC 6455 section 5.5)")
        if not fin:
            raise ValueError("control frames cannot be fragmented (RFC 6455 section 5.5): fin must be True")
        return 0


cdef uint8_t rsv_bits(bint rsv1, bint rsv2, bint rsv3) noexcept:
    return (WS_RSV1 if rsv1 else 0) | (WS_RSV2 if rsv2 else 0) | (WS_RSV3 if rsv3 else 0)
