# cython: auto_pickle=False, autotestdict=False
"""The closing handshake: codes and reasons on the wire (RFC 6455 sections 5.5.1 and 7.4)."""

from cpython.unicode cimport PyUnicode_DecodeUTF8
from picows cimport native
from picows.enums cimport WSCloseCode

from picows.enums import WSCloseCode as CloseCode
from picows.errors import WSProtocolError

cdef enum:
    MAX_REASON_SIZE = native.WS_MAX_CONTROL_PAYLOAD - 2   # bytes: what the code leaves of a control frame

# What each status of the C codec means to the peer: the close code and the reason.
_VIOLATIONS = {
    native.WS_ERR_OPCODE: (CloseCode.PROTOCOL_ERROR, "unknown opcode"),
    native.WS_ERR_RSV: (CloseCode.PROTOCOL_ERROR, "reserved bits are set, but no extension owns them"),
    native.WS_ERR_CONTROL_FRAGMENTED: (CloseCode.PROTOCOL_ERROR, "fragmented control frame"),
    native.WS_ERR_CONTROL_TOO_LONG: (CloseCode.PROTOCOL_ERROR, "control frame with a payload over 125 bytes"),
    native.WS_ERR_MASK_MISSING: (CloseCode.PROTOCOL_ERROR, "frame from a client is not masked"),
    native.WS_ERR_MASK_UNEXPECTED: (CloseCode.PROTOCOL_ERROR, "frame from a server is masked"),
    native.WS_ERR_LENGTH_NOT_MINIMAL: (CloseCode.PROTOCOL_ERROR, "payload length is not encoded in the fewest bytes"),
    native.WS_ERR_LENGTH_HIGH_BIT: (CloseCode.PROTOCOL_ERROR, "payload length has its highest bit set"),
    native.WS_ERR_CONTINUATION_UNEXPECTED: (CloseCode.PROTOCOL_ERROR, "continuation frame without a message"),
    native.WS_ERR_CONTINUATION_EXPECTED: (CloseCode.PROTOCOL_ERROR, "new message inside a fragmented message"),
    native.WS_ERR_CLOSE_LENGTH: (CloseCode.PROTOCOL_ERROR, "close frame with a payload of one byte"),
    native.WS_ERR_CLOSE_CODE: (CloseCode.PROTOCOL_ERROR, "invalid close code"),
    native.WS_ERR_CLOSE_REASON: (CloseCode.INVALID_TEXT, "close reason is not valid UTF-8"),
    native.WS_ERR_UTF8: (CloseCode.INVALID_TEXT, "text is not valid UTF-8"),
}


cdef class WSCloseInfo:
    """One side's CLOSE frame.

    Attributes:
        code: The close code, NO_INFO when the frame had none.
        reason: The reason as text, None when the frame had none.
    """

    def __repr__(self):
        return f"WSCloseInfo(code={self.code!r}, reason={self.reason!r})"

    def __eq__(self, other):
        if not isinstance(other, WSCloseInfo):
            return NotImplemented
        return self.code == (<WSCloseInfo> other).code and self.reason == (<WSCloseInfo> other).reason

    def __hash__(self):
        return hash((int(self.code), self.reason))


cdef class WSCloseHandshake:
    """The CLOSE frames of a connection.

    Attributes:
        recv: The :class:`WSCloseInfo` that was received, or None.
        sent: The :class:`WSCloseInfo` that was sent, or None.
        recv_then_sent: Whether the peer began the closing handshake.
    """

    def __repr__(self):
        return f"WSCloseHandshake(recv={self.recv!r}, sent={self.sent!r}, recv_then_sent={bool(self.recv_then_sent)})"


cdef bytes close_payload(int code, message):
    """The payload of a CLOSE frame (RFC 6455 section 5.5.1); ValueError for what must not travel."""
    cdef bytes reason
    if message is None:
        reason = b""
    elif isinstance(message, str):
        reason = (<str> message).encode("utf-8")
    else:
        reason = bytes(memoryview(message))
    if code == WSCloseCode.NO_INFO:
        if reason:
            raise ValueError("a close message needs a close code: NO_INFO sends an empty payload")
        return b""
    if len(reason) > MAX_REASON_SIZE:
        raise ValueError(f"close message is {len(reason)} bytes long, at most {MAX_REASON_SIZE} fit into a CLOSE frame")
    cdef bytes payload = bytes((code >> 8 & 0xFF, code & 0xFF)) + reason
    cdef int status = native.WS_ERR_CLOSE_CODE
    if 0 < code < 65536:
        status = native.ws_check_close(<const uint8_t*> <char*> payload, len(payload))
    if status == native.WS_ERR_CLOSE_REASON:
        raise ValueError(f"close message is not valid UTF-8: {reason!r}")
    if status != native.WS_OK:
        raise ValueError(
            f"close code {code} must not be sent: use 1000 to 1003, 1007 to 1014 or 3000 to 4999 (RFC 6455 section 7.4)"
        )
    return payload


cdef bytes close_payload_from(message):
    """A payload that the user built: code, then reason; ValueError for what must not travel."""
    cdef bytes payload = (<str> message).encode() if isinstance(message, str) else bytes(memoryview(message))
    if 0 < len(payload) < 2:
        raise ValueError("a CLOSE frame's payload is empty, or a close code of two bytes and a reason")
    if payload:
        close_payload(payload[0] << 8 | payload[1], payload[2:])
    return payload


cdef WSCloseInfo close_info(const uint8_t* payload, size_t size):
    """Code and reason of a CLOSE payload that was checked before."""
    cdef WSCloseInfo info = WSCloseInfo.__new__(WSCloseInfo)
    if size >= 2:
        info.code = <WSCloseCode> (payload[0] << 8 | payload[1])
    if size > 2:
        info.reason = PyUnicode_DecodeUTF8(<const char*> payload + 2, <Py_ssize_t> size - 2, "replace")
    return info


def describe_failure(exception):
    """Close code and reason that tell the peer about an exception: nothing of the user's code leaks.

    Returns:
        The code and the reason of a WSProtocolError, INTERNAL_ERROR without a reason for any other exception.
    """
    if not isinstance(exception, WSProtocolError):
        return CloseCode.INTERNAL_ERROR, None
    code = int(exception.code)
    if not native.ws_is_close_code(code if 0 < code < 65536 else 0):
        code = CloseCode.INTERNAL_ERROR
    reason = str(exception.message).encode("utf-8", "replace")[:MAX_REASON_SIZE].decode("utf-8", "ignore")
    return code, reason or None


cdef object violation(int status, size_t payload_size, size_t limit):
    """The exception for a status of the C codec: close code and reason from the one table."""
    if status == native.WS_ERR_TOO_BIG:
        return WSProtocolError(
            CloseCode.MESSAGE_TOO_BIG, f"frame with {payload_size} bytes exceeds limit of {limit} bytes"
        )
    code, message = _VIOLATIONS[status]
    return WSProtocolError(code, message)
