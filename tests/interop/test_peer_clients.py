"""Other implementations' clients talk to our server."""

import asyncio

import pytest

from tests.interop.conftest import OFFER_COMPRESSION, PEERS
from tests.interop.peers.conversation import CLIENT_CLOSE, FRAGMENTS, MESSAGES
from tests.support.recorder import Accepted, Echo

pytestmark = pytest.mark.links("plain", "tls")


@pytest.mark.parametrize("name", PEERS)
async def test_a_client_converses_and_closes(serve, run_peer, name):
    accepted = Accepted(Echo)
    async with asyncio.timeout(20), serve(accepted) as endpoint, run_peer(name, "client", endpoint.url) as peer:
        report = await peer.line()
        listener = await accepted.next()
        await listener.disconnected.wait()
    assert report["echoed"] == len(MESSAGES)
    assert report["fragmented"] == "".join(FRAGMENTS)
    assert report["code"] == CLIENT_CLOSE[0]
    received = listener.transport.close_handshake.recv
    assert (received.code, received.reason) == CLIENT_CLOSE
    assert listener.calls[0] == "on_ws_connected"
    assert listener.calls.count("on_ws_disconnected") == 1


@pytest.mark.links("plain")
@pytest.mark.parametrize("name", sorted(OFFER_COMPRESSION))
async def test_an_offer_of_compression_is_declined(serve, run_peer, name):
    """RFC 6455 section 9.1: a server that supports none of the extensions offered leaves the field out."""
    accepted = Accepted(Echo)
    async with asyncio.timeout(20), serve(accepted) as endpoint, run_peer(name, "client", endpoint.url) as peer:
        report = await peer.line()
        listener = await accepted.next()
        await listener.disconnected.wait()
    assert "permessage-deflate" in accepted.requests[0].headers["Sec-WebSocket-Extensions"]
    assert report["extensions"] == []
