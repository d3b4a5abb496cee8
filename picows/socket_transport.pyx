# cython: auto_pickle=False, autotestdict=False
"""A transport for plain sockets over the event loop's `add_reader` and `add_writer`: what asyncio's own does, in C.

It calls the same methods of its protocol in the same order as asyncio's transports do. States: open; closing
(`close()`: what is queued is still written, nothing is read); lost (`connection_lost` was called, or is about to be,
from the loop). Everything runs in the loop's thread.
"""

import socket
import warnings
from asyncio import BufferedProtocol
from asyncio.trsock import TransportSocket
from collections import deque
from logging import getLogger
from os import strerror

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromObject, PyMemoryView_GET_BUFFER
from picows.native cimport (
    WS_HAS_DIRECT_IO, WS_MAX_PARTS, ws_clock_ns, ws_part, ws_recv, ws_send, ws_send_parts, ws_would_block,
)

cdef enum:
    TURN_NS = 200_000              # reading goes on for so long before other connections have their turn
    STREAM_READ_SIZE = 65536       # bytes, for protocols that bring no buffer
    DEFAULT_HIGH_WATER = 65536     # bytes
    IGNORED_WRITES_TO_TELL = 5

HAS_SOCKET_TRANSPORTS = bool(WS_HAS_DIRECT_IO)   # whether this system lets them work

_logger = getLogger("picows.transport")


@cython.final
cdef class SocketTransport:
    """One connection over a socket, for protocols of asyncio; the interface is that of :class:`asyncio.Transport`."""

    _start_tls_compatible = True

    def __init__(self, loop, sock, protocol, *, peername=None, server=None):
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._peername = peername
        self._high, self._low = DEFAULT_HIGH_WATER, DEFAULT_HIGH_WATER // 4
        self.set_protocol(protocol)
        if server is not None:
            self._server = server
            server.attach(self)

    def __repr__(self):
        state = "lost" if self._is_lost else "closing" if self._is_closing else "open"
        return f"<SocketTransport {state} fd={self._fd}>"

    def __del__(self):
        if self._sock is not None:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._sock.close()

    # For the code that makes transports, and for protocols of ours

    cdef int fileno(self):
        """The socket's descriptor; -1 when it is closed."""
        return self._fd

    cdef int read_with(self, ws_reader reader) except -1:
        """Let the protocol read the socket itself from now on, until it is replaced."""
        self._read = reader
        return 0

    def begin(self):
        """Tell the protocol, then read; what it raises leaves nothing open."""
        try:
            self._protocol.connection_made(self)
        except BaseException:
            self._is_closing = self._is_lost = True
            self._watch(False)
            self._let_go()
            raise
        self._watch(True)

    cdef int write_bytes(self, bytes data) except -1:
        """`write` for what is bytes and not empty."""
        cdef int64_t size = PyBytes_GET_SIZE(data)
        cdef int64_t sent
        if self._backlog_size > 0 or self._is_lost or self._has_written_eof:
            self.write(data)
            return 0
        sent = ws_send(self._fd, PyBytes_AS_STRING(data), size)
        if sent == size:
            return 0
        if sent < 0:
            if not ws_would_block(sent):
                return self._failed(OSError(-sent, strerror(-sent)), "cannot write")
            sent = 0
        return self._queue(PyMemoryView_FromObject(data), sent)

    # asyncio.BaseTransport

    def get_extra_info(self, name, default=None):
        """Facts about the connection: ``socket``, ``sockname`` and ``peername``."""
        if name == "peername":
            return default if self._peername is None else self._peername
        if self._sock is not None:
            if name == "socket":
                return TransportSocket(self._sock)
            if name == "sockname":
                return self._sock.getsockname()
        elif name == "sockname" and self._sockname is not None:
            return self._sockname
        return default

    def set_protocol(self, protocol):
        """Let another protocol receive what comes from now on."""
        self._protocol = protocol
        self._read = NULL
        self._get_buffer = self._buffer_updated = self._data_received = None
        if isinstance(protocol, BufferedProtocol):
            self._get_buffer, self._buffer_updated = protocol.get_buffer, protocol.buffer_updated
        else:
            self._data_received = getattr(protocol, "data_received", None)

    def get_protocol(self):
        """The protocol that receives what comes."""
        return self._protocol

    def is_closing(self):
        """Whether the connection is closing or closed."""
        return self._is_closing

    def close(self):
        """Stop reading, write what is queued, then close."""
        if self._is_closing:
            return
        self._is_closing = True
        self._watch(False)
        if self._backlog_size == 0:
            self._lose(None)

    def abort(self):
        """Close now, without what is queued."""
        self._force_close(None)

    # Reading

    def is_reading(self):
        """Whether what comes is received."""
        return not self._is_closing and not self._is_paused

    def pause_reading(self):
        """Receive nothing until :meth:`resume_reading`."""
        if self._is_closing or self._is_paused:
            return
        self._is_paused = True
        self._watch(False)

    def resume_reading(self):
        """Receive again."""
        if self._is_closing or not self._is_paused:
            return
        self._is_paused = False
        self._watch(True)

    cdef int _watch(self, bint wanted) except -1:
        """Let the loop call when there is input, if that is possible and wanted."""
        wanted = wanted and not self._is_closing and not self._is_paused
        if wanted == self._is_registered:
            return 0
        self._is_registered = wanted
        if wanted:
            self._loop.add_reader(self._fd, self._readable)
        else:
            self._loop.remove_reader(self._fd)
        return 0

    def _readable(self):
        """There is input. A read that fills its buffer is followed by another, until the turn is over."""
        cdef size_t room = 0
        cdef int64_t received, end = 0
        try:
            while self._is_registered:
                received = self._receive(&room)
                if received <= 0:
                    break
                if <size_t> received < room:
                    return
                if end == 0:
                    end = ws_clock_ns() + TURN_NS
                elif ws_clock_ns() > end:
                    return
            else:
                return
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:   # the protocol's
            self._failed(exc, "a protocol failed to receive")
            return
        if received == 0:
            self._end_of_stream()
        elif not ws_would_block(received):
            self._failed(OSError(-received, strerror(-received)), "cannot read")

    cdef int64_t _receive(self, size_t* room) except? -1:
        cdef int64_t received
        cdef Py_buffer* target
        cdef bytes data
        if self._read != NULL:
            return self._read(self._protocol, self._fd, room)
        if self._get_buffer is not None:
            view = PyMemoryView_FromObject(self._get_buffer(-1))
            target = PyMemoryView_GET_BUFFER(view)
            if target.len == 0 or target.readonly:
                raise RuntimeError("get_buffer() must return a writable buffer that is not empty")
            room[0] = target.len
            received = ws_recv(self._fd, target.buf, target.len)
            if received > 0:
                self._buffer_updated(received)
            return received
        room[0] = STREAM_READ_SIZE
        data = PyBytes_FromStringAndSize(NULL, STREAM_READ_SIZE)
        received = ws_recv(self._fd, PyBytes_AS_STRING(data), STREAM_READ_SIZE)
        if received > 0:
            self._data_received(data[:received])
        return received

    cdef int _end_of_stream(self) except -1:
        try:
            keeps_open = self._protocol.eof_received()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:   # the protocol's
            return self._failed(exc, "a protocol failed in eof_received()")
        if keeps_open:
            self._watch(False)
        else:
            self.close()
        return 0

    # Writing

    def write(self, data):
        """Write bytes: to the socket at once what it takes, the rest as it can.

        Raises:
            TypeError: `data` is not bytes-like.
            RuntimeError: After :meth:`write_eof`.
        """
        cdef Py_buffer* source
        cdef int64_t sent = 0
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be bytes, bytearray or memoryview, not {type(data).__name__}")
        if self._has_written_eof:
            raise RuntimeError("write() after write_eof()")
        view = PyMemoryView_FromObject(data)
        source = PyMemoryView_GET_BUFFER(view)
        if not view.c_contiguous:
            return self.write(bytes(data))
        if source.len == 0:
            return
        if self._is_lost:
            self._ignored_writes += 1
            if self._ignored_writes == IGNORED_WRITES_TO_TELL:
                _logger.warning("the connection is lost: what is written is ignored")
            return
        if self._backlog_size == 0:
            sent = ws_send(self._fd, source.buf, source.len)
            if sent == source.len:
                return
            if sent < 0:
                if not ws_would_block(sent):
                    self._failed(OSError(-sent, strerror(-sent)), "cannot write")
                    return
                sent = 0
        self._queue(view, sent)

    def writelines(self, list_of_data):
        """Write several pieces with one system call."""
        self.write(b"".join(list_of_data))

    cdef int _queue(self, object view, size_t done) except -1:
        """Keep what the socket did not take: a reference to bytes, a copy of what its owner may change."""
        cdef bint is_first = self._backlog_size == 0
        rest = view.cast("B")[done:]
        if not PyBytes_CheckExact(view.obj):
            rest = PyMemoryView_FromObject(bytes(rest))
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append(rest)
        self._backlog_size += len(rest)
        if is_first:
            self._loop.add_writer(self._fd, self._writable)
        self._pause_protocol_if_needed()
        return 0

    def _writable(self):
        """The socket takes more: write as many pieces at once as it takes."""
        cdef ws_part parts[WS_MAX_PARTS]
        cdef Py_buffer* piece
        cdef int64_t sent = 0
        cdef unsigned int count = 0
        cdef Py_ssize_t left
        if self._is_lost:
            return
        for view in self._backlog:
            piece = PyMemoryView_GET_BUFFER(view)
            parts[count].data = piece.buf
            parts[count].size = piece.len
            count += 1
            if count == WS_MAX_PARTS:
                break
        sent = ws_send_parts(self._fd, parts, count)
        if sent < 0:
            if not ws_would_block(sent):
                self._failed(OSError(-sent, strerror(-sent)), "cannot write")
            return
        self._backlog_size -= sent
        left = sent
        while left > 0:
            first = self._backlog[0]
            if len(first) > left:
                self._backlog[0] = first[left:]
                break
            left -= len(first)
            self._backlog.popleft()
        if self._backlog_size == 0:
            self._backlog = None
            self._loop.remove_writer(self._fd)
        self._resume_protocol_if_possible()   # may write
        if self._backlog_size > 0 or self._is_lost:
            return
        if self._is_closing:
            self._lose(None)
        elif self._has_written_eof:
            self._shut_down()

    def can_write_eof(self):
        """True: a TCP connection can be closed for writing alone."""
        return True

    def write_eof(self):
        """End the stream when what is queued is written; reading goes on."""
        if self._is_closing or self._has_written_eof:
            return
        self._has_written_eof = True
        if self._backlog_size == 0:
            self._shut_down()

    def _shut_down(self):
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as exc:   # the peer has gone already
            self._failed(exc, "cannot end the stream")

    def get_write_buffer_size(self):
        """Bytes that wait to be written."""
        return self._backlog_size

    def get_write_buffer_limits(self):
        """The low and the high water mark in bytes."""
        return self._low, self._high

    def set_write_buffer_limits(self, high=None, low=None):
        """Set the marks for ``pause_writing`` and ``resume_writing`` in bytes.

        Args:
            high: None: four times `low`, or 64 KiB.
            low: None: a quarter of `high`.
        """
        if high is None:
            high = DEFAULT_HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be at least low ({low!r}), which must not be negative")
        self._high, self._low = high, low
        self._pause_protocol_if_needed()

    def _pause_protocol_if_needed(self):
        if self._backlog_size > self._high and not self._is_protocol_paused:
            self._is_protocol_paused = True
            self._call_protocol(self._protocol.pause_writing, "pause_writing")

    def _resume_protocol_if_possible(self):
        if self._is_protocol_paused and self._backlog_size <= self._low:
            self._is_protocol_paused = False
            self._call_protocol(self._protocol.resume_writing, "resume_writing")

    cdef int _call_protocol(self, object callback, str name) except -1:
        try:
            callback()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:   # the protocol's: the connection goes on
            self._report(exc, f"a protocol failed in {name}()")
        return 0

    # The end

    cdef int _failed(self, object exc, str message) except -1:
        """The connection cannot go on."""
        if not isinstance(exc, OSError):
            self._report(exc, message)
        elif self._loop.get_debug():
            _logger.debug("%r: %s", self, message, exc_info=exc)
        self._force_close(exc)
        return 0

    def _report(self, exc, message):
        context = {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
        self._loop.call_exception_handler(context)

    def _force_close(self, exc):
        if self._is_lost:
            return
        self._forget_backlog()
        self._is_closing = True
        self._watch(False)
        self._lose(exc)

    cdef int _forget_backlog(self) except -1:
        if self._backlog_size > 0:
            self._backlog = None
            self._backlog_size = 0
            self._loop.remove_writer(self._fd)
        return 0

    cdef int _lose(self, object exc) except -1:
        """Tell the protocol in the loop's next turn: nobody expects it inside a call of its own."""
        self._is_lost = True
        self._loop.call_soon(self._end, exc)
        return 0

    def _end(self, exc):
        if self._sock is None:
            return
        try:
            self._protocol.connection_lost(exc)
        finally:
            self._let_go()

    cdef int _let_go(self) except -1:
        """Close the socket; only the facts about it stay."""
        server, sock = self._server, self._sock
        self._forget_backlog()
        try:
            self._sockname = sock.getsockname()
        except OSError:   # whoever brought the socket has closed it already
            pass
        self._sock = self._server = self._protocol = None
        self._read = NULL
        self._get_buffer = self._buffer_updated = self._data_received = None
        self._fd = -1
        sock.close()
        if server is not None:
            server.detach(self)
        return 0
