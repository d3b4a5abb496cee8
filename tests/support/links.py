"""What a connection runs over: plain TCP, TLS, or a Unix socket, behind one interface."""

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.raw_peer import Address, RawPeer, RawServer, connect_socket
from tests.support.tls import shared_tls_contexts

LINK_KINDS = ("plain", "tls", "unix") if hasattr(socket, "AF_UNIX") else ("plain", "tls")


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens, and what a client needs to get there."""

    server: Any
    address: Address
    url: str
    connect_options: dict[str, Any] = field(default_factory=dict)
    client_tls: ssl.SSLContext | None = None


class Link:
    """Options for `ws_create_server` and `ws_connect`, and raw peers, for one kind of connection."""

    def __init__(self, kind: str, new_socket_path: Callable[[], Path]) -> None:
        self.kind = kind
        self.is_secure = kind == "tls"
        self._new_socket_path = new_socket_path

    def __repr__(self) -> str:
        return f"<Link {self.kind}>"

    def server_options(self) -> dict[str, Any]:
        """Keywords of `ws_create_server` that make it listen on this kind of link."""
        if self.kind == "unix":
            return {"path": str(self._new_socket_path())}
        options: dict[str, Any] = {"host": "127.0.0.1", "port": 0}
        return options | {"ssl": shared_tls_contexts().server} if self.is_secure else options

    def endpoint(self, server: Any, path: str = "/") -> Endpoint:
        """How to reach a server that was created with `server_options()`."""
        address: Address = server.sockets[0].getsockname()
        if isinstance(address, str):
            return Endpoint(server, address, f"ws://localhost{path}", {"path": address})
        if self.is_secure:
            client_tls = shared_tls_contexts().client
            url = f"wss://127.0.0.1:{address[1]}{path}"
            return Endpoint(server, address, url, {"ssl_context": client_tls}, client_tls)
        return Endpoint(server, address, f"ws://127.0.0.1:{address[1]}{path}")

    def raw_server(self) -> RawServer:
        """A raw server on this kind of link; it says itself how to reach it."""
        if self.kind == "unix":
            path = str(self._new_socket_path())
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.bind(path)
            sock.listen()
            return RawServer(sock, "ws://localhost/", {"path": path})
        sock = socket.create_server(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        if not self.is_secure:
            return RawServer(sock, f"ws://127.0.0.1:{port}/")
        contexts = shared_tls_contexts()
        options = {"ssl_context": contexts.client}
        return RawServer(sock, f"wss://127.0.0.1:{port}/", options, tls=contexts.server)


async def connect_raw_peer(endpoint: Endpoint, *, receive_buffer_size: int | None = None) -> RawPeer:
    """A client peer connected to a server (TLS done), before any HTTP."""
    peer = RawPeer(await connect_socket(endpoint.address, receive_buffer_size=receive_buffer_size), is_client=True)
    if endpoint.client_tls is not None:
        try:
            await peer.start_tls(endpoint.client_tls, server_side=False, server_hostname="127.0.0.1")
        except BaseException:
            peer.close()
            raise
    return peer
