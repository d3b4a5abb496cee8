"""A byte stream over a non-blocking socket, with or without TLS, that reads only when it is asked to.

asyncio's streams read ahead, hide half-closes under TLS and close politely; tests need the opposite of each.
"""

import asyncio
import contextlib
import socket
import ssl
import struct

_CHUNK_SIZE = 256 * 1024


class SocketStream:
    """Owns one connected socket. Not reading is how a test makes a slow peer."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):  # each write is on the wire when it returns
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._unsent = bytearray()
        self._sent_all = asyncio.Event()
        self._sent_all.set()
        self._tls: ssl.SSLObject | None = None
        self._tls_in = ssl.MemoryBIO()
        self._tls_out = ssl.MemoryBIO()

    async def start_tls(
        self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
    ) -> None:
        """Do the TLS handshake; everything after it is encrypted."""
        self._tls = context.wrap_bio(
            self._tls_in, self._tls_out, server_side=server_side, server_hostname=server_hostname
        )
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send_tls_output()
                await self._receive_tls_input()
            else:
                self._send_tls_output()
                return

    def write_bytes(self, data: bytes) -> None:
        """Send now what the kernel takes, the rest as it makes room. Lost silently when the peer is gone."""
        if self._tls is None:
            self._send(data)
        else:
            view = memoryview(data)
            with contextlib.suppress(ssl.SSLEOFError, ssl.SSLZeroReturnError):
                while view:
                    view = view[self._tls.write(view) :]
            self._send_tls_output()

    async def drain(self) -> None:
        """Wait until the kernel has taken everything that was written."""
        await self._sent_all.wait()

    async def read_some(self, limit: int = _CHUNK_SIZE) -> bytes:
        """At least one byte, or b"" at the peer's end of stream."""
        if not self._received:
            self._received += await self._receive()
        data = bytes(self._received[:limit])
        del self._received[:limit]
        return data

    async def read_bytes(self, size: int) -> bytes:
        """Exactly `size` bytes.

        Raises:
            EOFError: The stream ended first; the message tells how much had come.
        """
        while len(self._received) < size:
            if not (data := await self._receive()):
                raise EOFError(f"end of stream after {len(self._received)} of {size} bytes")
            self._received += data
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    async def read_until(self, separator: bytes) -> bytes:
        """Everything up to and with `separator`; EOFError when the stream ends without it."""
        searched = 0
        while (found := self._received.find(separator, searched)) < 0:
            searched = max(0, len(self._received) - len(separator) + 1)
            if not (data := await self._receive()):
                raise EOFError(f"end of stream after {bytes(self._received)!r}")
            self._received += data
        return await self.read_bytes(found + len(separator))

    async def read_to_end(self) -> bytes:
        """Everything until the peer's end of stream. A reset counts as the end."""
        parts = []
        with contextlib.suppress(ConnectionResetError):
            while data := await self.read_some():
                parts.append(data)
        return b"".join(parts)

    def half_close(self) -> None:
        """End our direction (under TLS with its close_notify) and go on reading."""
        if self._tls is not None:
            # unwrap() sends our close_notify first and then wants the peer's, which need not have come.
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLError):
                self._tls.unwrap()
            self._send_tls_output()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a TCP reset: SO_LINGER with a timeout of zero seconds. (Unix sockets just close.)"""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Close the socket, with whatever is unsent or unread. Safe to repeat."""
        if self.sock.fileno() >= 0:
            self._loop.remove_writer(self.sock)
            self.sock.close()
        self._forget_unsent()

    def _send(self, data: bytes) -> None:
        if self.sock.fileno() < 0:
            return
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        try:
            sent = self.sock.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(self._unsent)
        del self._unsent[:sent]
        if self._unsent:
            self._sent_all.clear()
            self._loop.add_writer(self.sock, self._flush)
        else:
            self._loop.remove_writer(self.sock)
            self._forget_unsent()

    def _forget_unsent(self) -> None:
        self._unsent.clear()
        self._sent_all.set()

    def _send_tls_output(self) -> None:
        if data := self._tls_out.read():
            self._send(data)

    async def _receive_tls_input(self) -> None:
        if data := await self._loop.sock_recv(self.sock, _CHUNK_SIZE):
            self._tls_in.write(data)
        else:
            self._tls_in.write_eof()

    async def _receive(self) -> bytes:
        if self._tls is None:
            return await self._loop.sock_recv(self.sock, _CHUNK_SIZE)
        while True:
            try:
                return self._tls.read(_CHUNK_SIZE)
            except ssl.SSLWantReadError:
                await self._receive_tls_input()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
