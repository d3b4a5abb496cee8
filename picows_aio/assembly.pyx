# cython: auto_pickle=False, autotestdict=False
"""Messages out of frames: fragments put together, payloads decompressed, custom extensions applied.

Every violation is a WSProtocolError; who feeds the frames fails the connection with it.
"""

import codecs

cimport cython
from picows.enums cimport WSCloseCode, WSMsgType
from picows.frame cimport WSFrame
from picows_aio.messages cimport FragmentedMessage, MessageLimits

from picows import WSProtocolError
from picows_aio.frames import Frame, Opcode


@cython.final
cdef class MessageAssembler:
    """Takes the data frames of one direction, in order.

    Args:
        max_size: Bytes of a message, after decompression; None: no limit.
        max_fragments: Fragments of a message; None: their memory is bounded instead of their number.
        deflate: Codec of permessage-deflate, or None.
        extensions: Other extensions that were agreed on, in the order of the header, or None.
    """

    def __init__(self, max_size, max_fragments, deflate=None, extensions=None):
        self._limits = MessageLimits(max_size, max_fragments)
        self._deflate = deflate
        self._extensions = extensions

    cdef object add(self, WSFrame frame):
        """Take a frame.

        Returns:
            The message that it completes: a str, bytes, or a complete FragmentedMessage. None: more frames belong to
            it.
        """
        cdef bint is_text
        if self._extensions is not None:
            return self._add_extended(frame)
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._check_reserved_bits(frame)
        if (frame.msg_type == WSMsgType.CONTINUATION) != (self.current is not None):
            raise WSProtocolError(
                WSCloseCode.PROTOCOL_ERROR,
                "a continuation frame continues nothing" if self.current is None else
                "a message begins before the one under way is complete",
            )
        if self.current is not None:
            is_text = self.current.is_text
        else:
            is_text = frame.msg_type == WSMsgType.TEXT
            self._is_compressed = frame.rsv1
        if self._is_compressed:
            return self._add_compressed(is_text, frame)
        return self._add_part(is_text, frame.get_payload_as_bytes(), frame.fin)

    def _check_reserved_bits(self, WSFrame frame):
        """The core allows what any extension could use; here it is known what was negotiated (RFC 6455 section 5.2)."""
        # RFC 7692 section 6: bit 1 says that a message is compressed, on its first frame.
        is_first = frame.msg_type == WSMsgType.TEXT or frame.msg_type == WSMsgType.BINARY
        if self._deflate is None or not is_first or frame.rsv2 or frame.rsv3:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "reserved bits must be 0")

    def _add_compressed(self, bint is_text, WSFrame frame):
        """RFC 7692 section 7.2.2, bounded at every step: an exact fit leaves a budget of none, not of infinity."""
        cdef size_t received = 0 if self.current is None else self.current.received()
        budget = None
        if self._limits.max_size is not None:
            budget = self._limits.max_size - received
        payload = self._deflate.decompress(frame, frame.fin, budget)
        if is_text and frame.fin and self.current is None:
            self.completed_size = len(payload)
            try:
                return payload.decode()
            except UnicodeDecodeError as exc:
                raise invalid_text(exc, exc.start) from exc
        if is_text:
            self._check_text(payload, frame.fin)
        if frame.fin and self.current is None:
            self.completed_size = len(payload)
            return payload
        return self._add_part(is_text, payload, frame.fin)

    def _check_text(self, payload, bint is_last):
        """What the core could not check, because it saw other octets."""
        if self._text_decoder is None:
            self._text_decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            self._text_decoder.decode(payload, is_last)
        except UnicodeDecodeError as exc:
            position = exc.start - len(self._text_decoder.getstate()[0])   # the decoder keeps half a character
            if self.current is not None:
                position += self.current.received()
            raise invalid_text(exc, position) from exc
        if is_last:
            self._text_decoder = None

    def _add_extended(self, WSFrame frame):
        """Custom extensions work on whole frame objects, the last one of the header first."""
        decoded = Frame(
            Opcode(int(frame.msg_type)), frame.get_payload_as_bytes(), bool(frame.fin), bool(frame.rsv1),
            bool(frame.rsv2), bool(frame.rsv3),
        )
        for extension in reversed(self._extensions):
            decoded = extension.decode(decoded, max_size=self._limits.max_size)
        if decoded.rsv1 or decoded.rsv2 or decoded.rsv3:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "reserved bits are set, but no extension owns them")
        payload = bytes(decoded.data)
        is_text = self.current.is_text if decoded.opcode is Opcode.CONT else decoded.opcode is Opcode.TEXT
        if is_text:
            self._check_text(payload, decoded.fin)
        if decoded.fin and self.current is None:
            self.completed_size = len(payload)
            return payload.decode() if is_text else payload
        return self._add_part(is_text, payload, decoded.fin)

    cdef object _add_part(self, bint is_text, bytes payload, bint is_last):
        cdef FragmentedMessage message = self.current
        if message is None:
            message = FragmentedMessage(is_text)
            self.current = message
        self._limits.check(message, len(payload))
        message.add(payload, is_last)
        if not is_last:
            return None
        self.current = None
        self.completed_size = message.size
        return message


def invalid_text(exc, position):
    """A WSProtocolError for text that is not UTF-8 (RFC 6455 section 8.1).

    Args:
        exc: What the decoder raised.
        position: Bytes of the message before.
    """
    return WSProtocolError(WSCloseCode.INVALID_TEXT, f"text is not valid UTF-8: {exc.reason} at position {position}")
