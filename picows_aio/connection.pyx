# cython: auto_pickle=False, autotestdict=False
"""Connections: messages in, messages out.

A `Connection` is a listener of the core, built in layers, a module each: `StreamSource`, what is known of it and how it
ends (`Endpoint`), receiving, sending, pushing; here are the core's callbacks, pings, and what connects the layers. What
`recv()`, `send()` and `async for` return are operations that finish in their first step whenever there is nothing to
wait for.
"""

import asyncio

from picows.enums cimport WSMsgType
from picows.frame cimport WSFrame
from picows.transport cimport WSTransport
from picows_aio.endpoint cimport CLOSED, OPEN
from picows_aio.pushing cimport PushingEndpoint
from picows_aio.inbox cimport UNBOUNDED

from picows_aio.connection_stats import ConnectionStats
from picows_aio.keepalive import Keepalive
from picows_aio.pings import PendingPings, control_payload

cdef enum:
    LEAST_QUEUE_BYTES = 1 << 20      # bytes that may wait, whatever the message limit
    UNLIMITED_QUEUE_BYTES = 1 << 24  # the same where messages are not limited

_CORE_TOTALS = (
    "frames_sent", "frames_received", "bytes_sent", "bytes_received", "pings_sent", "pings_received", "write_backlog",
)


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


cdef class Connection(PushingEndpoint):
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
        high, low = queue_bounds(max_queue)
        self._high = UNBOUNDED if high is None else high
        self._low = UNBOUNDED if high is None else low
        if high is None:
            self._high_bytes = UNBOUNDED
        elif protocol.max_size is None:
            self._high_bytes = UNLIMITED_QUEUE_BYTES
        else:
            self._high_bytes = max(<size_t> LEAST_QUEUE_BYTES, <size_t> protocol.max_size)
        self._write_limit = write_bounds(write_limit)
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._close_timeout = close_timeout

    # Called by the core

    cpdef on_ws_connected(self, WSTransport transport):
        """The opening handshake is complete."""
        self._transport = transport
        self._peer = None
        self.forget_heads()
        high, low = self._write_limit
        transport.set_write_buffer_limits(high, low)
        self._set_state(OPEN)
        if self._ping_interval is not None:
            self._keepalive = Keepalive(self, self._loop, self._ping_interval, self._ping_timeout)

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        """A frame arrived."""
        self.deliver_frame(transport, frame)

    cdef int deliver_frame(self, WSTransport transport, WSFrame frame) except -1:
        if frame.msg_type < WSMsgType.CLOSE:
            return self.receive(frame)
        if frame.msg_type == WSMsgType.PONG:
            self._pong_received(frame.get_payload_as_bytes())
        else:
            self._close_frame_received(frame.get_close_code(), frame.get_close_message())
        return 0

    cpdef on_read_end(self, WSTransport transport):
        """All frames of a read are in the queue, or as many as fit."""
        self.wake_reader()
        self.wake_streams()

    cpdef on_ws_disconnected(self, WSTransport transport):
        """TCP is gone: wake everybody."""
        self._set_state(CLOSED)
        self._cancel_timers()
        if self._discarded:
            self.logger.warning(
                "%d frames were dropped while the connection was closed: nobody received, and %d messages wait already",
                self._discarded, self.messages_waiting(),
            )
        self._is_paused = False
        if self._pings is not None:
            self._pings.fail(self._closed_error())
        self.close_pushes()
        self._wake_drainers()
        self.senders_end()
        self.wake_reader()
        self.end_streams()
        self._wake_close_waiters()

    def stats(self):
        """Totals of it and its streams, a :class:`picows_aio.ConnectionStats`, all zero before it is open."""
        core = None if self._transport is None else self._transport.stats()
        streams = self.stream_stats()
        fragments_size = 0 if self._streamed is None else self._streamed.size
        return ConnectionStats(
            state=self.state,
            messages_waiting=self.messages_waiting(),
            bytes_waiting=self._queue.size + fragments_size + sum(stream.depth_bytes for stream in streams),
            is_reading_paused=bool(self._is_paused),
            latency=self.latency,
            streams=streams,
            **{name: 0 if core is None else getattr(core, name) for name in _CORE_TOTALS},
        )

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
        payload = None if data is None else control_payload(data)
        await self._ready_to_send()
        payload = self._pending_pings().choose_payload(payload)
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
        payload = control_payload(data)
        await self._ready_to_send()
        self._transport.send_pong(payload)

    def keepalive_ping(self):
        """Send a ping whose answer only updates the latency."""
        self._send_ping(self._pending_pings().choose_payload(None), None)

    def bytes_received(self):
        """Bytes that came in so far: any of them is a sign of life."""
        return 0 if self._transport is None else self._transport.bytes_received

    def _pending_pings(self):
        if self._pings is None:
            self._pings = PendingPings()
        return self._pings

    def _send_ping(self, payload, future):
        self._pings.add(payload, future)
        self._transport.send_ping(payload)

    def _pong_received(self, payload):
        latency = None if self._pings is None else self._pings.answer(payload)
        if latency is not None:
            self.latency = latency
