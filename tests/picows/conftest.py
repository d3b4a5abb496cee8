"""Fixtures of the core's tests."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.recorder import Accepted, Recorder
from tests.support.session import SIDES, OpenSession, Session


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    """Which side picows is; ``@pytest.mark.parametrize("side", ["server"])`` restricts it."""
    return str(request.param)


@pytest.fixture
def open_session(side: str, serve: Any, raw_peer: Any, connect_raw: Any) -> OpenSession:
    """`async with open_session(make_listener, **options) as session`: a `Session`, dropped at the end."""

    @contextlib.asynccontextmanager
    async def as_server(make_listener: Callable[[], Any] = Recorder, **options: Any) -> AsyncIterator[Session]:
        accepted = Accepted(make_listener)
        async with serve(accepted, **options) as endpoint, raw_peer(endpoint) as peer:
            listener = await accepted.next()
            try:
                yield Session("server", listener, listener.transport, peer)
            finally:
                listener.transport.disconnect(graceful=False)
                with contextlib.suppress(Exception):  # why it ended is for the test to ask, inside
                    await listener.transport.wait_disconnected()

    @contextlib.asynccontextmanager
    async def as_client(make_listener: Callable[[], Any] = Recorder, **options: Any) -> AsyncIterator[Session]:
        async with connect_raw(make_listener, **options) as (transport, listener, peer):
            yield Session("client", listener, transport, peer)

    return as_client if side == "client" else as_server
