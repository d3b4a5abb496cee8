"""Both ends of a WebSocket at the level of the wire, able to do what a well-behaved peer never does."""

import asyncio
import os
import socket
import ssl
from types import TracebackType
from typing import Any, Self

from tests.support import wire
from tests.support.stream import SocketStream
from tests.support.wire import Frame, HttpHead

Address = tuple[str, int] | str


class RawPeer(SocketStream):
    """One connection. A client peer masks its frames and expects unmasked ones, a server peer the reverse."""

    def __init__(self, sock: socket.socket, *, is_client: bool) -> None:
        super().__init__(sock)
        self.is_client = is_client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write_frame(
        self,
        opcode: int,
        payload: bytes | str = b"",
        *,
        fin: bool = True,
        rsv: int = 0,
        mask: bool | bytes | None = None,
        announced_size: int | None = None,
        length_width: int | None = None,
    ) -> None:
        """Write one frame (see `wire.encode_frame`).

        Args:
            mask: None masks as this side must, True and False override that, four octets are the key itself.
        """
        self.write_bytes(
            wire.encode_frame(
                opcode,
                payload,
                fin=fin,
                rsv=rsv,
                key=self._masking_key(mask),
                announced_size=announced_size,
                length_width=length_width,
            )
        )

    def write_close(self, code: int | None = None, reason: str = "") -> None:
        """Write a CLOSE frame, with an empty payload when there is no code."""
        self.write_frame(wire.CLOSE, b"" if code is None else wire.close_payload(code, reason))

    async def read_frame(self) -> Frame:
        """The next frame, unmasked; EOFError at the end of the stream.

        Raises:
            AssertionError: It is masked in the wrong direction (RFC 6455 section 5.1).
        """
        first, second = await self.read_bytes(2)
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await self.read_bytes(2 if size == 126 else 8), "big")
        is_masked = second >> 7 == 1
        assert is_masked is not self.is_client, "RFC 6455 section 5.1: only a client masks its frames"
        key = await self.read_bytes(4) if is_masked else None
        payload = await self.read_bytes(size)
        if key is not None:
            payload = wire.apply_key(payload, key)
        return Frame(first & 15, payload, fin=first >> 7 == 1, rsv=first >> 4 & 7, masking_key=key)

    async def read_frames(self, count: int) -> list[Frame]:
        """The next `count` frames."""
        return [await self.read_frame() for _ in range(count)]

    async def read_eof(self) -> None:
        """Wait for the peer's end of stream or its reset; AssertionError when bytes come instead."""
        assert (rest := await self.read_to_end()) == b"", f"bytes instead of the end of the stream: {rest!r}"

    async def read_http_head(self) -> HttpHead:
        """The next request's or response's head."""
        return wire.parse_head(await self.read_until(b"\r\n\r\n"))

    async def read_http_response(self) -> tuple[HttpHead, bytes]:
        """A whole response; its body goes by Content-Length, else to the end of the stream."""
        head = await self.read_http_head()
        lengths = head.all("Content-Length")
        body = await self.read_bytes(int(lengths[0])) if lengths else await self.read_to_end()
        return head, body

    def write_http_head(self, start_line: str, fields: list[tuple[str, str]]) -> None:
        """Write a request's or a response's head; nothing is checked."""
        self.write_bytes(wire.encode_head(start_line, fields))

    async def upgrade(
        self, target: str = "/", fields: list[tuple[str, str]] | None = None, *, host: str = "localhost"
    ) -> HttpHead:
        """The opening handshake as a client; the response's head, which must be a 101."""
        key = wire.new_key()
        upgrade = [("Host", host), *upgrade_fields(key), *(fields or [])]
        self.write_http_head(f"GET {target} HTTP/1.1", upgrade)
        head = await self.read_http_head()
        assert head.status == 101, head
        assert head.one("Sec-WebSocket-Accept") == wire.accept_value(key)
        return head

    async def accept_upgrade(self, fields: list[tuple[str, str]] | None = None) -> HttpHead:
        """The opening handshake as a server; the request's head."""
        head = await self.read_http_head()
        self.write_http_head("HTTP/1.1 101 Switching Protocols", [*switching_fields(head), *(fields or [])])
        return head

    def _masking_key(self, mask: bool | bytes | None) -> bytes | None:
        if isinstance(mask, bytes):
            return mask
        return os.urandom(4) if (self.is_client if mask is None else mask) else None


class RawServer:
    """A listening socket whose connections become server-side `RawPeer`s, one per `accept()`.

    `url` and `connect_options` are what a client needs to reach it.
    """

    def __init__(
        self,
        sock: socket.socket,
        url: str,
        connect_options: dict[str, Any] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.url = url
        self.connect_options = connect_options or {}
        self._tls = tls
        self._peers: list[RawPeer] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """TCP port it listens on."""
        return int(self.sock.getsockname()[1])

    async def accept(self, *, upgrade: bool = True, fields: list[tuple[str, str]] | None = None) -> RawPeer:
        """The next connection, by default with the opening handshake done (TLS in any case)."""
        sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
        peer = RawPeer(sock, is_client=False)
        self._peers.append(peer)
        if self._tls is not None:
            await peer.start_tls(self._tls, server_side=True)
        if upgrade:
            await peer.accept_upgrade(fields)
        return peer

    def release(self, peer: RawPeer) -> None:
        """Leave the closing of this connection to whoever asked for it."""
        self._peers.remove(peer)

    def close(self) -> None:
        """Close the listening socket and every connection it gave."""
        self.sock.close()
        for peer in self._peers:
            peer.close()


def listen(tls: ssl.SSLContext | None = None) -> RawServer:
    """A raw server on a free TCP port, for tests that need one with a context of its own, or several."""
    sock = socket.create_server(("127.0.0.1", 0))
    return RawServer(sock, f"{'wss' if tls else 'ws'}://127.0.0.1:{sock.getsockname()[1]}/", tls=tls)


def upgrade_fields(key: str) -> list[tuple[str, str]]:
    """What RFC 6455 section 4.1 asks of a client's request, but for Host."""
    return [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]


def switching_fields(request: HttpHead) -> list[tuple[str, str]]:
    """What RFC 6455 section 4.2.2 asks of a server's response."""
    accept = wire.accept_value(request.one("Sec-WebSocket-Key"))
    return [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]


async def connect_socket(address: Address, *, receive_buffer_size: int | None = None) -> socket.socket:
    """A connected socket: to (host, port), or to the path of a Unix socket.

    Args:
        receive_buffer_size: SO_RCVBUF in bytes, set before connecting so that the window obeys it.
    """
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if receive_buffer_size is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_size)
        await _connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect(sock: socket.socket, address: Address) -> None:
    if not isinstance(address, str):
        await asyncio.get_running_loop().sock_connect(sock, address)
        return
    while True:
        try:
            sock.connect(address)
        except BlockingIOError:  # the server's backlog is full; loops take this for a connection under way
            await asyncio.sleep(0)
        else:
            return
