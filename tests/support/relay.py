"""A TCP relay that passes on a given number of bytes and then cuts the connection on both sides."""

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Self

_CHUNK_SIZE = 65536


class CuttingRelay:
    """Stands between clients and a server, one `CuttingRelay` for each pair of them.

    Args:
        address: The server's host and port.
        direction: Whose bytes are counted: "client" or "server".
        size: How many of them are passed on.
        way: "FIN" ends both connections politely, "RST" resets them.
    """

    def __init__(self, address: tuple[str, int], direction: str, size: int, way: str) -> None:
        self._address = address
        self._left = {"client": 1 << 60, "server": 1 << 60} | {direction: size}
        self._way = way
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self._task = asyncio.ensure_future(self._run())

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self._listening.getsockname()[1])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._listening.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        client, _ = await loop.sock_accept(self._listening)
        server = socket.socket()
        try:
            server.setblocking(False)
            await loop.sock_connect(server, self._address)
            passing = [
                asyncio.ensure_future(self._pass("client", client, server)),
                asyncio.ensure_future(self._pass("server", server, client)),
            ]
            try:
                await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in passing:
                    task.cancel()
                await asyncio.gather(*passing, return_exceptions=True)
        finally:
            self._cut(client)
            self._cut(server)

    async def _pass(self, direction: str, source: socket.socket, target: socket.socket) -> None:
        """Pass bytes on until the source ends or enough of them have passed."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while self._left[direction] and (data := await loop.sock_recv(source, _CHUNK_SIZE)):
                data = data[: self._left[direction]]
                self._left[direction] -= len(data)
                await loop.sock_sendall(target, data)

    def _cut(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._way == "RST":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                sock.shutdown(socket.SHUT_RDWR)
        sock.close()
