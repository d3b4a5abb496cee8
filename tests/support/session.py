"""picows on one side, a raw peer on the other: tests that hold for both sides take `open_session`."""

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from picows import WSTransport
from tests.support.raw_peer import RawPeer

SIDES = ("client", "server")

OpenSession = Callable[..., AbstractAsyncContextManager["Session"]]


@dataclass(frozen=True)
class Session:
    """One connection after the opening handshake.

    Attributes:
        side: Which side picows is, "client" or "server".
        listener: What the listener factory made.
        transport: That of the listener.
        peer: The other end.
    """

    side: str
    listener: Any
    transport: WSTransport
    peer: RawPeer

    @property
    def is_client(self) -> bool:
        """Whether picows is the client."""
        return self.side == "client"

    def narrow_buffers(self, *, send: int, receive: int | None) -> None:
        """Let the kernel hold little of what picows sends: SO_SNDBUF and, of the peer, SO_RCVBUF, bytes.

        `receive` is None for a peer that sends much and does not read: it keeps its first buffer, 128 KiB on Linux.
        One of a set size may not grow. When small segments need more memory than they have bytes, Linux then takes back
        the window that it offered for nearly all of it and, since 6.17, drops what arrives beyond, acknowledgements
        included: what the peer sends stands still until it reads.
        """
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send)
        if receive is not None:
            self.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)

    async def has_read(self, size: int) -> None:
        """Wait until picows has read so many bytes since the opening handshake."""
        while self.transport.stats().bytes_received < size:
            await asyncio.sleep(0)

    async def write_in_pieces(self, stream: bytes, cuts: Iterable[int]) -> None:
        """Let the peer write `stream` so that no read of picows crosses a cut."""
        before = self.transport.stats().bytes_received
        for begin, end in itertools.pairwise([0, *sorted(set(cuts) - {0, len(stream)}), len(stream)]):
            self.peer.write_bytes(stream[begin:end])
            await self.has_read(before + end)
