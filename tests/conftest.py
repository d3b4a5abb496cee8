"""Fixtures of every test; `tests/support/__init__.py` tells how to use them."""

import asyncio
import contextlib
import gc
import itertools
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from pytest_asyncio import is_async_test

from tests.support import leaks
from tests.support.links import LINK_KINDS, Endpoint, Link, connect_raw_peer
from tests.support.raw_peer import RawPeer, RawServer
from tests.support.tls import TlsContexts, shared_tls_contexts

try:
    import uvloop
except ImportError:  # uvloop does not exist for Windows
    LOOP_FACTORIES = {"asyncio": asyncio.new_event_loop}
else:
    LOOP_FACTORIES = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

# How long one example takes says more about the machine's other work than about ours.
settings.register_profile("picows", deadline=None)
settings.load_profile("picows")

Opener = Callable[..., AbstractAsyncContextManager[Any]]
_call_passed = pytest.StashKey[bool]()


def pytest_configure() -> None:
    """Let programs that tests end as Ctrl-C does hear it: a shell makes what it runs in the background ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every async test on every loop."""
    return LOOP_FACTORIES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that uses `link` on every kind of link, or on those its `links` marker names."""
    if "link" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("links")
        kinds = [kind for kind in (marker.args if marker else LINK_KINDS) if kind in LINK_KINDS]
        metafunc.parametrize("link", kinds, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the loop's leak check before the test's own fixtures, so that it is torn down after them."""
    for item in items:
        # The variants of a parametrized test share one list.
        if is_async_test(item) and "loop_leak_guard" not in item.fixturenames:
            item.fixturenames.insert(_count_wider_fixtures(item), "loop_leak_guard")


def _count_wider_fixtures(item: pytest.Item) -> int:
    """How many fixtures a module or the session shares: they come first, and what they open is no leak of the test."""
    definitions = item._fixtureinfo.name2fixturedefs
    return sum(definitions[name][-1].scope != "function" for name in item.fixturenames if definitions.get(name))


def pytest_collection_finish() -> None:
    """Make one loop of each kind: libuv's first opens a pipe that stays, no leak of the test that comes first."""
    for new_loop in LOOP_FACTORIES.values():
        new_loop().close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """Remember whether the test passed: what a failed one leaves behind is not worth a second error."""
    report = yield
    if report.when == "call":
        item.stash[_call_passed] = report.passed
    return report


@pytest.fixture
def loop_errors() -> leaks.LoopErrors:
    """What reached the loop's exception handler. Not empty at the end, it fails the test."""
    return leaks.LoopErrors()


@pytest.fixture
def test_loops() -> list[asyncio.AbstractEventLoop]:
    """The loop of the test, for the check that comes when it is closed."""
    return []


@pytest.fixture(autouse=True)
def leak_guard(
    request: pytest.FixtureRequest, test_loops: list[asyncio.AbstractEventLoop], loop_errors: leaks.LoopErrors
) -> Iterator[None]:
    """Fail the test that leaves a socket, a future, an error that nobody looked at, or an unclosed transport."""
    # What lives now is kept out of the collection that ends the test: the whole heap would take longer than the test.
    gc.collect()
    gc.freeze()
    before = leaks.open_sockets()
    yield
    if not request.node.stash.get(_call_passed, False):
        return
    # What is dropped with an exception that nobody asked for, or unclosed, says so when it dies.
    gc.collect()
    futures = [future for loop in test_loops for future in leaks.pending_futures(loop)]
    assert not futures, "the test left futures that nobody completed:\n" + "\n".join(futures)
    sockets = leaks.open_sockets() - before
    assert not sockets, "the test left descriptors:\n" + leaks.describe_sockets(sockets)
    assert not loop_errors, "the loop's exception handler was called:\n" + loop_errors.describe()


@pytest.fixture
async def loop_leak_guard(
    request: pytest.FixtureRequest,
    leak_guard: None,
    test_loops: list[asyncio.AbstractEventLoop],
    loop_errors: leaks.LoopErrors,
) -> AsyncIterator[None]:
    """Fail the test that leaves a task or a connection.

    It stands on `leak_guard`, which therefore looks for descriptors after this one gave connections the time to close.
    """
    loop = asyncio.get_running_loop()
    test_loops.append(loop)
    loop.set_exception_handler(loop_errors.handle)
    before = leaks.open_sockets()
    yield
    if not request.node.stash.get(_call_passed, False):
        return
    sockets = await leaks.settle(before)
    assert not sockets, "the test left connections:\n" + leaks.describe_sockets(sockets)
    tasks = leaks.other_tasks()
    assert not tasks, "the test left tasks:\n" + "\n".join(tasks)


@pytest.fixture(scope="session")
def tls_contexts() -> TlsContexts:
    """The contexts of `tls` links, and their authority."""
    return shared_tls_contexts()


@pytest.fixture
def link(request: pytest.FixtureRequest) -> Iterator[Link]:
    """One kind of connection; the test runs once for each."""
    numbers = itertools.count()
    # Not tmp_path: a socket's path has some 100 bytes, and test names are long.
    with tempfile.TemporaryDirectory(prefix="ws") as folder:
        yield Link(request.param, lambda: Path(folder, str(next(numbers))))


@pytest.fixture
def serve(link: Link) -> Opener:
    """`async with serve(listener_factory, **options) as endpoint`: a server of picows on `link`."""
    from picows import ws_create_server
    from tests.support.recorder import Echo

    @contextlib.asynccontextmanager
    async def run(listener_factory: Callable[..., Any] = lambda request: Echo(), **options: Any) -> Any:
        server = await ws_create_server(listener_factory, **link.server_options() | options)
        try:
            yield link.endpoint(server)
        finally:
            server.close()

    return run


@pytest.fixture
async def server(serve: Opener) -> AsyncIterator[Endpoint]:
    """A running echo server with default options."""
    async with serve() as endpoint:
        yield endpoint


@pytest.fixture
def connect() -> Opener:
    """`async with connect(endpoint, listener_factory, **options) as (transport, listener)`: a client of picows."""
    from picows import ws_connect
    from tests.support.recorder import Recorder

    @contextlib.asynccontextmanager
    async def run(target: Endpoint | RawServer, listener_factory: Callable[..., Any] = Recorder, **options: Any) -> Any:
        transport, listener = await ws_connect(listener_factory, target.url, **target.connect_options | options)
        try:
            yield transport, listener
        finally:
            transport.disconnect(graceful=False)
            with contextlib.suppress(Exception):  # why it ended is for the test to ask, inside
                await transport.wait_disconnected()

    return run


@pytest.fixture
def raw_peer() -> Opener:
    """`async with raw_peer(endpoint) as peer`: a client that speaks the wire itself."""

    @contextlib.asynccontextmanager
    async def run(
        endpoint: Endpoint,
        target: str = "/",
        fields: list[tuple[str, str]] | None = None,
        *,
        upgrade: bool = True,
        receive_buffer_size: int | None = None,
    ) -> AsyncIterator[RawPeer]:
        async with await connect_raw_peer(endpoint, receive_buffer_size=receive_buffer_size) as peer:
            if upgrade:
                await peer.upgrade(target, fields)
            yield peer

    return run


@pytest.fixture
def raw_server(link: Link) -> Callable[[], RawServer]:
    """`async with raw_server() as server`: a server that speaks the wire itself, on `link`."""
    return link.raw_server


@pytest.fixture
def connect_raw(raw_server: Callable[[], RawServer], connect: Opener) -> Opener:
    """`async with connect_raw(listener_factory, **options) as (transport, listener, peer)`: both ends, on `link`."""

    @contextlib.asynccontextmanager
    async def run(*args: Any, **options: Any) -> Any:
        async with raw_server() as server, asyncio.TaskGroup() as group:
            accepting = group.create_task(server.accept())
            async with connect(server, *args, **options) as (transport, listener):
                yield transport, listener, await accepting

    return run
