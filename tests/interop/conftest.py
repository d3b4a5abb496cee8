"""Starts the peers' programs, each in an environment of its own, and reads what they tell."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

import picows_aio
from tests.support import Endpoint, Link, TlsContexts, require_peer
from tests.support.peers import node_modules

PROGRAMS = Path(__file__).parent / "peers"
PEERS = {
    "websockets": "websockets_peer.py",
    "aiohttp": "aiohttp_peer.py",
    "picows": "picows_peer.py",
    "ws": "ws_peer.js",
}
WEBSOCKETS_USERS = {"gql": "gql_client.py", "pygls": "pygls_pair.py"}
OTHER_PROGRAMS = {"graphql_server": ("websockets", "graphql_server.py")}
OFFER_COMPRESSION = {"websockets", "aiohttp", "ws"}

RunPeer = Callable[..., AbstractAsyncContextManager["PeerProcess"]]
PeerServer = Callable[..., AbstractAsyncContextManager[tuple[Endpoint, "PeerProcess"]]]


class PeerProcess:
    """A program under tests/interop/peers/ that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> dict[str, Any]:
        """The next JSON object it prints; when it died instead, what it wrote to standard error."""
        assert self._process.stdout is not None
        if line := await self._process.stdout.readline():
            return json.loads(line)
        _, errors = await self._process.communicate()
        pytest.fail(f"the peer ended with status {self._process.returncode}:\n{errors.decode()}")

    async def stop(self) -> None:
        """End its standard input, which ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.communicate()
        except TimeoutError:
            self._process.kill()
            await self._process.communicate()


@pytest.fixture
def peer_environment(link: Link, tls_contexts: TlsContexts, tmp_path: Path) -> dict[str, str]:
    """What a peer finds in its environment: npm packages, and over TLS the files of the certificate."""
    found = {"NODE_PATH": str(node_modules() / "node_modules")}
    if link.is_secure:
        certificate, authority = tmp_path / "certificate.pem", tmp_path / "authority.pem"
        issued = tls_contexts.authority.issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(certificate)
        tls_contexts.authority.cert_pem.write_to_path(authority)
        found |= {"PEER_CERTIFICATE": str(certificate), "PEER_AUTHORITY": str(authority)}
    return found


@pytest.fixture
def run_peer(peer_environment: dict[str, str]) -> RunPeer:
    """`async with run_peer("websockets", "client", url) as process`."""

    @contextlib.asynccontextmanager
    async def run(name: str, *arguments: str) -> AsyncIterator[PeerProcess]:
        pipe = asyncio.subprocess.PIPE
        interpreter, program = OTHER_PROGRAMS.get(name) or (name, (PEERS | WEBSOCKETS_USERS)[name])
        # Users of websockets import what this process does, from the same place.
        ours = {"PYTHONPATH": str(Path(picows_aio.__path__[0]).parent)} if name in WEBSOCKETS_USERS else {}
        process = await asyncio.create_subprocess_exec(
            require_peer(interpreter),
            PROGRAMS / program,
            *arguments,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=os.environ | peer_environment | ours,
        )
        peer = PeerProcess(process)
        try:
            yield peer
        finally:
            await peer.stop()

    return run


@pytest.fixture
def peer_server(run_peer: RunPeer, link: Link, tls_contexts: TlsContexts) -> PeerServer:
    """`async with peer_server("ws") as (endpoint, process)`: the peer as an echo server."""

    @contextlib.asynccontextmanager
    async def run(name: str) -> AsyncIterator[tuple[Endpoint, PeerProcess]]:
        async with run_peer(name, "server") as process:
            address = ("127.0.0.1", (await process.line())["port"])
            if link.is_secure:
                client_tls = tls_contexts.client
                options = {"ssl_context": client_tls}
                yield Endpoint(None, address, f"wss://127.0.0.1:{address[1]}/", options, client_tls), process
            else:
                yield Endpoint(None, address, f"ws://127.0.0.1:{address[1]}/"), process

    return run
