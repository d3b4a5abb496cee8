# cython: auto_pickle=False, autotestdict=False
"""TLS over any asyncio transport: a transport to the protocol above, a protocol to the transport below.

OpenSSL is reached through the standard library's `ssl.SSLObject` and two memory BIOs. It is asked to read only when a
complete record waits, because its answer "not yet" is an exception that costs as much as a record. Decrypted bytes go
straight to where the protocol above wants them.

States, moved only here: HANDSHAKING -> OPEN -> CLOSING -> ENDED, every one of the first three may also go straight to
the last.
Guaranteed: `connection_lost` comes once and last, from the transport below, that is never inside a call of the protocol
above; no bytes come inside `resume_reading`; what waits for the protocol above is one read of the transport below and
one record at most, and is delivered before the loss of the connection is told; nothing waits without a deadline.
"""

import asyncio
import logging
import ssl
import threading

from cpython.bytes cimport PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromObject, PyMemoryView_GET_BUFFER
from cpython.ref cimport PyObject
from picows.native cimport ws_recv

cdef extern from "Python.h":
    object PyObject_Call(object callable, object arguments, PyObject* keywords)

cdef enum:
    RECORD_SIZE = 18432     # bytes of the body of a record: 2^14 and 2048 (RFC 5246 section 6.2.3); TLS 1.3 has less
    PLAIN_SIZE = 16384      # bytes that one record carries (RFC 8446 section 5.1)
    HEADER_SIZE = 5
    SCRATCH_SIZE = 65536    # bytes asked from the transport below at once
    PART_SIZE = 65536       # bytes encrypted at once: a BIO keeps as much memory as ever was in it
    FIRST_CONTENT_TYPE = 20     # change_cipher_spec
    LAST_CONTENT_TYPE = 24      # heartbeat

cdef double HANDSHAKE_TIMEOUT = 60.0    # seconds
cdef double SHUTDOWN_TIMEOUT = 30.0     # seconds

_logger = logging.getLogger("picows.tls")
_threads = threading.local()

cdef object WantRead = ssl.SSLWantReadError
cdef object ZeroReturn = ssl.SSLZeroReturnError
cdef object TLSError = ssl.SSLError


cdef TLSScratch thread_scratch():
    """The scratch of the calling thread; event loops do not share threads."""
    cdef TLSScratch scratch
    cdef bytes memory
    try:
        return _threads.scratch
    except AttributeError:
        memory = PyBytes_FromStringAndSize(NULL, SCRATCH_SIZE)
        scratch = TLSScratch.__new__(TLSScratch)
        scratch.view = memoryview(ReadBuffer.over(memory, 0, SCRATCH_SIZE))
        scratch.read = ReadBuffer.over(memory, 0, SCRATCH_SIZE)
        _threads.scratch = scratch
        return scratch


def raise_again(exception):
    """Raise where the event loop lets it through."""
    raise exception


cdef object checked_timeout(str name, object seconds, double default):
    if seconds is None:
        return default
    if seconds <= 0:
        raise ValueError(f"{name} should be a positive number, got {seconds}")
    return seconds


cdef class TLSLayer:
    """Everything of `TLSTransport`."""

    _start_tls_compatible = True   # what asyncio's loop.start_tls asks for

    def __init__(
        self, loop, protocol, context, *, bint server_side=False, server_hostname=None, waiter=None,
        bint is_connected=False, ssl_handshake_timeout=None, ssl_shutdown_timeout=None,
    ):
        self._handshake_timeout = checked_timeout("ssl_handshake_timeout", ssl_handshake_timeout, HANDSHAKE_TIMEOUT)
        self._shutdown_timeout = checked_timeout("ssl_shutdown_timeout", ssl_shutdown_timeout, SHUTDOWN_TIMEOUT)
        self._loop = loop
        self._context = context
        self._waiter = waiter
        self._is_connected = is_connected
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(
            incoming, outgoing, server_side=server_side,
            server_hostname=None if server_side else server_hostname or None,
        )
        # The methods of an SSLObject are functions in Python around those of the same names in C.
        inner = self._ssl._sslobj if type(self._ssl) is ssl.SSLObject else self._ssl
        self._read = inner.read
        self._pending = inner.pending
        self._encrypt = inner.write
        self._feed_incoming = incoming.write
        self._take_outgoing = outgoing.read
        self._scratch = thread_scratch()
        self.set_protocol(protocol)

    # For protocols of ours

    cdef int deliver_with(self, tls_target target, tls_receiver receiver) except -1:
        """Deliver to the protocol above by these functions from now on, until it is replaced."""
        self._target, self._receiver = target, receiver
        return 0

    cdef int send(self, object data, object more=None) except -1:
        """`write`, of two pieces at once; the first must be small then."""
        cdef bytes sealed
        if self._state != OPEN:
            return 0
        try:
            if more is not None:
                self._encrypt(data)
                data = more
            sealed = self._seal(data)
        except TLSError as exc:
            return self._fail(exc)
        if sealed:
            self._write_below(sealed)
        return 0

    cdef int pollable(self) except? -1:
        """The socket whose next bytes are the next there is to read; -1: others wait already, or it is not known
        whether what was written has left.
        """
        if self._socket is None or self._state != OPEN or self._records > 0 or self._pending() > 0:
            return -1
        return self._socket.fileno()

    # asyncio.BufferedProtocol

    def connection_made(self, transport):
        """Called by the transport below, or by who puts this over it: begin the handshake."""
        self._below = transport
        if isinstance(transport, SocketTransport):
            self._socket = transport
            self._socket.read_with(read_records)
        self._set_deadline(self._handshake_timeout, self._handshake_timed_out)
        self._shake_hands()

    def get_buffer(self, sizehint):
        """Called by the transport below."""
        return self._scratch.view

    def buffer_updated(self, Py_ssize_t size):
        """Called by the transport below: so many bytes came."""
        try:
            self._received(size)
        except (KeyboardInterrupt, SystemExit) as exc:
            self._loop.call_soon(raise_again, exc)   # uvloop (0.23) takes it for a failure of the connection

    cdef int _received(self, Py_ssize_t size) except -1:
        cdef ReadBuffer read = self._scratch.read
        read.size = size
        self._feed_incoming(read)
        self._count_records(read.data, size)
        if self._state == OPEN:
            self._deliver()
        elif self._state == HANDSHAKING:
            self._shake_hands()
        elif self._state == CLOSING:
            self._discard()
            if self._state == CLOSING and self._has_peer_ended:
                self._finish()
        return 0

    def eof_received(self):
        """Called by the transport below. Without a close_notify before it, this may be somebody's truncation; what the
        protocol above carries tells, as with asyncio's own TLS.
        """
        self._has_peer_ended = True
        if self._state == HANDSHAKING:
            self._fail(ConnectionResetError("the peer ended the connection during the TLS handshake"))
        elif self._state == OPEN:
            self._deliver()
            return self._state == OPEN   # paused: the rest is delivered first
        elif self._state == CLOSING:
            self._finish()

    def pause_writing(self):
        """Called by the transport below."""
        self._is_write_paused = True
        if self._is_connected:
            self._protocol.pause_writing()

    def resume_writing(self):
        """Called by the transport below."""
        self._is_write_paused = False
        if self._is_connected:
            self._protocol.resume_writing()

    def connection_lost(self, exc):
        """Called by the transport below, last."""
        if self._state == OPEN:
            self._is_paused = False   # what waits is delivered now or never
            self._deliver_outside_read()
        protocol, waiter = self._protocol, self._waiter
        self._clear_deadline()
        self._state = ENDED
        self._protocol = self._waiter = self._get_buffer = self._buffer_updated = None
        self._target, self._receiver = NULL, NULL
        failure = self._failure if exc is None else exc
        self._failure = None   # its traceback refers to us
        if self._is_connected:
            self._is_connected = False
            protocol.connection_lost(failure)
        elif self._loop.get_debug():
            _logger.debug("TLS handshake failed: %r", failure)
        if waiter is not None and not waiter.done():
            waiter.set_exception(failure or ConnectionAbortedError("the connection was dropped"))

    # asyncio.Transport

    def get_extra_info(self, name, default=None):
        """What is known of the connection: of TLS here, of the rest below."""
        if name == "ssl_object":
            return self._ssl
        if name == "sslcontext":
            return self._context
        if name == "peercert":
            return self._ssl.getpeercert()
        if name == "cipher":
            return self._ssl.cipher()
        if name == "compression":
            return self._ssl.compression()
        return self._below.get_extra_info(name, default)

    def set_protocol(self, protocol):
        """Deliver to another protocol from now on."""
        self._protocol = protocol
        self._target, self._receiver = NULL, NULL
        if isinstance(protocol, asyncio.BufferedProtocol):
            self._get_buffer = protocol.get_buffer
            self._buffer_updated = protocol.buffer_updated
        else:
            self._get_buffer = self._buffer_updated = None

    def get_protocol(self):
        """The protocol above; None when the connection is lost."""
        return self._protocol

    def is_closing(self):
        """Whether nothing can be written any more."""
        return self._state >= CLOSING

    def is_reading(self):
        """Whether bytes are delivered as they come."""
        return self._state == OPEN and not self._is_paused

    def pause_reading(self):
        """Deliver nothing until `resume_reading`."""
        if self._state == OPEN and not self._is_paused:
            self._is_paused = True
            self._hold_below(True)

    def resume_reading(self):
        """Deliver again, beginning in a later turn of the loop."""
        if not self._is_paused or self._state != OPEN:
            return
        self._is_paused = False
        if self._records > 0 or self._has_peer_ended or self._failure is not None:
            self._loop.call_soon(self._resume)
        else:
            self._hold_below(False)

    def write(self, data):
        """Encrypt and send; nothing is done with bytes that come after `close`."""
        self.send(data)

    def writelines(self, list_of_data):
        """The same for several pieces, as one."""
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self):
        """Encrypted bytes that the transport below holds."""
        return self._below.get_write_buffer_size()

    def set_write_buffer_limits(self, high=None, low=None):
        """When the protocol above is to pause writing, in encrypted bytes."""
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self):
        """The limits in force: low, high."""
        return self._below.get_write_buffer_limits()

    def can_write_eof(self):
        """TLS connections end on both sides at once."""
        return False

    def write_eof(self):
        """Not possible."""
        raise NotImplementedError("a TLS connection cannot be closed on one side")

    def close(self):
        """Send what was written and close_notify, wait for the peer's, and close; nothing more is delivered."""
        if self._state == HANDSHAKING:
            self.abort()
        if self._state != OPEN:
            return
        self._state = CLOSING
        self._set_deadline(self._shutdown_timeout, self._shutdown_timed_out)
        self._discard()   # OpenSSL takes unread bytes for an error now
        if self._state != CLOSING:
            return
        try:
            self._ssl.unwrap()
        except WantRead:
            self._flush()
            if self._has_peer_ended:
                self._finish()
            else:
                self._hold_below(False)
        except TLSError as exc:
            self._fail(exc)
        else:
            self._flush()
            self._finish()

    def abort(self):
        """Drop the connection, and what is not sent yet."""
        if self._state != ENDED:
            self._state = ENDED
            self._below.abort()

    def _force_close(self, exc):
        """What asyncio's own TLS calls on the transport below it."""
        if self._state != ENDED:
            self._fail(exc)

    # The handshake

    cdef int _shake_hands(self) except -1:
        try:
            self._ssl.do_handshake()
        except WantRead:
            return self._flush()
        except TLSError as exc:
            return self._fail(exc)
        self._clear_deadline()
        self._state = OPEN
        self._flush()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._is_connected:
            self._loop.call_soon(self._resume)   # only the waiter can tell the protocol which transport it has now
            return 0
        self._is_connected = True
        self._protocol.connection_made(self)
        if self._is_write_paused:
            self._protocol.pause_writing()
        return self._deliver()   # what came with the last flight

    def _handshake_timed_out(self):
        self._fail(ConnectionAbortedError(f"the TLS handshake took longer than {self._handshake_timeout} seconds"))

    # Reading

    cdef int _count_records(self, const uint8_t* data, size_t size) noexcept:  # hot
        """Follow the stream of records to know of whole ones; what cannot be one is for OpenSSL to refuse at once."""
        cdef size_t taken
        if self._is_untracked:
            self._records += 1
            return 0
        while size > 0:
            if self._body_missing > 0:
                taken = min(size, self._body_missing)
                self._body_missing -= taken
                data += taken
                size -= taken
            else:
                self._header[self._header_filled] = data[0]
                self._header_filled += 1
                data += 1
                size -= 1
                if self._header_filled < HEADER_SIZE:
                    continue
                self._header_filled = 0
                self._body_missing = <size_t> self._header[3] << 8 | self._header[4]
                if not FIRST_CONTENT_TYPE <= self._header[0] <= LAST_CONTENT_TYPE or self._header[1] != 3 \
                        or self._body_missing > RECORD_SIZE:
                    self._is_untracked = True
                    self._records += 1
                    return 0
            if self._body_missing == 0:
                self._records += 1
        return 0

    cdef int _deliver(self) except -1:
        """Hand what is complete to the protocol above, as long as it takes it."""
        cdef Py_ssize_t size
        while self._state == OPEN and not self._is_paused:
            if self._records == 0:
                if self._failure is not None:
                    return self._fail(self._failure)
                if self._has_peer_ended:
                    self._protocol.eof_received()
                    self.close()
                return 0
            target = self._next_target()
            size = self._decrypt(target, PyMemoryView_GET_BUFFER(target).len)
            if size > 0:
                self._hand_up(size)
        return 0

    cdef object _next_target(self):
        """A writable memoryview."""
        if self._target != NULL:
            return self._target(self._protocol)
        if self._get_buffer is None:
            return self._scratch.view
        target = PyMemoryView_FromObject(self._get_buffer(-1))
        if target.nbytes == 0:
            raise RuntimeError("get_buffer() returned an empty buffer")
        return target

    cdef int _hand_up(self, Py_ssize_t size) except -1:
        """So many bytes are in the target: let the protocol above have them."""
        if self._receiver != NULL:
            return self._receiver(self._protocol, size)
        if self._buffer_updated is not None:
            self._buffer_updated(size)
        else:
            self._protocol.data_received(bytes(self._scratch.view[:size]))
        return 0

    cdef Py_ssize_t _decrypt(self, object target, Py_ssize_t room) except -1:
        """Decrypt at least a piece of a record into `target`, and more records as long as they have room for sure.

        Returns:
            The bytes there. When `_records` is 0 then, `_failure` and `_has_peer_ended` may tell what follows them.
        """
        cdef Py_ssize_t filled = 0, asked, size
        cdef object part = target
        try:
            while True:
                asked = min(room - filled, <Py_ssize_t> SCRATCH_SIZE)
                size = self._read_into(part, asked)
                if size == 0:
                    self._has_peer_ended = True
                    self._records = 0
                    return filled
                filled += size
                if size == asked and self._pending() > 0:
                    return filled
                self._records -= 1
                if self._records == 0 or room - filled < PLAIN_SIZE:
                    return filled
                part = target[filled:]
        except WantRead:
            # Records that carried nothing for the protocol above; some are answered.
            self._records = 0
            self._flush()
        except ZeroReturn:
            self._has_peer_ended = True
            self._records = 0
        except TLSError as exc:
            self._failure = exc
            self._records = 0
        return filled

    cdef Py_ssize_t _read_into(self, object target, Py_ssize_t size) except -1:
        """`SSLObject.read`. Most calls repeat the arguments of the latest one, whichever connection that was for."""
        cdef TLSScratch scratch = self._scratch
        if target is not scratch.latest_target or size != scratch.latest_size:
            scratch.latest_target, scratch.latest_size = target, size
            scratch.arguments = (size, target)
        return PyObject_Call(self._read, scratch.arguments, NULL)

    def _resume(self):
        """Deliver what waits, then read on."""
        if self._state != OPEN or self._is_paused:
            return
        self._deliver_outside_read()
        if self._state == OPEN and not self._is_paused:
            self._hold_below(False)

    cdef int _deliver_outside_read(self) except -1:
        """The same where no transport below deals with what the protocol above raises."""
        try:
            self._deliver()
        except Exception as exc:
            self._loop.call_exception_handler({
                "message": "a protocol failed to receive",
                "exception": exc, "transport": self, "protocol": self._protocol,
            })
            self._fail(exc)
        return 0

    cdef int _hold_below(self, bint hold) except -1:
        if hold == self._is_below_paused:
            return 0
        self._is_below_paused = hold
        if hold:
            self._below.pause_reading()
        else:
            self._below.resume_reading()
        return 0

    # The end

    cdef int _discard(self) except -1:
        """Read what nobody wants any more, for the end that may stand behind it."""
        while self._records > 0:
            self._decrypt(self._scratch.view, SCRATCH_SIZE)
        if self._failure is not None:
            return self._fail(self._failure)
        return 0

    cdef bytes _seal(self, object data):
        """The records that carry `data`, and what OpenSSL has written before them."""
        cdef Py_ssize_t pos, size
        cdef list parts
        if not PyBytes_CheckExact(data):
            data = memoryview(data)
            if data.nbytes != len(data):
                data = data.cast("B")
        size = len(data)
        if size <= PART_SIZE:
            if size > 0:
                self._encrypt(data)
            return self._take_outgoing()
        data = memoryview(data)
        parts = []
        for pos in range(0, size, PART_SIZE):
            self._encrypt(data[pos:pos + PART_SIZE])
            parts.append(self._take_outgoing())
        return b"".join(parts)

    cdef int _write_below(self, bytes sealed) except -1:
        if self._socket is not None:
            return self._socket.write_bytes(sealed)
        self._below.write(sealed)
        return 0

    cdef int _flush(self) except -1:
        """Send what OpenSSL has written on its own."""
        sealed = self._take_outgoing()
        if sealed:
            self._write_below(sealed)
        return 0

    cdef int _finish(self) except -1:
        """TLS has ended: the transport below sends what it holds and closes, until the deadline of the shutdown."""
        self._state = ENDED
        self._below.close()
        return 0

    cdef int _fail(self, object exception) except -1:
        """End the connection because of an exception, telling the peer what OpenSSL wants to tell it."""
        self._failure = exception
        self._state = ENDED
        self._flush()
        self._below.abort()
        return 0

    def _shutdown_timed_out(self):
        self._failure = TimeoutError(f"the TLS shutdown took longer than {self._shutdown_timeout} seconds")
        self._state = ENDED
        self._below.abort()

    cdef int _set_deadline(self, object seconds, object callback) except -1:
        self._clear_deadline()
        self._deadline = self._loop.call_later(seconds, callback)
        return 0

    cdef int _clear_deadline(self) except -1:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        return 0


class TLSTransport(TLSLayer, asyncio.BufferedProtocol):
    """One TLS connection over the transport that calls `connection_made`.

    Args:
        protocol: Told of the connection when the handshake is done.
        context: The ssl.SSLContext.
        server_side: Wait for the client's hello instead of sending one.
        server_hostname: The name that the server's certificate must have; None: not checked.
        waiter: A future for the result of the handshake: None, or why there is no connection.
        is_connected: The protocol knows of the connection already and goes on with it over TLS.
        ssl_handshake_timeout: Seconds for the handshake; None: 60.
        ssl_shutdown_timeout: Seconds for what is written and both close_notify; None: 30.
    """

    __slots__ = ()


cdef int64_t read_records(object protocol, int fd, size_t* room) except? -1:  # hot
    """Read the socket of a connection, for its `SocketTransport`."""
    cdef TLSLayer layer = <TLSLayer> protocol
    cdef int64_t received = ws_recv(fd, layer._scratch.read.data, SCRATCH_SIZE)
    room[0] = SCRATCH_SIZE
    if received > 0:
        layer._received(received)
    return received
