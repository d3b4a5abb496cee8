"""Packages from PyPI that import `websockets` run unchanged after picows_aio.compat.install().

Their environment has no `websockets` at all: what they import is ours.
"""

import asyncio

import pytest

pytestmark = pytest.mark.links("plain")


async def test_gql_subscribes_at_a_server_of_websockets(run_peer):
    async with asyncio.timeout(30), run_peer("graphql_server") as server:
        url = f"ws://127.0.0.1:{(await server.line())['port']}/graphql"
        async with run_peer("gql", url) as client:
            assert await client.line() == {
                "hello": {"hello": "world"},
                "ticks": list(range(200)),
                "connection": "picows_aio.client",
            }
        assert await server.line() == {"code": 1000, "subprotocol": "graphql-transport-ws"}


async def test_pygls_serves_a_language_to_a_client_of_its_own(run_peer):
    """The server ends by SystemExit out of a callback, and must not hang then."""
    async with asyncio.timeout(30), run_peer("pygls") as pair:
        assert await pair.line() == {
            "server": "lines",
            "hover": "5000 lines: roses are red",
            "handler": "picows_aio.lifecycle",
        }
        assert await pair.line() == {"ended": True}
