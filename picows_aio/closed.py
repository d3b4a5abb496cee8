"""Why a connection is closed: what the core knows, as the exceptions of this package."""

from __future__ import annotations

import re

from picows import WSCloseInfo, WSProtocolError, WSTransport
from picows_aio.exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    PayloadTooBig,
    ProtocolError,
    TooManyFragments,
)
from picows_aio.frames import Close, CloseCode

_MAX_REASON_SIZE = 123  # bytes: RFC 6455 section 5.5, less the code
_OK_CODES = {CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD}
# The core tells the sizes in words.
_FRAME_TOO_BIG = re.compile(r"frame with (\d+) bytes exceeds limit of (\d+) bytes")


def close_received(transport: WSTransport | None) -> Close | None:
    """The peer's CLOSE frame, if one came."""
    handshake = None if transport is None else transport.close_handshake
    return None if handshake is None or handshake.recv is None else _as_close(handshake.recv)


def close_sent(transport: WSTransport | None) -> Close | None:
    """Our CLOSE frame, if one was sent."""
    handshake = None if transport is None else transport.close_handshake
    return None if handshake is None or handshake.sent is None else _as_close(handshake.sent)


def closed_error(transport: WSTransport | None, cause: BaseException | None, is_closed: bool) -> ConnectionClosed:
    """The exception for who uses a connection that is closed or closing.

    Args:
        transport: The connection; None if the opening handshake was not completed.
        cause: What ended it, where that is known better than the core does.
        is_closed: Whether TCP is gone.
    """
    received, sent = close_received(transport), close_sent(transport)
    order = None
    if received is not None and sent is not None:
        assert transport is not None
        assert transport.close_handshake is not None
        order = bool(transport.close_handshake.recv_then_sent)
    is_ok = received is not None and sent is not None and received.code in _OK_CODES and sent.code in _OK_CODES
    error = (ConnectionClosedOK if is_ok else ConnectionClosedError)(received, sent, order)
    if cause is None and transport is not None:
        cause = _as_cause(transport.disconnect_cause)
        if cause is None and received is None and is_closed:
            cause = EOFError("unexpected end of stream")
    error.__cause__ = cause
    return error


def overflow_reason(name: str) -> str:
    """Reason of the CLOSE frame when a stream has no room.

    Args:
        name: Name of the stream.
    """
    return f"stream {name} is full".encode(errors="replace")[:_MAX_REASON_SIZE].decode(errors="ignore")


class _InvalidText(UnicodeDecodeError):
    """Text that the core refused: the octets are not known any more, nor where they were."""

    def __str__(self) -> str:
        return self.reason


def _as_close(info: WSCloseInfo) -> Close:
    """A CLOSE frame in the terms of the API: 1005 stands for a frame without a code (RFC 6455 section 7.1.5)."""
    return Close(int(info.code) or CloseCode.NO_STATUS_RCVD, info.reason or "")


def _as_cause(exception: BaseException | None) -> BaseException | None:
    """What ended the connection, as an exception of this package."""
    if not isinstance(exception, WSProtocolError):
        return exception
    if isinstance(exception.__cause__, PayloadTooBig | TooManyFragments | UnicodeDecodeError):
        return exception.__cause__
    sizes = _FRAME_TOO_BIG.fullmatch(exception.message)
    error: Exception
    if sizes is not None:
        error = PayloadTooBig(int(sizes[1]), int(sizes[2]))
    elif int(exception.code) == CloseCode.INVALID_DATA:
        error = _InvalidText("utf-8", b"", 0, 0, exception.message)
    else:
        error = ProtocolError(exception.message)
    error.__cause__ = exception
    return error
