"""RFC 6455 bytes, written and read without any code of picows: the tests' own second opinion."""

import base64
import hashlib
import os
from dataclasses import dataclass, field

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
RSV1, RSV2, RSV3 = 4, 2, 1

_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True)
class Frame:
    """One frame as it stood on the wire, its payload unmasked."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    masking_key: bytes | None = field(default=None, compare=False)

    @property
    def close_code(self) -> int | None:
        """Code of a CLOSE payload, None when it is empty."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None

    @property
    def close_reason(self) -> str:
        """Reason of a CLOSE payload."""
        return self.payload[2:].decode()


@dataclass(frozen=True)
class HttpHead:
    """Start line and header fields of a request or a response."""

    start_line: str
    fields: tuple[tuple[str, str], ...]
    raw: bytes = field(repr=False)

    @property
    def status(self) -> int:
        """Status code, when this is the head of a response."""
        return int(self.start_line.split(" ", 2)[1])

    @property
    def target(self) -> str:
        """Request target, when this is the head of a request."""
        return self.start_line.split(" ", 2)[1]

    def all(self, name: str) -> list[str]:
        """Values of every field with this name, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        """Value of the field with this name, which stands there exactly once."""
        (value,) = self.all(name)
        return value


def apply_key(payload: bytes, key: bytes) -> bytes:
    """RFC 6455 section 5.3, computed on big integers so that megabytes stay quick."""
    size = len(payload)
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def encode_length(size: int, width: int | None = None) -> tuple[int, bytes]:
    """The 7-bit length and the extended length; `width` (0, 2 or 8 octets) overrides the minimal form."""
    if width is None:
        width = 0 if size < 126 else 2 if size < 2**16 else 8
    return {0: size, 2: 126, 8: 127}[width], size.to_bytes(width, "big") if width else b""


def encode_frame(
    opcode: int,
    payload: bytes | str = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = None,
    announced_size: int | None = None,
    length_width: int | None = None,
) -> bytes:
    """Bytes of a frame, legal or not.

    Args:
        opcode: Four bits.
        payload: Text is encoded as UTF-8.
        fin: The FIN bit.
        rsv: Three bits, RSV1 the highest.
        key: Four octets, or None for a frame that is not masked.
        announced_size: The length to write instead of the payload's own.
        length_width: Octets of the extended length (0, 2, 8) instead of the fewest.
    """
    data = payload.encode() if isinstance(payload, str) else bytes(payload)
    short, extended = encode_length(len(data) if announced_size is None else announced_size, length_width)
    head = bytes([fin << 7 | rsv << 4 | opcode, (key is not None) << 7 | short]) + extended
    return head + data if key is None else head + key + apply_key(data, key)


def close_payload(code: int, reason: str = "") -> bytes:
    """Payload of a CLOSE frame (RFC 6455 section 5.5.1)."""
    return code.to_bytes(2, "big") + reason.encode()


def new_key() -> str:
    """A fresh Sec-WebSocket-Key."""
    return base64.b64encode(os.urandom(16)).decode()


def accept_value(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT_GUID, usedforsecurity=False).digest()).decode()


def encode_head(start_line: str, fields: list[tuple[str, str]]) -> bytes:
    """A request's or a response's head; nothing is checked."""
    lines = [start_line, *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def parse_head(raw: bytes) -> HttpHead:
    """Take a head apart; `raw` ends with the empty line."""
    start_line, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return HttpHead(start_line, tuple((name, value.strip(" \t")) for name, _, value in pairs), raw)
