"""Bodies of HTTP/1.1 responses (RFC 9112 sections 6 and 7).

Only refusals of an upgrade have one, and it is read for the sake of the error message, so a body longer than the
caller wants is cut off there and then rather than refused.
"""

from __future__ import annotations

import re

# A chunk size of more than 16 hexadecimal digits would not fit any integer; extensions mean nothing to us.
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t -~\x80-\xff]*)?")
_MAX_CHUNK_LINE_SIZE = 4096
_MAX_TRAILER_SIZE = 8192


class Body:
    """A body under way.

    Attributes:
        content: What has come, without framing.
        is_complete: The body has ended, or reached the size where it is cut.
    """

    def __init__(self, max_size: int) -> None:
        self.content = bytearray()
        self.is_complete = False
        self._max_size = max_size

    def feed(self, data: bytes) -> None:
        """Take the next octets.

        Raises:
            ValueError: They break the framing.
        """
        raise NotImplementedError

    def eof(self) -> None:
        """The connection has ended.

        Raises:
            ValueError: The body is incomplete.
        """
        raise ValueError(f"connection closed after {len(self.content)} bytes of the body")

    def _add(self, data: bytes) -> None:
        self.content += data[: self._max_size - len(self.content)]
        if len(self.content) >= self._max_size:
            self.is_complete = True


class UntilEofBody(Body):
    """A body that ends with the connection."""

    def feed(self, data: bytes) -> None:
        """Take the next octets."""
        self._add(data)

    def eof(self) -> None:
        """The connection has ended, and with it the body."""
        self.is_complete = True


class FixedBody(Body):
    """A body announced by Content-Length."""

    def __init__(self, size: int, max_size: int) -> None:
        super().__init__(min(size, max_size))
        self._size = size
        self.is_complete = self._max_size == 0

    def feed(self, data: bytes) -> None:
        """Take the next octets."""
        self._add(data)

    def eof(self) -> None:
        """The connection has ended too early."""
        raise ValueError(f"connection closed after {len(self.content)} of {self._size} bytes of the body")


class ChunkedBody(Body):
    """A body in the chunked transfer coding (RFC 9112 section 7.1); its trailer fields are dropped."""

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size)
        self._pending = b""
        self._chunk_left = 0  # bytes of the current chunk still to come
        self._trailer_left = _MAX_TRAILER_SIZE
        self._step = self._take_size

    def feed(self, data: bytes) -> None:
        """Take the next octets of the framed body."""
        self._pending += data
        while not self.is_complete and self._step():
            pass

    def _take_size(self) -> bool:
        line = self._take_line(_MAX_CHUNK_LINE_SIZE)
        if line is None:
            return False
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise ValueError(f"{line[:40]!r} is not the size of a chunk")
        self._chunk_left = int(match[1], 16)
        self._step = self._take_data if self._chunk_left else self._take_trailer
        return True

    def _take_data(self) -> bool:
        data = self._pending[: self._chunk_left]
        self._pending = self._pending[len(data) :]
        self._chunk_left -= len(data)
        self._add(data)
        if self._chunk_left == 0:
            self._step = self._take_data_end
        return self._chunk_left == 0

    def _take_data_end(self) -> bool:
        if not b"\r\n".startswith(self._pending[:2]):
            raise ValueError("a chunk is longer than its size")
        if len(self._pending) < 2:
            return False
        self._pending = self._pending[2:]
        self._step = self._take_size
        return True

    def _take_trailer(self) -> bool:
        line = self._take_line(self._trailer_left)
        if line is None:
            return False
        self._trailer_left -= len(line) + 2
        self.is_complete = not line
        return True

    def _take_line(self, max_size: int) -> bytes | None:
        end = self._pending.find(b"\n", 0, max_size)
        if end < 0:
            if len(self._pending) >= max_size:
                raise ValueError("a line of the chunked framing is too long")
            return None
        line = self._pending[:end]
        if not line.endswith(b"\r"):
            raise ValueError("a line of the chunked framing ends in LF without CR")
        self._pending = self._pending[end + 1 :]
        return line[:-1]
