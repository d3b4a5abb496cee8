"""Log lines: loggers, levels, texts, and the connection that goes with each."""

import asyncio
import logging

import pytest

from picows_aio import ClientConnection, ServerConnection, serve
from tests.picows_aio.sites import records, running, site_of


@pytest.fixture
def info(caplog):
    caplog.set_level("INFO")
    return caplog


async def test_the_life_of_a_server(info, link):
    async with running(link=link) as site:
        address = site.endpoint.address
        async with asyncio.timeout(10), site.connect() as connection:
            await connection.close()
            while ("websockets.server", "connection closed") not in records(info, "INFO"):
                await asyncio.sleep(0)
    name = address if isinstance(address, str) else f"{address[0]}:{address[1]}"
    assert records(info, "INFO") == [
        ("websockets.server", text)
        for text in (
            f"server listening on {name}",
            "connection open",
            "connection closed",
            "server closing",
            "server closed",
        )
    ]


async def test_an_ipv6_address_has_brackets(info):
    try:
        server = await serve(lambda connection: None, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert records(info, "INFO")[0] == ("websockets.server", f"server listening on [::1]:{port}")


async def test_a_server_that_starts_later_says_so_then(info):
    server = await serve(lambda connection: None, "127.0.0.1", 0, start_serving=False)
    assert records(info, "INFO") == []
    await server.start_serving()
    assert "server listening on" in records(info, "INFO")[0][1]
    server.close()
    await server.wait_closed()


async def test_clients_are_quiet(info):
    async with running() as site, site.connect() as connection:
        await connection.send("x")
        await connection.recv()
    assert {name for name, _ in records(info, "INFO")} == {"websockets.server"}


async def test_a_refused_connection(info):
    async with running() as site, site.raw_peer() as peer:
        peer.write_http_head("GET / HTTP/1.1", [("Host", "h")])
        await peer.read_to_end()
    lines = [text for _, text in records(info, "INFO")]
    assert lines[1:3] == ["connection rejected (426 Upgrade Required)", "connection closed"]


async def test_every_record_of_a_connection_names_it(info):
    connections = []
    names = []

    class Names(logging.Handler):
        def emit(self, record):
            if hasattr(record, "websocket"):
                names.append((record.getMessage(), record.websocket.id, isinstance(record.websocket, ServerConnection)))

    async def fail(connection):
        connections.append(connection)
        connection.logger.info("mine", extra={"own": 1})
        raise ValueError

    logger = logging.getLogger("websockets.server")
    handler = Names()
    logger.addHandler(handler)
    try:
        async with running(fail) as site, site.connect() as connection:
            await connection.wait_closed()
    finally:
        logger.removeHandler(handler)
    identity = connections[0].id
    texts = ["connection open", "mine", "connection handler failed", "connection closed"]
    assert names == [(text, identity, True) for text in texts]
    (record,) = [record for record in info.records if record.getMessage() == "mine"]
    assert record.own == 1


async def test_the_logger_of_a_client(info):
    async with running() as site, site.connect() as connection:
        assert isinstance(connection.logger, logging.LoggerAdapter)
        connection.logger.warning("mine")
        (record,) = [record for record in info.records if record.levelname == "WARNING"]
        assert record.name == "websockets.client"
        assert record.websocket.id == connection.id
        assert isinstance(record.websocket, ClientConnection)


async def test_a_record_that_is_kept_does_not_keep_the_connection(info):
    async with running() as site:
        async with site.connect() as connection:
            connection.logger.warning("mine")
        del connection
        (record,) = [record for record in info.records if record.levelname == "WARNING"]
        await asyncio.sleep(0)
        with pytest.raises(ReferenceError):
            record.websocket.id  # noqa: B018


@pytest.mark.parametrize("is_adapter", [False, True])
async def test_a_logger_of_the_program(info, is_adapter):
    logger = logging.getLogger("mine.websocket")
    given = logging.LoggerAdapter(logger, {}) if is_adapter else logger
    async with running(logger=given) as site:
        assert site.server.logger is given
        async with site.connect(logger=given) as connection:
            connection.logger.info("said by the client")
    names = {name for name, _ in records(info, "INFO")}
    assert names == {"mine.websocket"}
    assert ("mine.websocket", "said by the client") in records(info, "INFO")


async def test_the_logger_of_a_server():
    server = await serve(lambda connection: None, "127.0.0.1", 0)
    assert site_of(server).server.logger is logging.getLogger("websockets.server")
    server.close()
    await server.wait_closed()
