"""Classes of programs: subclasses of `connect` and of connections, and factories of connections."""

import asyncio
import functools
import gc
import inspect
import weakref

import pytest

from picows_aio import ClientConnection, Server, ServerConnection, State, connect, serve
from tests.picows_aio.sites import echo, running

SETTINGS = {"ping_interval": 7, "ping_timeout": 8, "close_timeout": 9, "max_queue": (5, 2), "write_limit": 1000}


class CountingClient(ClientConnection):
    """Has attributes of its own and extends methods, as client libraries do."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.sent = 0

    async def send(self, message, **kwargs):
        self.sent += 1
        await super().send(message, **kwargs)

    async def recv(self, *args, **kwargs):
        return (await super().recv(*args, **kwargs)).upper()


class NamedServerConnection(ServerConnection):
    def __init__(self, protocol, server, **kwargs):
        super().__init__(protocol, server, **kwargs)
        self.name = f"connection of {type(server).__name__}"


async def test_a_subclass_of_the_clients_connection():
    async with running() as site, site.connect(create_connection=CountingClient) as connection:
        assert type(connection) is CountingClient
        await connection.send("one")
        await connection.send("two")
        assert await connection.recv() == "ONE"
        async for message in connection:
            assert message == "TWO"
            break
        assert connection.sent == 2


async def test_a_subclass_of_the_servers_connection():
    async def handler(connection):
        await connection.send(f"{type(connection).__name__}: {connection.name}")

    async with running(handler, create_connection=NamedServerConnection) as site, site.connect() as connection:
        assert await connection.recv() == "NamedServerConnection: connection of Server"


async def test_what_a_clients_factory_is_called_with():
    calls = []

    def make(*args, **kwargs):
        calls.append((args, kwargs))
        return ClientConnection(*args, **kwargs)

    async with running() as site, site.connect(create_connection=make, subprotocols=["a"], **SETTINGS) as connection:
        (((protocol,), kwargs),) = calls
        assert kwargs == SETTINGS
        assert connection.protocol is protocol
        assert protocol.state is State.OPEN
        assert protocol.logger is connect("ws://h/").logger
        assert protocol.id == connection.id
        assert protocol.subprotocol is None
    assert protocol.state is State.CLOSED


async def test_what_a_servers_factory_is_called_with():
    calls = []

    def make(*args, **kwargs):
        calls.append((args, kwargs))
        return ServerConnection(*args, **kwargs)

    options = {"create_connection": make, "subprotocols": ["a"]} | SETTINGS
    async with running(**options) as site, site.connect(subprotocols=["a"]):
        (((protocol, server), kwargs),) = calls
        assert kwargs == SETTINGS
        assert server is site.server
        assert (protocol.state, protocol.subprotocol) == (State.OPEN, "a")


async def test_a_partial_is_a_factory():
    make = functools.partial(NamedServerConnection)
    async with running(create_connection=make) as site, site.connect() as connection:
        await connection.send("x")
        assert await connection.recv() == "x"


async def test_a_factory_that_fails():
    def fail(*args, **kwargs):
        raise LookupError("the factory's")

    async with running() as site:
        with pytest.raises(LookupError, match="the factory's"):
            await site.connect(create_connection=fail)
    async with running(create_connection=fail) as site:
        with pytest.raises(Exception, match="HTTP 500"):
            await site.connect()


def test_the_documented_parameters():
    def names(function):
        return list(inspect.signature(function).parameters)

    documented = ["ping_interval", "ping_timeout", "close_timeout", "max_queue", "write_limit"]
    assert set(documented) <= set(names(connect)) & set(names(serve))
    assert names(serve)[:3] == ["handler", "host", "port"]
    assert names(connect)[0] == "uri"
    assert names(Server.close)[1:] == ["close_connections", "code", "reason"]


async def test_a_subclass_of_connect():
    class Service(connect):
        def __init__(self, url, token, **kwargs):
            super().__init__(url, additional_headers={"X-Token": token}, proxy=None, **kwargs)
            self.token = token

        async def __aenter__(self):
            connection = await super().__aenter__()
            connection.token = self.token
            return connection

    async with running() as site:
        async with Service(site.url, "t") as connection:
            assert (connection.token, connection.request.headers["X-Token"]) == ("t", "t")
        async for connection in Service(site.url, "u"):
            assert connection.token == "u"
            await connection.close()
            break


async def test_connections_are_ordinary_objects():
    async def handler(connection):
        connection.own = 1
        by_connection = {connection: "value", weakref.ref(connection): "other"}
        assert by_connection[connection] == "value"
        await connection.wait_closed()

    async with running(handler) as site, site.connect() as connection:
        connection.user_data = {"any": "thing"}
        assert connection.user_data == {"any": "thing"}
        assert weakref.ref(connection)() is connection
        assert len({connection, connection}) == 1
        (opposite,) = site.server.connections
        assert opposite.own == 1
        assert connection != opposite


async def test_connections_that_ended_are_freed():
    references = []

    async def handler(connection):
        references.append(weakref.ref(connection))
        connection.logger.debug("makes the logger")
        await echo(connection)

    async with running(handler) as site:
        async with site.connect() as connection:
            await connection.send("x")
            await connection.recv()
            references.append(weakref.ref(connection))
        del connection
        for _ in range(3):
            await asyncio.sleep(0)
    gc.collect()
    assert [reference() for reference in references] == [None, None]
