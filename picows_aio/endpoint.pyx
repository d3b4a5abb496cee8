# cython: auto_pickle=False, autotestdict=False
"""One end of a connection: what is known of it, and how it ends.

States: CONNECTING until `on_ws_connected`, OPEN, CLOSING once a CLOSE frame was sent or received, CLOSED when TCP is
gone. Nothing that was received is lost: messages stay readable in every state.
"""

import operator
import weakref

from picows.enums cimport WSCloseCode
from picows_aio.stream_queue cimport StreamQueue
from picows_aio.streaming cimport StreamSource

from picows import WSUpgradeRequest, WSUpgradeResponse
from picows_aio.closed import close_received, closed_error, overflow_reason
from picows_aio.exceptions import ProtocolError
from picows_aio.frames import CloseCode
from picows_aio.protocol import State
from picows_aio.session import ConnectionLogger
from picows_aio.translation import from_core_request, from_core_response

_STATES = tuple(State)


cdef class Endpoint(StreamSource):
    """The facts and the closing handshake of a connection; base of :class:`Connection`."""

    # What the opening handshake sets

    def attach(self, transport):
        """The TCP connection is up: addresses can be asked for."""
        self._peer = transport

    def set_request(self, request):
        """Our request, or one of the core, which is translated when it is asked for and forgotten once the transport
        has it.
        """
        self._request = request

    def set_response(self, response):
        """The same for the response."""
        self._response = response

    cdef int forget_heads(self) except -1:
        """The transport has them now, as bytes; what somebody has seen as an object stays that object."""
        if isinstance(self._request, WSUpgradeRequest):
            self._request = None
        if isinstance(self._response, WSUpgradeResponse):
            self._response = None
        return 0

    def set_extensions(self, extensions):
        """Extensions that both sides agreed on, in the order of the header."""
        self.protocol.extensions = tuple(extensions)
        if len(extensions) == 1 and hasattr(extensions[0], "codec"):
            self._deflate = extensions[0].codec
        elif extensions:
            self._extensions = list(extensions)

    # Public facts

    @property
    def request(self):
        """The :class:`picows_aio.Request` of the opening handshake; None before it is there."""
        if self._request is None and self._transport is not None:
            self._request = self._transport.request
        if isinstance(self._request, WSUpgradeRequest):
            self._request = from_core_request(self._request)
        return self._request

    @property
    def response(self):
        """The :class:`picows_aio.Response` of the opening handshake; None before it is there."""
        if self._response is None and self._transport is not None:
            self._response = self._transport.response
        if isinstance(self._response, WSUpgradeResponse):
            self._response = from_core_response(self._response)
        return self._response

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
        self.is_open()
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
        received = close_received(self._transport)
        return CloseCode.ABNORMAL_CLOSURE if received is None else received.code

    @property
    def close_reason(self):
        """Close reason received from the peer (RFC 6455 section 7.1.6); None while open, "" when there was none."""
        if self._state != CLOSED:
            return None
        received = close_received(self._transport)
        return "" if received is None else received.reason

    def _extra_info(self, name):
        if self._transport is not None:
            return self._transport.get_extra_info(name)
        return None if self._peer is None else self._peer.get_extra_info(name)

    # State

    cdef bint is_open(self) except -1:
        """Whether messages can be sent."""
        if self._state == OPEN and self._transport.is_close_frame_sent:
            # The core failed the connection: the peer broke the protocol.
            self._set_state(CLOSING)
            self._arm_close_deadline()
        return self._state == OPEN

    cdef bint is_gone(self):
        return self._state == CLOSED

    def _set_state(self, LifeCycle state):
        if state > self._state:
            self._state = state
            self.protocol.state = _STATES[state]
            if state >= CLOSING and self._keepalive is not None:
                self._keepalive.stop()   # from here on the deadline of closing counts
                self._keepalive = None

    async def _ensure_open(self):
        """Raise when nothing can be sent any more; where we began to close, as soon as it is known how that ends."""
        if not self.is_open():
            if close_received(self._transport) is None and self._transport is not None:
                await self.wait_closed()
            raise self._closed_error()

    def _closed_error(self):
        """The exception for who uses a connection that is closed or closing."""
        return closed_error(self._transport, self._close_cause, self._state == CLOSED)

    # Closing

    async def close(self, code=CloseCode.NORMAL_CLOSURE, reason=""):
        """Perform the closing handshake (RFC 6455 section 7.1.2) and wait for the end of the connection.

        Idempotent. Messages that the peer sent before its CLOSE frame can still be received: as many as the bound in
        bytes lets wait, and any number by who receives meanwhile. Where nobody does, those above it are dropped, and
        counted in the log. After ``close_timeout`` seconds for everything the connection is dropped.

        Args:
            code: Close code.
            reason: Close reason, at most 123 bytes in UTF-8.

        Raises:
            ProtocolError: The code or the reason must not be sent.
        """
        if self.is_open():
            if self.is_sending_half():
                code, reason = CloseCode.INTERNAL_ERROR, "close during fragmented message"
            self._start_close(code, reason)
        if self._state == CLOSING and self._transport is not None:
            self.begin_ending()
        await self.wait_closed()

    def _start_close(self, code, reason):
        code = operator.index(code)
        if code == 0:   # an empty CLOSE frame, to the core
            raise ProtocolError("close code 0 must not be sent")
        self.finish_pushes()
        try:
            self._transport.send_close(<WSCloseCode> <int> code, reason or None)
        except (ValueError, OverflowError) as exc:
            raise ProtocolError(str(exc)) from None
        self._set_state(CLOSING)
        self._arm_close_deadline()
        self.begin_ending()

    def _arm_close_deadline(self):
        if self._close_deadline is None and self._close_timeout is not None and self._state != CLOSED:
            self._close_deadline = self._loop.call_later(self._close_timeout, self._close_timed_out)

    def _cancel_timers(self):
        self.stop_patience()
        if self._close_deadline is not None:
            self._close_deadline.cancel()
            self._close_deadline = None

    cdef object longest_patience(self):
        return None if self._close_timeout is None else self._close_timeout / 4

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
        self.senders_end()
        # No frame follows, so the core does not report the end of this read.
        self._loop.call_soon(self._input_ended)
        if not self._transport.is_client_side:
            self._transport.disconnect()

    def _input_ended(self):
        self.on_read_end(self._transport)

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

    def _wake_close_waiters(self):
        waiters = self._close_waiters
        self._close_waiters = None
        if waiters is not None:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

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

    cdef int overflowed(self, StreamQueue queue) except -1:
        """A stream has no room and is to close the connection: a server may be asked again later, a client's peer
        is too fast for it (RFC 6455 section 7.4.1). It may come between the fragments of a message (section 5.4).
        """
        if self.is_open():
            code = CloseCode.POLICY_VIOLATION if self._transport.is_client_side else CloseCode.TRY_AGAIN_LATER
            self._start_close(code, overflow_reason(queue.name))
        return 0

    cdef bint is_sending_half(self):
        """Whether a message is being sent in fragments."""
        return False

    cdef int finish_pushes(self) except -1:
        """A CLOSE frame is about to be sent: what was kept aside has to go before it."""
        return 0

    cdef int senders_end(self) except -1:
        """Nothing can be sent any more: wake who waits for that."""
        return 0
