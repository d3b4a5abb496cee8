# cython: auto_pickle=False, autotestdict=False
"""What a connection consists of, and how it ends: after a closing handshake, because something failed, or dropped.

RFC 6455 section 7.1. Every wait for the peer has a deadline.
"""

import errno

from picows.buffer cimport thread_pool
from picows.enums cimport WSCloseCode
from picows.frame cimport WSFrame
from picows.parser cimport FrameParser
from picows.transport cimport TransportOwner, WSTransport

from picows.closing import describe_failure
from picows.errors import WSProtocolError
from picows.options import PICOWS_DEBUG_LL

cdef double LINGER_TIMEOUT = 1.0   # seconds for the peer to end TCP after the last frame was sent
CLOSE_TIMEOUT = 10.0

# After these the socket can still be read: what the peer sent before must not be lost.
_READABLE_AFTER = {errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN, errno.ETIMEDOUT}


cdef class EndingProtocol(TransportOwner):
    """What a connection consists of, and how it comes apart."""

    def __init__(self, loop, options, *, bint is_client_side):
        self.loop = loop
        self.options = options
        self.is_client_side = is_client_side
        self._logger = options.logger
        self._state = OPENING
        self._parser = FrameParser(
            expects_mask=not is_client_side,
            max_frame_size=options.max_frame_size,
            strict=options.strict,
            allowed_rsv=options.allowed_rsv,
            validate_utf8=options.validate_utf8,
            pool=thread_pool(),
        )

    def finish(self):
        """The last bytes were written: wait for the peer to end the connection, discarding what it sends, not for long.

        Closing at once would be answered with a reset if anything had arrived unread, and a reset destroys what we
        wrote last.
        """
        if self._state >= LINGERING:
            return
        self._stop_frames()
        try:
            if self._peer.can_write_eof():
                self._peer.write_eof()
            else:
                self._peer.close()
        except OSError as exc:   # the peer has reset the connection, which the loop is about to find out
            self._logger.log(PICOWS_DEBUG_LL, "cannot half-close: %r", exc)
        self._linger(self.loop.time() + CLOSE_TIMEOUT, self._unsent())

    cdef int _stop_frames(self) except -1:
        """No frame is delivered or sent any more; what was sent leaves, and the peer is read up to its end."""
        self._state = LINGERING
        self._parser.discard()
        self._output.flush()
        self._output.stop()
        self._is_paused = False
        return self._hold_peer(False)

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

    def _unsent(self):
        """Bytes that the transport holds; asyncio's TLS transport forgets how to tell once it was closed twice."""
        try:
            return self._peer.get_write_buffer_size()
        except AttributeError:
            return 0

    def abort(self):
        """Drop the connection now."""
        self.drop(False)

    cdef int drop(self, bint graceful) except -1:
        if self._state == DISCONNECTED or self._peer is None:
            return 0
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

    # The closing handshake

    cdef int close_frame_sent(self) except -1:
        if self.options.enable_auto_close and not self._has_received_close:
            self._set_deadline(CLOSE_TIMEOUT, self._close_timed_out)
        return 0

    def _close_timed_out(self):
        self._logger.log(PICOWS_DEBUG_LL, "the peer did not answer CLOSE within %g s", CLOSE_TIMEOUT)
        self.abort()

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
        self._stop_frames()
        if self.is_client_side:
            return self._set_deadline(LINGER_TIMEOUT, self._close_peer)
        self._close_peer()
        return 0

    def _complete_close_after_error(self):
        """The same when the listener failed at the CLOSE frame, and the connection goes on in spite of it."""
        if not self.options.enable_auto_close:
            self._state = LINGERING
            self._is_paused = False
            self._hold_peer(False)
            return
        self._transport.send_close(self._transport.close_handshake.recv.code)
        self._complete_close()

    def _close_peer(self):
        """End the connection when what is queued has left; TLS also waits for the peer to end its side."""
        cdef bint is_all_sent = self._unsent() == 0
        self._peer.close()
        self._set_deadline(LINGER_TIMEOUT if is_all_sent else CLOSE_TIMEOUT, self.abort)

    # Failures

    cdef int fail(self, object exception) except -1:
        return self._fail(exception)

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

    cdef int _leave(self, int code, str reason) except -1:
        """The peer is silent. It takes nothing that still waits, so only what the kernel has already is worth a second.
        """
        self._transport.send_close(<WSCloseCode> code, reason)
        self._state = LINGERING
        self._parser.discard()
        self._output.stop()
        self._peer.close()
        return self._set_deadline(LINGER_TIMEOUT, self.abort)

    def _parser_failed(self, exception):
        """The peer broke the protocol, or there was no memory for what it sent."""
        if not isinstance(exception, WSProtocolError):
            self._logger.error("cannot receive", exc_info=exception)
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

    # The peer and the clock

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

    cdef int _set_deadline(self, double seconds, object callback) except -1:
        """The one timer of the connection's present step; a later step replaces it."""
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, callback)
        return 0

    def _clear_deadline(self):
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
