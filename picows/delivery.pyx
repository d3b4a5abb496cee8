# cython: auto_pickle=False, autotestdict=False
"""From reads to the listener's callbacks, with pauses, and what becomes of exceptions.

Guaranteed: no frame is delivered inside a callback of the same connection.
"""

from libc.stdint cimport uint8_t, uint64_t
from picows.ending cimport OPEN, EndingProtocol
from picows.enums cimport WSMsgType
from picows.frame cimport WSFrame
from picows.listener cimport WSListener, is_overridden, python_override
from picows.parser cimport FrameParser
from picows.transport cimport WSTransport

from picows.options import PICOWS_DEBUG_LL

_CALLBACK_NAMES = {
    ON_WS_FRAME: "on_ws_frame", ON_READ_END: "on_read_end", IS_USER_SPECIFIC_PONG: "is_user_specific_pong"
}


cdef class DeliveringProtocol(EndingProtocol):
    """Delivers frames to the listener of a connection."""

    cdef int _look_up_hooks(self) except -1:
        cdef WSListener listener = self._listener
        self._hooks_version = listener.hooks_version
        self._on_frame = python_override(listener, "on_ws_frame")
        self._on_read_end = python_override(listener, "on_read_end")
        self._wants_read_end = is_overridden(listener, "on_read_end")
        return 0

    cdef int _deliver(self) except -1:
        """Deliver the frames of one read, and what nested reads added meanwhile."""
        cdef bint is_interrupted = False
        self._is_delivering = True
        self._output.begin_read()
        try:
            self._deliver_until_done()
            while self._parser.is_held_back and not self._is_paused and self._state == OPEN:
                self._parser.end_read(False)
                self._parser.take_rest()
                self._deliver_until_done()
        except BaseException:  # an interrupt, which leaves the loop: a later run goes on with the next frame
            self._parser.forget_frame()
            is_interrupted = self._state == OPEN
            if is_interrupted and not self._is_paused:
                self.loop.call_soon(self._resume)
            raise
        finally:
            self._is_delivering = False
            self._callback = NO_CALLBACK
            self._parser.end_read((self._is_paused or is_interrupted) and self._state == OPEN)
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

    # Frames that the listener need not see

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

    cdef object send_listener_ping(self):
        self._listener.send_user_specific_ping(self._transport)

    # Pauses

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

    def _resume(self):
        """A pause is over: deliver what it held back, then read on."""
        if self._is_paused or self._state != OPEN:
            return
        self.deliver_held_back()
        if self._state == OPEN and not self._is_paused:
            self._hold_peer(False)

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

    cdef bint has_more_input(self):
        return self._is_delivering and (self._parser.has_unparsed() or self._listener.has_undelivered())

    # Callbacks that raise

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

    cdef int _callback_failed(self, object exception, str name) except -1:
        self._report_failure(exception, name)
        return self._fail(exception)

    def _report_failure(self, exception, name):
        """What the user's code raised belongs to whoever waits for the connection's end; a server has nobody, so it
        logs.
        """
        if self.is_client_side:
            self._transport.fail_with(exception)
        else:
            self._logger.error("%s raised", name, exc_info=exception)

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
