"""Frames as objects: opcodes, close codes, and what log lines say about a frame."""

from __future__ import annotations

import enum
import re
import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from picows_aio.exceptions import ProtocolError
from picows_aio.settings import MAX_LOG_SIZE
from picows_aio.typing import BytesLike

__all__ = [
    "BINARY",
    "CLOSE",
    "CLOSE_CODE_EXPLANATIONS",
    "CONT",
    "CTRL_OPCODES",
    "DATA_OPCODES",
    "EXTERNAL_CLOSE_CODES",
    "OK_CLOSE_CODES",
    "PING",
    "PONG",
    "TEXT",
    "Close",
    "CloseCode",
    "Frame",
    "Opcode",
]

_MAX_UTF8_SIZE = 4  # bytes of a character
_REPLACEMENT = "\ufffd"  # what decoding puts in place of invalid UTF-8
_CUT_BEFORE = re.compile(rf"^{_REPLACEMENT}{{1,{_MAX_UTF8_SIZE - 1}}}")
_UNREADABLE = re.compile(rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_REPLACEMENT}]")


class Opcode(enum.IntEnum):
    """What a frame is (RFC 6455 section 5.2)."""

    CONT = 0
    """Continues a message in fragments."""
    TEXT = 1
    """A text message, or its first fragment."""
    BINARY = 2
    """A binary message, or its first fragment."""
    CLOSE = 8
    """Begins or answers the closing handshake."""
    PING = 9
    """Asks for an answer."""
    PONG = 10
    """Answers a ping, or nothing."""


CONT, TEXT, BINARY, CLOSE, PING, PONG = Opcode
DATA_OPCODES = (CONT, TEXT, BINARY)
CTRL_OPCODES = (CLOSE, PING, PONG)


class CloseCode(enum.IntEnum):
    """Why a connection is closed (RFC 6455 section 7.4.1 and the IANA registry)."""

    NORMAL_CLOSURE = 1000
    """The purpose of the connection is fulfilled."""
    GOING_AWAY = 1001
    """A server shuts down, or a browser leaves the page."""
    PROTOCOL_ERROR = 1002
    """The peer broke the protocol."""
    UNSUPPORTED_DATA = 1003
    """A type of message that the endpoint does not take."""
    NO_STATUS_RCVD = 1005
    """Is never sent; it says that the CLOSE frame had no code."""
    ABNORMAL_CLOSURE = 1006
    """Is never sent; it says that the connection ended without a CLOSE frame."""
    INVALID_DATA = 1007
    """A message is not what its type says, such as text that is not UTF-8."""
    POLICY_VIOLATION = 1008
    """A message breaks a rule of the application."""
    MESSAGE_TOO_BIG = 1009
    """A message is too large to be processed."""
    MANDATORY_EXTENSION = 1010
    """A client needs an extension that the server did not accept."""
    INTERNAL_ERROR = 1011
    """Something unexpected keeps the endpoint from going on."""
    SERVICE_RESTART = 1012
    """The server restarts; the client may come back."""
    TRY_AGAIN_LATER = 1013
    """The server is overloaded; the client may come back later."""
    BAD_GATEWAY = 1014
    """A gateway got an invalid response from the server behind it."""
    TLS_HANDSHAKE = 1015
    """Is never sent; it says that TLS failed."""


_INTERNAL_CODES = {CloseCode.NO_STATUS_RCVD, CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE}

EXTERNAL_CLOSE_CODES = set(CloseCode) - _INTERNAL_CODES
"""Codes below 3000 that a CLOSE frame may carry."""

OK_CLOSE_CODES = {CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD}
"""Codes of a proper closure."""

CLOSE_CODE_EXPLANATIONS: dict[int, str] = {
    CloseCode.NORMAL_CLOSURE: "OK",
    CloseCode.GOING_AWAY: "going away",
    CloseCode.PROTOCOL_ERROR: "protocol error",
    CloseCode.UNSUPPORTED_DATA: "unsupported data",
    CloseCode.NO_STATUS_RCVD: "no status received [internal]",
    CloseCode.ABNORMAL_CLOSURE: "abnormal closure [internal]",
    CloseCode.INVALID_DATA: "invalid frame payload data",
    CloseCode.POLICY_VIOLATION: "policy violation",
    CloseCode.MESSAGE_TOO_BIG: "message too big",
    CloseCode.MANDATORY_EXTENSION: "mandatory extension",
    CloseCode.INTERNAL_ERROR: "internal error",
    CloseCode.SERVICE_RESTART: "service restart",
    CloseCode.TRY_AGAIN_LATER: "try again later",
    CloseCode.BAD_GATEWAY: "bad gateway",
    CloseCode.TLS_HANDSHAKE: "TLS handshake failure [internal]",
}
"""Close codes in words."""


def _explain(code: int) -> str:
    # RFC 6455 section 7.4.2.
    if 3000 <= code <= 3999:
        return "registered"
    if 4000 <= code <= 4999:
        return "private use"
    return CLOSE_CODE_EXPLANATIONS.get(code, "unknown")


@dataclass
class Close:
    """Code and reason of a CLOSE frame; ``str()`` is for people, for example "1001 (going away) bye".

    Attributes:
        code: The code; NO_STATUS_RCVD stands for a frame without one.
        reason: The reason, empty if there is none.
    """

    code: CloseCode | int
    reason: str

    def __str__(self) -> str:
        explained = f"{self.code:d} ({_explain(self.code)})"
        return f"{explained} {self.reason}" if self.reason else explained

    @classmethod
    def parse(cls, data: BytesLike) -> Self:
        """Decode the payload of a CLOSE frame (RFC 6455 section 5.5.1).

        Args:
            data: The payload.

        Raises:
            ProtocolError: It is too short, or its code is not one for a CLOSE frame.
            UnicodeDecodeError: The reason is not UTF-8.
        """
        if not data:
            return cls(CloseCode.NO_STATUS_RCVD, "")
        if len(data) < 2:
            raise ProtocolError("close frame too short")
        (code,) = struct.unpack_from("!H", data)
        close = cls(code, str(data[2:], "utf-8"))
        close.check()
        return close

    def serialize(self) -> bytes:
        """Encode the payload of a CLOSE frame.

        Raises:
            ProtocolError: The code is not one for a CLOSE frame.
        """
        self.check()
        return struct.pack("!H", self.code) + self.reason.encode()

    def check(self) -> None:
        """Raise ProtocolError unless a CLOSE frame may carry the code."""
        if self.code not in EXTERNAL_CLOSE_CODES and not 3000 <= self.code <= 4999:
            raise ProtocolError("invalid status code")


@dataclass
class Frame:
    """One frame, as extensions see it; ``str()`` is for log lines and shortens the payload.

    Attributes:
        opcode: What it is.
        data: The payload, without masking.
        fin: Whether it is the last frame of its message.
        rsv1: First reserved bit; permessage-deflate sets it on the first frame of a compressed message.
        rsv2: Second reserved bit.
        rsv3: Third reserved bit.
    """

    MAX_LOG_SIZE: ClassVar[int] = MAX_LOG_SIZE
    """Characters of the payload in ``str()``; ``WEBSOCKETS_MAX_LOG_SIZE`` in the environment."""

    opcode: Opcode | int
    data: BytesLike
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False

    def __str__(self) -> str:
        name = self.opcode.name if isinstance(self.opcode, Opcode) else f"opcode {self.opcode}"
        data = memoryview(self.data).cast("B")
        shown, kind = self._describe(data)
        size = f"{len(data)} byte{'' if len(data) == 1 else 's'}"
        return f"{name} {shown} [{', '.join(filter(None, (kind, size, '' if self.fin else 'continued')))}]"

    def _describe(self, data: memoryview) -> tuple[str, str]:
        """The payload in a form that fits a log line, and what it is if the opcode does not tell."""
        if not data:
            return "''", ""
        if self.opcode == CLOSE:
            try:
                return _shorten(_escape(str(Close.parse(data))), self.MAX_LOG_SIZE), ""
            except (ProtocolError, UnicodeDecodeError):
                text = None
        else:
            text = self._decode(data)
        if text is None:
            return _shorten(_hex(data, self.MAX_LOG_SIZE), self.MAX_LOG_SIZE), "" if self.opcode == BINARY else "binary"
        return _shorten(repr(text), self.MAX_LOG_SIZE), "" if self.opcode == TEXT else "text"

    def _decode(self, data: memoryview) -> str | None:
        """The payload as text, without the middle of a long one; None if it is not text one can read."""
        is_cut_before = self.opcode == CONT
        keep = _MAX_UTF8_SIZE * (self.MAX_LOG_SIZE + 1)
        if len(data) <= 2 * keep:
            return _decode(data, is_cut_before, not self.fin)
        head = _decode(data[:keep], is_cut_before, True)
        tail = _decode(data[-keep:], True, not self.fin)
        return None if head is None or tail is None else head + tail


def _decode(data: memoryview, is_cut_before: bool, is_cut_after: bool) -> str | None:
    """A part of a text, where characters at its ends may be cut; None if it is not text one can read."""
    text = str(data, "utf-8", "replace")
    whole = _CUT_BEFORE.sub("", text) if is_cut_before else text
    whole = whole.removesuffix(_REPLACEMENT) if is_cut_after else whole
    return None if _UNREADABLE.search(whole) else text


def _hex(data: memoryview, limit: int) -> str:
    return data.hex(" ") if len(data) <= 2 * limit else f"{data[:limit].hex(' ')} {data[-limit:].hex(' ')}"


def _escape(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _shorten(text: str, limit: int) -> str:
    """Beginning and end of a text that is longer than the limit."""
    if len(text) <= limit:
        return text
    end = max(limit - 3, 0) // 3
    start = max(limit - 3 - end, 0)
    return f"{text[:start]}...{text[len(text) - end :]}"
