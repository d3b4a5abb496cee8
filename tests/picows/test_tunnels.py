"""Tunnels that stand: cancelling while they are made, and TLS inside them."""

import asyncio
import contextlib
import ssl

import pytest

from picows import ws_connect
from tests.support import RawServer, listen, make_tls_contexts
from tests.support.cancelling import cancel_at_every_step, sockets_to
from tests.support.recorder import Recorder

OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Forwarder:
    """A small HTTP proxy that works, in this process: how many turns of the loop a step takes does not vary much."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            request = await reader.readuntil(b"\r\n\r\n")
            host, _, port = request.split()[1].decode().rpartition(":")
            server_reader, server_writer = await asyncio.open_connection(host, int(port))
            with contextlib.closing(server_writer):
                writer.write(OK)
                await asyncio.gather(self._copy(reader, server_writer), self._copy(server_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


@pytest.mark.links("plain", "tls")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("use_aiofastnet", [None, True])
async def test_cancelled_at_any_step_it_leaves_no_socket(server, scheme, use_aiofastnet, tls_contexts, loop_errors):
    async with asyncio.timeout(30), Forwarder(tls_contexts.server if scheme == "https" else None) as port:
        options = {
            "proxy": f"{scheme}://127.0.0.1:{port}",
            "proxy_ssl_context": tls_contexts.client,
            "use_aiofastnet": use_aiofastnet,
            **server.connect_options,
        }
        steps = await cancel_at_every_step(lambda: ws_connect(Recorder, server.url, **options), port)
    assert steps > 8
    loop_errors.clear()  # the servers': TLS handshakes that the client gave up


@pytest.mark.links("plain")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("use_aiofastnet", [None, True])
@pytest.mark.parametrize("fault", ["no trust", "no tls", "hung up"])
async def test_tls_that_fails_in_the_tunnel(fault, scheme, use_aiofastnet, tls_contexts, loop_errors):
    """The error is that of a direct connection, with a note that says where; also for TLS inside TLS."""
    error = {"no trust": ssl.SSLCertVerificationError, "no tls": ssl.SSLError, "hung up": ConnectionError}[fault]
    server_tls = make_tls_contexts("localhost").server if fault == "no trust" else None
    proxy_tls = tls_contexts.server if scheme == "https" else None

    async def serve(server: RawServer) -> None:
        with contextlib.suppress(ssl.SSLError, EOFError):
            peer = await server.accept(upgrade=False)
            await peer.read_some()
            if fault == "no tls":
                peer.write_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            peer.half_close()

    async with asyncio.timeout(5), listen(server_tls) as server, Forwarder(proxy_tls) as port:
        serving = asyncio.create_task(serve(server))
        options = {"proxy": f"{scheme}://127.0.0.1:{port}", "use_aiofastnet": use_aiofastnet}
        options |= {"proxy_ssl_context": tls_contexts.client, "ssl_context": tls_contexts.client}
        with pytest.raises(error) as caught:
            await ws_connect(Recorder, f"wss://localhost:{server.port}/", **options)
        assert sockets_to(port) == 0
        where = f"localhost:{server.port} through proxy {scheme}://127.0.0.1:{port}"
        assert caught.value.__notes__ == [f"while starting TLS with {where}"]
        await serving
    loop_errors.clear()  # asyncio and aiofastnet report there that a TLS handshake failed
