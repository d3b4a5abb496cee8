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

    def _add(self, data: bytes | bytearray) -> None:
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
        self._pending = bytearray()
        self._pos = 0  # octets of _pending that are done with
        self._chunk_left = 0  # octets of the current chunk still to come
        self._trailer_left = _MAX_TRAILER_SIZE
        self._step = self._take_size

    def feed(self, data: bytes) -> None:
        """Take the next octets of the framed body."""
        self._pending += data
        while not self.is_complete and self._step():
            pass
        del self._pending[: self._pos]
        self._pos = 0

    def _take_size(self) -> bool:
        line = self._take_line(_MAX_CHUNK_LINE_SIZE)
        if line is None:
            return False
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise ValueError(f"{bytes(line[:40])!r} is not the size of a chunk")
        self._chunk_left = int(match[1], 16)
        self._step = self._take_data if self._chunk_left else self._take_trailer
        return True

    def _take_data(self) -> bool:
        data = self._pending[self._pos : self._pos + self._chunk_left]
        self._pos += len(data)
        self._chunk_left -= len(data)
        self._add(data)
        if self._chunk_left:
            return False
        self._step = self._take_data_end
        return True

    def _take_data_end(self) -> bool:
        end = self._pending[self._pos : self._pos + 2]
        if not b"\r\n".startswith(end):
            raise ValueError("a chunk is longer than its size")
        if len(end) < 2:
            return False
        self._pos += 2
        self._step = self._take_size
        return True

    def _take_trailer(self) -> bool:
        line = self._take_line(self._trailer_left)
        if line is None:
            return False
        self._trailer_left -= len(line) + 2
        self.is_complete = not line
        return True

    def _take_line(self, max_size: int) -> bytearray | None:
        end = self._pending.find(b"\n", self._pos, self._pos + max_size)
        if end < 0:
            if len(self._pending) - self._pos >= max_size:
                raise ValueError("the chunked framing holds a line that is too long")
            return None
        line = self._pending[self._pos : end]
        if not line.endswith(b"\r"):
            raise ValueError("the chunked framing holds a line that ends in LF without CR")
        self._pos = end + 1
        return line[:-1]
