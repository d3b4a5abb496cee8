# cython: auto_pickle=False, autotestdict=False
"""Between asyncio and the layers that know nothing of it: one object for each connection.

ConnectionProtocol adds asyncio's callbacks and auto ping to what its bases do, from above: `polling`, `delivery` to the
listener, `ending`. States, moved only in these files: OPENING -> OPEN -> LINGERING -> DISCONNECTED, every one of the
first three may also go straight to the last.
Guaranteed: `on_ws_connected` comes first, `on_ws_disconnected` last and once; bytes received before the connection was
lost are delivered before that is reported. Nothing waits without a deadline.
"""

import socket

from libc.stdint cimport int64_t
from picows.ending cimport CLOSE_TIMEOUT, DISCONNECTED, OPEN, OPENING
from picows.enums cimport WSCloseCode, WSMsgType
from picows.listener cimport WSListener
from picows.native cimport ws_clock_ns, ws_set_no_delay
from picows.output cimport Output
from picows.polling cimport PollingProtocol
from picows.socket_transport cimport SocketTransport
from picows.tls_transport cimport TLSLayer
from picows.transport cimport WSTransport

from picows.keepalive import AutoPing
from picows.options import PICOWS_DEBUG_LL
from picows.tls_transport import raise_again

cdef enum:
    TLS_RECORD_SIZE = 17408   # bytes: the largest record (RFC 8446 section 5.2) and its header, rounded up


cdef class ConnectionProtocol(PollingProtocol):
    """Receives what an asyncio transport reads and drives one connection; subclasses add the opening handshake."""

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
        self._start_polling()
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

    cdef int _received(self, size_t size) except -1:
        if self._tracks_activity:
            self._last_read_ns = ws_clock_ns()
        if self._state == OPEN:
            self._transport.bytes_received += size
            if self._poll_ns > 0:
                self._note_read()
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
        self._stop_polling()
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
        self._leave(WSCloseCode.GOING_AWAY, "ping timeout")


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
