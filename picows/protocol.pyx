# cython: auto_pickle=False, autotestdict=False
"""Between asyncio and the layers that know nothing of it: one object for each connection.

States, moved only here: OPENING -> OPEN -> LINGERING -> DISCONNECTED, every one of the first three may also go straight
to the last.
Guaranteed: `on_ws_connected` comes first, `on_ws_disconnected` last and once; no frame is delivered inside a callback
of the same connection; bytes received before the connection was lost are delivered before that is reported. Nothing
waits without a deadline.
"""

import errno
import socket

from libc.stdint cimport int64_t, uint8_t, uint64_t
from picows.buffer cimport thread_pool
from picows.enums cimport WSMsgType
from picows.frame cimport WSFrame
from picows.listener cimport WSListener, is_overridden, python_override
from picows.native cimport ws_clock_ns, ws_set_no_delay, ws_would_block
from picows.output cimport Output
from picows.parser cimport FrameParser
from picows.socket_transport cimport SocketTransport
from picows.tls_transport cimport TLSLayer
from picows.transport cimport TransportOwner, WSTransport

from picows.closing import describe_failure
from picows.enums import WSCloseCode as CloseCode
from picows.errors import WSProtocolError
from picows.keepalive import AutoPing
from picows.options import PICOWS_DEBUG_LL
from picows.tls_transport import raise_again

cdef enum:
    POLL_TURN_NS = 100_000    # answers are polled for so long before the event loop has its turn
    TLS_RECORD_SIZE = 17408   # bytes: the largest record (RFC 8446 section 5.2) and its header, rounded up

cdef double LINGER_TIMEOUT = 1.0    # seconds for the peer to end TCP after the last frame was sent
cdef double CLOSE_TIMEOUT = 10.0    # seconds for the peer to answer a CLOSE frame, or to take what is still queued

_CALLBACK_NAMES = {
    ON_WS_FRAME: "on_ws_frame", ON_READ_END: "on_read_end", IS_USER_SPECIFIC_PONG: "is_user_specific_pong"
}

# After these the socket can still be read: what the peer sent before must not be lost.
_READABLE_AFTER = {errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN, errno.ETIMEDOUT}


cdef class ConnectionProtocol(TransportOwner):
    """Receives what an asyncio transport reads and drives one connection; subclasses add the opening handshake."""

    def __init__(self, loop, options, *, bint is_client_side):
        self.loop = loop
        self.options = options
        self.is_client_side = is_client_side
        self._logger = options.logger
        self._state = OPENING
        self._fd = -1
        self._tracks_activity = options.enable_auto_ping
        self._parser = FrameParser(
            expects_mask=not is_client_side,
            max_frame_size=options.max_frame_size,
            strict=options.strict,
            allowed_rsv=options.allowed_rsv,
            validate_utf8=options.validate_utf8,
            pool=thread_pool(),
        )

    # What the opening handshake implements.

    def handshake_started(self):
        """The TCP (and TLS) connection is up."""
        raise NotImplementedError

    def handshake_received(self, data):
        """Bytes arrived before `start`; called again with more."""
        raise NotImplementedError

    def handshake_ended(self, exc):
        """The peer ended the connection before `start`; `exc` is an OSError or None."""
        raise NotImplementedError

    # What the opening handshake uses.

    @property
    def is_opening(self):
        """Whether the opening handshake is still under way: neither opened, refused nor lost."""
        return self._state == OPENING

    @property
    def peer(self):
        """The asyncio transport while there is one."""
        return self._peer

    def write_handshake(self, data):
        """Send bytes that are no frame."""
        self._output.write_raw(data)

    def set_handshake_deadline(self, seconds, callback):
        """Call back unless `start` or the end of the connection comes first."""
        self._set_deadline(seconds, callback)

    def start(self, request, response, WSListener listener, rest):
        """The opening handshake succeeded, `request` and `response` are its heads: from now on bytes are frames,
        beginning with `rest`.
        """
        cdef WSTransport transport
        assert self._state == OPENING
        transport = WSTransport(
            loop=self.loop, owner=self, output=self._output, logger=self._logger, request=request, response=response,
            is_client_side=self.is_client_side, is_secure=self._is_secure,
        )
        self._clear_deadline()
        self._transport = transport
        self._listener = listener
        self._state = OPEN
        self._look_up_hooks()
        if self.options.busy_poll_ns and self._fd >= 0:
            self._poll_ns = self.options.busy_poll_ns
            self._parser.join_pollers()
        try:
            listener.on_ws_connected(transport)
        except Exception as exc:   # the user's code
            self._callback_failed(exc, "on_ws_connected")
        if self.options.enable_auto_ping and self._state == OPEN:
            self._start_auto_ping()
        self.feed(rest)
        return transport

    def feed(self, data):
        """Take bytes as if the transport had read them."""
        cdef Py_ssize_t count
        while data and self._state != DISCONNECTED:
            target = self.get_buffer(-1)
            count = min(len(target), len(data))
            target[:count] = data[:count]
            data = data[count:]
            self.buffer_updated(count)

    def finish(self):
        """The last bytes were written: wait for the peer to end the connection, discarding what it sends, not for long.

        Closing at once would be answered with a reset if anything had arrived unread, and a reset destroys what we
        wrote last.
        """
        if self._state >= LINGERING:
            return
        self._state = LINGERING
        self._parser.discard()
        self._output.flush()
        self._output.stop()
        self._is_paused = False
        self._hold_peer(False)
        try:
            if self._peer.can_write_eof():
                self._peer.write_eof()
            else:
                self._peer.close()
        except OSError as exc:   # the peer has reset the connection, which the loop is about to find out
            self._logger.log(PICOWS_DEBUG_LL, "cannot half-close: %r", exc)
        self._linger(self.loop.time() + CLOSE_TIMEOUT, self._unsent())

    def _unsent(self):
        """Bytes that the transport holds; asyncio's TLS transport forgets how to tell once it was closed twice."""
        try:
            return self._peer.get_write_buffer_size()
        except AttributeError:
            return 0

    def _linger(self, until, unsent):
        """Give the peer a second to end the connection, and another for as long as it takes what is queued, up to a
        limit.
        """
        self._set_deadline(LINGER_TIMEOUT, lambda: self._lingered(until, unsent))

    def _lingered(self, until, unsent):
        cdef Py_ssize_t left = self._unsent()
        if left < unsent and self.loop.time() < until:
            self._linger(until, left)
        else:
            self.abort()

    def abort(self):
        """Drop the connection now."""
        self.drop(False)

    def pause_peer(self):
        """Stop the transport from reading while the opening handshake waits for the application."""
        self._peer.pause_reading()

    def resume_peer(self):
        """Read on."""
        if self._peer is not None:
            self._peer.resume_reading()

    # asyncio.BufferedProtocol

    def connection_made(self, transport):
        """Called by the event loop."""
        self._peer = transport
        self._is_secure = transport.get_extra_info("sslcontext") is not None
        if isinstance(transport, SocketTransport):
            self._fd = (<SocketTransport> transport).fileno()
            ws_set_no_delay(self._fd)
            (<SocketTransport> transport).read_with(read_connection)
        elif (sock := transport.get_extra_info("socket")) is not None:
            set_no_delay(sock)
            self._fd = -1 if self._is_secure else sock.fileno()
        self._output = Output(
            transport, fd=self._fd, is_client_side=self.is_client_side, is_secure=self._is_secure,
            coalesce=self.options.coalesce, schedule_flush=self.loop.call_soon, on_failure=self._write_failed,
        )
        if isinstance(transport, TLSLayer):
            (<TLSLayer> transport).deliver_with(connection_target, connection_received)
            self._output.write_with(tls_send)
        self.handshake_started()

    def get_buffer(self, sizehint):
        """Called by the event loop: where to put what it reads. TLS transports say how much waits in them."""
        if not self._is_secure or self._state == OPENING:
            return self._parser.read_target(0)
        # What the TLS library took in last time and could not decrypt yet is not counted: a record, at most.
        return self._parser.read_target(TLS_RECORD_SIZE + max(<Py_ssize_t> sizehint, 0))

    def buffer_updated(self, nbytes):
        """Called by the event loop: it read so many bytes."""
        try:
            self._received(nbytes)
        except (KeyboardInterrupt, SystemExit) as exc:
            self._leave_loop(exc)

    def data_received(self, data):
        """Called by event loops that do not know buffered protocols, and by protocols that hand over."""
        try:
            self.feed(data)
        except (KeyboardInterrupt, SystemExit) as exc:
            self._leave_loop(exc)

    def eof_received(self):
        """Called by the event loop. Returns nothing: the transport closes itself when what is queued has left."""
        if self._state == OPENING:
            self.handshake_ended(None)
        elif self._state != DISCONNECTED:
            self._set_deadline(CLOSE_TIMEOUT, self.abort)

    def pause_writing(self):
        """Called by the event loop: its write buffer is over the high-water mark."""
        self._is_write_paused = True
        if self._transport is not None:
            self._call("pause_writing")

    def resume_writing(self):
        """Called by the event loop: its write buffer is below the low-water mark."""
        cdef bytes ping = self._latest_ping
        self._is_write_paused = False
        self._latest_ping = None
        if ping is not None and self._transport is not None and self._transport.can_send():
            self._transport.send_control(WSMsgType.PONG, ping)
        if self._transport is not None:
            try:
                self._call("resume_writing")
            except (KeyboardInterrupt, SystemExit) as exc:
                self._leave_loop(exc)

    def connection_lost(self, exc):
        """Called by the event loop, last."""
        cdef WSTransport transport = self._transport
        if self._state == DISCONNECTED:
            return
        if self._state == OPENING:
            self.handshake_ended(exc)
        elif self._state == OPEN and self._parser.is_held_back and not self._is_delivering:
            self._is_paused = False
            self._has_ended = True
            self._parser.take_rest()
            self._deliver()
        self._state = DISCONNECTED
        self._clear_deadline()
        self._parser.discard()
        if self._poll_ns > 0:
            self._parser.leave_pollers()
        self._peer = None
        if self._output is not None:
            self._output.lose()
        if self._auto_ping is not None:
            self._auto_ping.stop()
            self._auto_ping = None
        if transport is None:
            return
        if transport.logs_debug:
            self._logger.log(PICOWS_DEBUG_LL, "disconnected: %r, %r", exc, transport.close_handshake)
        transport.mark_disconnected(exc)
        try:
            self._listener.on_ws_disconnected(transport)
        except Exception as error:   # the user's code
            self._report_failure(error, "on_ws_disconnected")
        # A TLS transport keeps methods of ours, and users keep transports: that must not keep listeners alive.
        self._listener = self._on_frame = self._on_read_end = None
        self._transport = None
        transport.finish()

    def _leave_loop(self, interrupt):
        """Let a KeyboardInterrupt or SystemExit end the run of the loop.

        uvloop (0.23) takes whatever leaves its read and write callbacks for a failed connection; out of other callbacks
        interrupts pass.
        """
        self.loop.call_soon(raise_again, interrupt)

    # TransportOwner

    cdef int pause_reading(self) except -1:
        if self._is_paused or self._state != OPEN or self._has_ended:
            return 0
        self._is_paused = True
        if not self._is_delivering:
            self._parser.is_held_back = True
            self._hold_peer(True)
        return 0

    cdef int resume_reading(self) except -1:
        if not self._is_paused or self._state != OPEN:
            return 0
        self._is_paused = False
        if not self._is_delivering:
            self.loop.call_soon(self._resume)
        return 0

    cdef int deliver_held_back(self) except -1:
        if self._is_paused or self._state != OPEN:
            return 0
        if self._is_delivering:
            return self._deliver_more()
        if not self._parser.is_held_back:
            return 0
        self._parser.take_rest()
        return self._deliver()

    cdef int _deliver_more(self) except -1:
        """The listener asks for what its pause left of the read that it is being told the end of.

        An exception waits until `on_read_end` is over: frames that came before it may still be answered.
        """
        if self._callback != ON_READ_END or self._has_failed or not self._parser.has_unparsed():
            return 0
        self._parser.settle_kept()
        self._callback = NO_CALLBACK
        try:
            self._deliver_frames()
        except Exception as exc:   # the peer broke the protocol, or the user's code failed
            self._postponed = exc
            self._postponed_callback = self._callback
            self._has_failed = True
        self._callback = ON_READ_END
        return 0

    cdef int close_frame_sent(self) except -1:
        if self.options.enable_auto_close and not self._has_received_close:
            self._set_deadline(CLOSE_TIMEOUT, self._close_timed_out)
        return 0

    cdef int drop(self, bint graceful) except -1:
        if self._state == DISCONNECTED or self._peer is None:
            return 0
        self._is_dropped = True
        self._state = LINGERING
        self._parser.discard()
        if graceful:
            self._output.flush()
        self._output.stop()
        if graceful:
            self._hold_peer(False)   # a TLS transport that is paused when the peer ends its side does not close
            self._output.when_written(self._peer.close)
        else:
            self._peer.abort()
        return 0

    cdef int fail(self, object exception) except -1:
        return self._fail(exception)

    cdef object send_listener_ping(self):
        self._listener.send_user_specific_ping(self._transport)

    cdef bint has_more_input(self):
        return self._is_delivering and (self._parser.has_unparsed() or self._listener.has_undelivered())

    # Reading

    cdef int _look_up_hooks(self) except -1:
        cdef WSListener listener = self._listener
        self._hooks_version = listener.hooks_version
        self._on_frame = python_override(listener, "on_ws_frame")
        self._on_read_end = python_override(listener, "on_read_end")
        self._wants_read_end = is_overridden(listener, "on_read_end")
        return 0

    cdef int _received(self, size_t size) except -1:
        if self._tracks_activity:
            self._last_read_ns = ws_clock_ns()
        if self._state == OPEN:
            self._transport.bytes_received += size
            if self._parser.received(size):
                self._deliver()
                if self._poll_ns > 0:
                    self._busy_poll()
        elif self._state == OPENING:
            self.handshake_received(self._parser.take_raw(size))
        else:
            self._parser.received(size)
            self._parser.discard()
            self._parser.end_read(False)
        return 0

    cdef int _deliver(self) except -1:
        """Deliver the frames of one read, and what nested reads added meanwhile."""
        self._is_delivering = True
        self._output.begin_read()
        try:
            self._deliver_until_done()
            while self._parser.is_held_back and not self._is_paused and self._state == OPEN:
                self._parser.end_read(False)
                self._parser.take_rest()
                self._deliver_until_done()
        finally:
            self._is_delivering = False
            self._callback = NO_CALLBACK
            self._parser.end_read(self._is_paused and self._state == OPEN)
            self._output.end_read()
        if self._state == OPEN:
            self._hold_peer(self._is_paused)
        return 0

    cdef int _deliver_until_done(self) except -1:
        cdef bint was_paused
        cdef uint64_t delivered = self._transport.frames_received
        while True:
            try:
                self._deliver_frames()
                was_paused = self._is_paused
                # The listener may take more of the read meanwhile: then it has not been told the end of that.
                while self._wants_read_end and self._state == OPEN and self._transport.frames_received > delivered:
                    delivered = self._transport.frames_received
                    self._call_on_read_end()
                    self._parser.settle_kept()
                if not was_paused or self._is_paused or self._state != OPEN:
                    return 0
            except Exception as exc:   # the peer broke the protocol, or the user's code failed
                self._delivery_failed(exc, self._transport.frames_received > delivered)
                if self._state != OPEN:
                    return 0

    cdef int _call_on_read_end(self) except -1:
        self._callback = ON_READ_END
        if self._on_read_end is not None:
            self._on_read_end(self._transport)
        else:
            self._listener.on_read_end(self._transport)
        self._callback = NO_CALLBACK
        if self._postponed is not None:
            self._raise_postponed()
        return 0

    def _raise_postponed(self):
        exception = self._postponed
        self._postponed = None
        self._has_failed = False
        self._callback = self._postponed_callback
        raise exception

    cdef int _deliver_frames(self) except -1:  # hot
        cdef:
            WSFrame frame
            WSTransport transport = self._transport
            WSListener listener = self._listener
            FrameParser parser = self._parser
        if self._hooks_version != listener.hooks_version:
            self._look_up_hooks()
        while self._state == OPEN and not self._is_paused:
            frame = parser.next_frame()
            if frame is None:
                return 0
            transport.frames_received += 1
            if frame.msg_type >= WSMsgType.CLOSE or transport.expects_pong or transport.logs_debug:
                if self._intercepts(frame):
                    parser.recycle(frame)
                    continue
            self._callback = ON_WS_FRAME
            if self._on_frame is not None:
                self._on_frame(transport, frame)  # hot: the user's callback
            else:
                listener.deliver_frame(transport, frame)
            self._callback = NO_CALLBACK
            if frame.msg_type == WSMsgType.CLOSE:
                self._after_close_frame(frame)
            parser.recycle(frame)
            if self._hooks_version != listener.hooks_version:
                self._look_up_hooks()
        return 0

    cdef bint _intercepts(self, WSFrame frame) except -1:
        """Handle what the listener need not see; returns whether the frame was consumed."""
        cdef WSTransport transport = self._transport
        if transport.logs_debug:
            self._logger.log(PICOWS_DEBUG_LL, "received %s", frame)
        if frame.msg_type == WSMsgType.CLOSE:
            self._has_received_close = True
            transport.close_frame_received(<const uint8_t*> frame.payload_ptr, frame.payload_size)
            return False
        if frame.msg_type == WSMsgType.PING:
            transport.pings_received += 1
            if self.options.enable_auto_pong:
                self._answer_ping(frame)
                return True
        if not transport.expects_pong:
            return False
        self._callback = IS_USER_SPECIFIC_PONG
        cdef bint is_pong = self._listener.is_user_specific_pong(frame)
        self._callback = NO_CALLBACK
        if is_pong:
            transport.notify_user_specific_pong_received()
        return is_pong

    cdef int _answer_ping(self, WSFrame frame) except -1:
        """RFC 6455 section 5.5.3: only the latest ping needs an answer, and a peer that does not read gets no more than
        that.
        """
        if not self._transport.can_send():
            return 0
        if self._is_write_paused:
            self._latest_ping = frame.get_payload_as_bytes()
            return 0
        return self._transport.send_control(WSMsgType.PONG, frame)

    def _resume(self):
        """A pause is over: deliver what it held back, then read on."""
        if self._is_paused or self._state != OPEN:
            return
        self.deliver_held_back()
        if self._state == OPEN and not self._is_paused:
            self._hold_peer(False)

    cdef int _hold_peer(self, bint hold) except -1:
        """Stop or restart the transport's reading; a pause that ends within one delivery never gets here."""
        if hold == self._is_peer_held:
            return 0
        self._is_peer_held = hold
        if hold:
            self._peer.pause_reading()
        else:
            self._peer.resume_reading()
        return 0

    # Closing and failing

    cdef int _after_close_frame(self, WSFrame frame) except -1:
        """The listener saw a CLOSE frame. RFC 6455 section 5.5.1: answer it with the same code; nothing follows it."""
        cdef WSTransport transport = self._transport
        if self._state != OPEN:
            return 0
        if not self.options.enable_auto_close:
            self._state = LINGERING
            self._parser.discard()
            self._is_paused = False
            self._hold_peer(False)   # the end of the stream is still to be read
            return 0
        if not transport.is_close_frame_sent:
            transport.send_close(frame.get_close_code())
        return self._complete_close()

    cdef int _complete_close(self) except -1:
        """CLOSE went both ways. RFC 6455 section 7.1.1: the server ends TCP, the client lets it, up to a deadline."""
        if self._state != OPEN:
            return 0
        self._state = LINGERING
        self._parser.discard()
        self._output.flush()
        self._output.stop()
        self._is_paused = False
        self._hold_peer(False)
        if self.is_client_side:
            return self._set_deadline(LINGER_TIMEOUT, self._close_peer)
        self._close_peer()
        return 0

    def _close_peer(self):
        """End the connection when what is queued has left; TLS also waits for the peer to end its side."""
        cdef bint is_all_sent = self._unsent() == 0
        self._peer.close()
        self._set_deadline(LINGER_TIMEOUT if is_all_sent else CLOSE_TIMEOUT, self.abort)

    def _close_timed_out(self):
        self._logger.log(PICOWS_DEBUG_LL, "the peer did not answer CLOSE within %g s", CLOSE_TIMEOUT)
        self.abort()

    cdef int _fail(self, object exception) except -1:
        """RFC 6455 section 7.1.7: fail the connection, telling the peer why as far as it concerns it."""
        cdef WSTransport transport = self._transport
        if self._state != OPEN:
            return 0
        code, reason = describe_failure(exception)
        if self.is_client_side:
            transport.fail_with(exception)
        elif isinstance(exception, WSProtocolError):
            self._logger.info("closing the connection: %s", exception)
        transport.note_cause(exception)
        transport.send_close(code, reason)
        self.finish()
        return 0

    def _parser_failed(self, exception):
        """The peer broke the protocol, or there was no memory for what it sent."""
        if not isinstance(exception, WSProtocolError):
            self._logger.error("cannot receive", exc_info=exception)
        self._fail(exception)

    cdef int _callback_failed(self, object exception, str name) except -1:
        self._report_failure(exception, name)
        return self._fail(exception)

    def _delivery_failed(self, exception, bint has_delivered):
        """The parser or a callback raised; `has_delivered`: after frames that on_read_end has not been called for."""
        cdef Callback callback = self._callback
        self._callback = NO_CALLBACK
        if callback == NO_CALLBACK:
            self._has_failed = True   # the frame that is at fault must not be parsed again
            if has_delivered:
                self._end_read_before_failure()
            self._parser_failed(exception)
            return
        self._parser.forget_frame()
        if callback != ON_WS_FRAME or self.options.disconnect_on_exception:
            self._callback_failed(exception, _CALLBACK_NAMES[callback])
            return
        self._logger.error(
            "on_ws_frame raised; disconnect_on_exception is False, so the connection goes on", exc_info=exception
        )
        if self._has_received_close and self._state == OPEN:
            self._complete_close_after_error()

    def _end_read_before_failure(self):
        """Frames that came before the fault can still be answered: after the CLOSE that tells of it, nothing can."""
        if not self._wants_read_end:
            return
        try:
            self._call_on_read_end()
        except Exception as exc:   # the user's code
            self._callback = NO_CALLBACK
            self._callback_failed(exc, _CALLBACK_NAMES[ON_READ_END])

    def _complete_close_after_error(self):
        if not self.options.enable_auto_close:
            self._state = LINGERING
            self._is_paused = False
            self._hold_peer(False)
            return
        self._transport.send_close(self._transport.close_handshake.recv.code)
        self._complete_close()

    def _report_failure(self, exception, name):
        """What the user's code raised belongs to whoever waits for the connection's end; a server has nobody, so it
        logs.
        """
        if self.is_client_side:
            self._transport.fail_with(exception)
        else:
            self._logger.error("%s raised", name, exc_info=exception)

    def _call(self, name):
        """Call a callback of the listener that takes no argument."""
        try:
            getattr(self._listener, name)()
        except Exception as exc:   # the user's code
            self._report_failure(exc, name)
            # The transport may have called from inside a write, which must not find the connection closed when it goes
            # on.
            self.loop.call_soon(self._fail_soon, exc)

    def _fail_soon(self, exception):
        self._fail(exception)

    def _write_failed(self, exc):
        """A direct write failed. The loop finds the end of the stream when all that the peer sent was read."""
        if self._transport is not None:
            self._transport.fail_with(exc)
        self._logger.log(PICOWS_DEBUG_LL, "write failed: %r", exc)
        if exc.errno in _READABLE_AFTER and not self._is_paused:
            self._set_deadline(CLOSE_TIMEOUT, self.abort)
        else:
            # Not abort() of our own, which drops what a pause holds back.
            self._peer.abort()

    cdef int _set_deadline(self, double seconds, object callback) except -1:
        """The one timer of the connection's present step; a later step replaces it."""
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, callback)
        return 0

    def _clear_deadline(self):
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # Auto ping

    def _start_auto_ping(self):
        self._last_read_ns = ws_clock_ns()
        self._auto_ping = AutoPing(
            self.loop, self.options, send_ping=self._send_auto_ping, idle_seconds=self._idle_seconds,
            is_reading_paused=self._is_reading_paused, timed_out=self._auto_ping_timed_out,
        )

    def _idle_seconds(self):
        return (ws_clock_ns() - self._last_read_ns) * 1e-9

    def _is_reading_paused(self):
        return bool(self._is_paused)

    def _send_auto_ping(self):
        """Ask the listener for a ping; returns whether an answer is to be expected."""
        cdef WSTransport transport = self._transport
        if self._state != OPEN or not transport.can_send():
            return False
        if transport.expect_pong(self._auto_ping.pong_received):
            return True   # a measurement's ping is under way: its answer counts
        try:
            self._listener.send_user_specific_ping(transport)
        except Exception as exc:   # the user's code
            self._callback_failed(exc, "send_user_specific_ping")
            return False
        return True

    def _auto_ping_timed_out(self, seconds):
        if self._state != OPEN:
            return
        self._logger.info("the peer did not answer a ping within %g s: disconnecting", seconds)
        self._transport.send_close(CloseCode.GOING_AWAY, "ping timeout")
        self._state = LINGERING
        self._parser.discard()
        self._output.stop()
        # A silent peer takes nothing that still waits, so only what the kernel has already is worth a second.
        self._peer.close()
        self._set_deadline(LINGER_TIMEOUT, self.abort)

    # Busy polling

    cdef int _busy_poll(self) except -1:
        """We just sent something: look for the answer for some microseconds instead of sleeping in the event loop.

        While one answer follows another this goes on, but not for long: then back through the loop, so that other
        connections are served; epoll reports levels, so no wake-up is lost.
        """
        cdef int64_t received, end = 0
        while self._may_poll():
            received = self._parser.poll(self._fd, self._poll_ns)
            if received <= 0:
                return self._poll_missed(received)
            self._poll_ns = self.options.busy_poll_ns
            if self._tracks_activity:
                self._last_read_ns = ws_clock_ns()
            self._transport.bytes_received += received
            if self._parser.received(received):
                self._deliver()
            if end == 0:
                end = ws_clock_ns() + POLL_TURN_NS
            elif ws_clock_ns() > end:
                self._arm_poll()
                return 0
        return 0

    cdef bint _may_poll(self) except -1:
        if self._poll_is_armed or self._fd < 0 or self._is_paused or self._state != OPEN:
            return False
        return self._output.sent_in_read() and self._parser.is_only_poller()

    cdef int _poll_missed(self, int64_t result) except -1:
        """Nothing came in time, or the connection has ended, which the transport finds out by itself."""
        if result == 0:
            return 0
        if ws_would_block(result):
            self._poll_ns = max(self._poll_ns // 2, <int64_t> self.options.busy_poll_ns // 16 + 1)
            return 0
        # The socket has told us its error and will not tell the transport: it has to hear of it.
        self._logger.log(PICOWS_DEBUG_LL, "read failed: errno %d", -result)
        self._peer.abort()
        return 0

    def _arm_poll(self):
        if self._state == OPEN and not self._poll_is_armed:
            self._poll_is_armed = True
            self.loop.call_soon(self._poll_again)

    def _poll_again(self):
        self._poll_is_armed = False
        if self._state == OPEN:
            self._busy_poll()


cdef int64_t read_connection(object protocol, int fd, size_t* room) except? -1:  # hot
    """Read the socket of a connection and deliver what came, for its `SocketTransport`."""
    cdef ConnectionProtocol connection = <ConnectionProtocol> protocol
    cdef int64_t received = connection._parser.read(fd, room)  # hot: memory may be short
    if received > 0:
        connection._received(received)
    return received


cdef object connection_target(object protocol):
    """Where the next decrypted bytes go, for `TLSLayer`: it brings the rest later, so the room does not matter."""
    return (<ConnectionProtocol> protocol)._parser.read_target(0)


cdef int connection_received(object protocol, Py_ssize_t size) except -1:
    """So many are there."""
    return (<ConnectionProtocol> protocol)._received(size)


cdef int tls_send(object transport, object data, object more) except -1:
    """Encrypt and send, for `Output`."""
    return (<TLSLayer> transport).send(data, more)


def set_no_delay(sock):
    """Switch Nagle's algorithm off; a Unix socket has none."""
    if ws_set_no_delay(sock.fileno()) == 0:
        return
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
