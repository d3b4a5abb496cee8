# cython: auto_pickle=False, autotestdict=False
"""Streams over the callback core, for `picows.ws_connect` and `picows.ws_create_server`."""

import asyncio
import logging
from time import monotonic_ns

from picows.enums cimport WSCloseCode, WSMsgType
from picows.frame cimport WSFrame
from picows.transport cimport WSTransport
from picows_aio.assembly cimport MessageAssembler, is_whole_message
from picows_aio.messages cimport MessageQueue, whole
from picows_aio.stream_queue cimport StreamQueue
from picows_aio.streaming cimport StreamSource

from picows import WSProtocolError
from picows_aio.assembly import invalid_text
from picows_aio.closed import closed_error, overflow_reason
from picows_aio.exceptions import PayloadTooBig

cdef size_t UNBOUNDED = <size_t> -1


cdef class StreamListener(StreamSource):
    """A listener of the core whose messages go to streams: ``listener.stream()`` opens one.

    While no stream is open, the first message that comes is kept for the next stream and nothing more is read, so that
    nothing is lost; a peer that sends nothing and goes is noticed. Fragments are put together; PING and CLOSE frames
    are left to the core. A subclass that overrides a callback calls that of this class too.

    Args:
        max_size: Bytes of a message; None: no limit.
    """

    def __init__(self, max_size=2**20):
        if max_size is not None and (isinstance(max_size, bool) or not isinstance(max_size, int)):
            raise TypeError(f"max_size must be an int or None, not {type(max_size).__name__}")
        if max_size is not None and max_size < 1:
            raise ValueError(f"max_size must be 1 or more, not {max_size}")
        self._loop = asyncio.get_running_loop()
        self._max_size = UNBOUNDED if max_size is None else max_size
        self._assembler = MessageAssembler(max_size, None)
        self._held = MessageQueue()

    @property
    def logger(self):
        """Where the connection logs."""
        return logging.getLogger("picows") if self._transport is None else self._transport.logger

    cpdef on_ws_connected(self, WSTransport transport):
        """Called by the core: the opening handshake is complete."""
        self._transport = transport

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        """Called by the core: a frame arrived."""
        if frame.msg_type >= WSMsgType.CLOSE:
            if frame.msg_type == WSMsgType.CLOSE:
                # No frame follows, so the core does not report the end of this read.
                self._loop.call_soon(self._input_ended)
            return
        try:
            self._receive(frame)
        except UnicodeDecodeError as exc:
            self._fail(invalid_text(exc, exc.start))
        except WSProtocolError as exc:
            self._fail(exc)

    cpdef on_read_end(self, WSTransport transport):
        """Called by the core: the frames of a read are in the streams, or as many as fit."""
        self.wake_streams()

    cpdef on_ws_disconnected(self, WSTransport transport):
        """Called by the core: the connection is gone."""
        self._is_paused = False
        self.stop_patience()
        self.end_streams()

    cdef int _receive(self, WSFrame frame) except -1:
        if is_whole_message(frame) and self._assembler.current is None:
            if <size_t> frame.payload_size > self._max_size:
                self._refuse(frame.payload_size)
            if frame.msg_type == WSMsgType.TEXT:
                return self._accept(frame.get_payload_as_utf8_text(), frame.payload_size)
            return self._accept(frame.get_payload_as_bytes(), frame.payload_size)
        message = self._assembler.add(frame)
        return 0 if message is None else self._accept(message, self._assembler.completed_size)

    cdef int _accept(self, object message, size_t size) except -1:
        if self._stream_queues is not None:
            return self.offer_to_streams(message, size)
        self._held.push(message, size)
        return self.check_bounds()

    cdef int stream_opened(self, StreamQueue queue) except -1:
        return self.replay_into(queue)

    cdef int replay_into(self, StreamQueue queue) except -1:
        cdef size_t size
        while self._held.count > 0 and not queue.is_shut:
            size = self._held.oldest_size()
            queue.offer(whole(self._held.pop(), None), size, monotonic_ns(), False)
        return 0

    def _refuse(self, size):
        error = PayloadTooBig(size, self._max_size)
        raise WSProtocolError(WSCloseCode.MESSAGE_TOO_BIG, str(error)) from error

    def _input_ended(self):
        self.wake_streams()

    def _fail(self, exc):
        self.wake_streams()   # messages that came before the violation can still be answered
        self._transport.fail(exc)

    cdef bint is_over_bounds(self):
        return self._held.count > 0 or StreamSource.is_over_bounds(self)

    cdef bint is_crowded(self):
        return self._held.count > 0 or StreamSource.is_crowded(self)

    cdef int overflowed(self, StreamQueue queue) except -1:
        code = WSCloseCode.POLICY_VIOLATION if self._transport.is_client_side else WSCloseCode.TRY_AGAIN_LATER
        self._transport.send_close(code, overflow_reason(queue.name))
        return self.begin_ending()

    def _closed_error(self):
        return closed_error(self._transport, None, self.is_gone())
