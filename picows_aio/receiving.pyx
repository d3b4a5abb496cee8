# cython: auto_pickle=False, autotestdict=False
"""The receiving side of a connection: what programs call."""

import codecs
import sys

from picows_aio.awaitable cimport mark_coroutine_function, may_reuse
from picows_aio.inbox cimport UNBOUNDED, InboxEndpoint
from picows_aio.messages cimport FragmentedMessage, whole
from picows_aio.reading cimport (
    BatchIterator, FragmentOperation, FrameIterator, MessageIterator, NextOperation, RecvOperation, ViewIterator,
)

from picows_aio.exceptions import ConnectionClosedOK


cdef class ReceivingEndpoint(InboxEndpoint):
    """The receiving side of a connection; base of :class:`Connection`."""

    def recv(self, decode=None):
        """Receive the next message.

        Cancelling it loses nothing: the message stays for the next call.

        Args:
            decode: True for a str, False for bytes, whatever was sent; None for what was sent.

        Returns:
            A str for a text message, bytes for a binary one.

        Raises:
            ConnectionClosed: The connection is closed, and all that was received before was taken.
            ConcurrencyError: Another task receives, a stream is open, or a message was not taken whole from
                ``recv_streaming()`` or ``frames()``.
        """
        cdef RecvOperation operation = <RecvOperation> self._spare_recv
        if operation is None or not may_reuse(operation):
            operation = RecvOperation.__new__(RecvOperation)
        self._spare_recv = None
        operation.has_begun = False
        operation.endpoint = self
        operation.decode = decode
        return operation

    def __aiter__(self):
        if type(self).recv is not ReceivingEndpoint.recv or "recv" in getattr(self, "__dict__", ()):
            return self._iterate_overridden()
        cdef MessageIterator iterator = MessageIterator.__new__(MessageIterator)
        iterator._endpoint = self
        return iterator

    async def _iterate_overridden(self):
        """A subclass receives in its own way, or an object got another `recv`: iteration goes through that."""
        try:
            while True:
                yield await self.recv()
        except ConnectionClosedOK:
            return

    def __anext__(self):
        cdef NextOperation operation = NextOperation.__new__(NextOperation)
        operation.endpoint = self
        return operation

    async def recv_streaming(self, decode=None):
        """Receive the next message fragment by fragment, as the frames arrive.

        The message must be taken whole; once a stream was left half-way, receiving is a ConcurrencyError. Cancelling
        before the first fragment is safe.

        Args:
            decode: As for :meth:`recv`; text is decoded across the cuts between fragments.

        Yields:
            A str or bytes for each fragment.
        """
        cdef FragmentOperation operation = FragmentOperation.__new__(FragmentOperation)
        cdef FragmentedMessage message
        operation.endpoint = self
        first = await operation
        if not isinstance(first, FragmentedMessage):
            yield await self._convert(first, decode)
            return
        message = first
        is_text = message.is_text if decode is None else decode
        decoder = codecs.getincrementaldecoder("utf-8")() if is_text else None
        while True:
            if message.has_part():
                part = message.take()
                self.unpause()
                is_last = message.is_complete and not message.has_part()
                if is_last:
                    self._streamed = None
                yield part if decoder is None else await self._decode_part(decoder, part, is_last)
                if is_last:
                    return
            else:
                operation = FragmentOperation.__new__(FragmentOperation)
                operation.endpoint = self
                operation.has_begun = True
                await operation

    def frames(self, *, raw=False):
        """Iterate over data frames as they are on the wire: :class:`picows.WSFrame` objects, fragments included.

        Frames that are taken in the turn in which they arrive point into the read buffer, and nothing is copied. Each
        stays valid and unchanged for as long as it is held. Iterating counts as receiving; it ends as iteration over
        the connection does. Messages that were complete before the first frame was asked for come as one frame each.
        Once the first frame of a message was taken, the others have to be taken before any other way to receive can be
        used.

        Args:
            raw: Also where an extension such as permessage-deflate was negotiated, which then nothing undoes: from the
                first frame on the messages of this connection can only be received in this way.

        Raises:
            ValueError: An extension was negotiated.
        """
        if (self._deflate is not None or self._extensions is not None) and not raw:
            raise ValueError(
                "frames carry the payload of an extension here: pass raw=True to get it as it is, take messages by "
                "views(), or connect with compression=None"
            )
        cdef FrameIterator iterator = FrameIterator.__new__(FrameIterator)
        iterator._endpoint = self
        iterator._is_raw = raw
        return iterator

    def views(self):
        """Iterate over messages as read-only views of their bytes, text in UTF-8.

        A large message that arrived unfragmented and uncompressed is not copied. Each view stays valid and unchanged
        for as long as it is held; one of less than 4 KiB has memory of its own, so that keeping it keeps nothing else.
        Iterating counts as receiving; it ends as iteration over the connection does.
        """
        cdef ViewIterator iterator = ViewIterator.__new__(ViewIterator)
        iterator._endpoint = self
        return iterator

    def batches(self, *, max_messages=None, max_bytes=None):
        """Iterate over lists of messages: all that one read brought, at least one.

        While a task waits for a batch, ``max_queue`` does not cut reads into parts. Iterating counts as receiving; it
        ends as iteration over the connection does.

        Args:
            max_messages: Messages in a list at most; None: as many as there are.
            max_bytes: Bytes after which a list is complete; None: no bound of its own.

        Raises:
            ValueError, TypeError: A bound is no number of 1 or more.
        """
        for name, bound in (("max_messages", max_messages), ("max_bytes", max_bytes)):
            if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int)):
                raise TypeError(f"{name} must be an int or None, not {type(bound).__name__}")
            if bound is not None and not 1 <= bound <= sys.maxsize:
                raise ValueError(f"{name} must be from 1 to {sys.maxsize}, not {bound}")
        cdef BatchIterator iterator = BatchIterator.__new__(BatchIterator)
        iterator._endpoint = self
        iterator._max_messages = max_messages or UNBOUNDED
        iterator._max_bytes = max_bytes or UNBOUNDED
        return iterator

    async def _convert(self, message, decode):
        try:
            return whole(message, decode)
        except UnicodeDecodeError as exc:
            await self._fail_text(exc)

    async def _decode_part(self, decoder, part, is_last):
        try:
            return decoder.decode(part, is_last)
        except UnicodeDecodeError as exc:
            self._streamed = None
            await self._fail_text(exc)


mark_coroutine_function(ReceivingEndpoint.recv)
