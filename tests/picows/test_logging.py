"""What is logged, where, at which level, and what never is."""

import asyncio
import contextlib
import gc
import logging

import pytest

from picows import PICOWS_DEBUG_LL, WSCloseCode, WSMsgType, ws_connect, ws_create_server
from tests.support import CLOSE, PING, PONG, TEXT, Frame
from tests.support.recorder import Accepted, Echo, Recorder

plain_only = pytest.mark.links("plain")


def lines(caplog, logger=None):
    """Level and words of each record."""
    return [(r.levelno, r.getMessage()) for r in caplog.records if logger is None or r.name == logger]


async def converse(session):
    """One of everything, and a closing handshake."""
    session.transport.send(WSMsgType.TEXT, "hello")
    assert await session.peer.read_frame() == Frame(TEXT, b"hello")
    session.peer.write_frame(TEXT, "answer")
    await session.listener.next_frame()
    session.peer.write_frame(PING, b"mark")
    assert await session.peer.read_frame() == Frame(PONG, b"mark")
    session.transport.send_close(WSCloseCode.OK, "bye")
    assert (await session.peer.read_frame()).opcode == CLOSE
    session.peer.write_close(1000, "bye")
    session.peer.half_close()
    await session.transport.wait_disconnected()


async def test_a_peaceful_conversation_says_nothing(open_session, caplog):
    """Not at DEBUG either: the lines for debugging are below it, because there are so many."""
    caplog.set_level(logging.DEBUG, logger="picows")
    async with asyncio.timeout(5), open_session() as session:
        await converse(session)
    assert not [record for record in caplog.records if record.name.startswith("picows")]


async def test_level_9_tells_everything_in_order(open_session, caplog):
    """guides: set the level of the logger to PICOWS_DEBUG_LL (=9) to enable debug logging."""
    assert PICOWS_DEBUG_LL == 9
    caplog.set_level(9, logger="picows")
    async with asyncio.timeout(5), open_session() as session:
        await converse(session)
    logged = lines(caplog, f"picows.{session.side}")
    assert {level for level, _ in logged} == {9}
    text = "\n".join(line for _, line in logged)
    story = ["upgrade re", "upgrade re", "send frame", "received WSFrame(TEXT", "received WSFrame(PING"]
    story += ["send frame", "send CLOSE", "received WSFrame(CLOSE", "disconnected"]
    position = 0
    for event in story:
        position = text.find(event, position) + 1
        assert position > 0, f"{event!r} is missing in\n{text}"
    assert "hello" not in text
    assert "answer" not in text


@plain_only
async def test_a_refused_request_is_told_at_level_9_too(serve, raw_peer, caplog):
    caplog.set_level(9, logger="picows")
    async with asyncio.timeout(5), serve(lambda request: None) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        peer.write_http_head("GET /missing HTTP/1.1", [("Host", "localhost")])
        await peer.read_http_response()
    text = "\n".join(line for _, line in lines(caplog, "picows.server"))
    assert "/missing" in text
    assert "404" in text


# Where.


def _adapted(name):
    class Prefix(logging.LoggerAdapter):
        def process(self, message, kwargs):
            return f"[prefix] {message}", kwargs

    return Prefix(logging.getLogger(name), {})


@pytest.mark.parametrize(
    ("logger_name", "name", "prefix"),
    [
        (None, None, ""),
        ("feed.binance", "picows.feed.binance", ""),
        (logging.getLogger("somewhere.else"), "somewhere.else", ""),
        (_adapted("adapted"), "adapted", "[prefix] "),
    ],
    ids=["default", "suffix", "logger", "adapter"],
)
@plain_only
async def test_the_logger_is_the_one_asked_for(open_session, caplog, logger_name, name, prefix):
    """core-api: suffix under `picows.` (None: "client", servers "server"), or a Logger or LoggerAdapter."""
    caplog.set_level(9)
    async with asyncio.timeout(5), open_session(logger_name=logger_name) as session:
        await converse(session)
        session.transport.send(WSMsgType.TEXT, "too late")
    logged = lines(caplog, name or f"picows.{session.side}")
    assert len(logged) > 5
    assert all(line.startswith(prefix) for _, line in logged)
    assert logging.WARNING in {level for level, _ in logged}
    assert {record.name for record in caplog.records} <= {name or f"picows.{session.side}", "asyncio"}


@pytest.mark.parametrize("which", [ws_connect, ws_create_server])
@pytest.mark.parametrize("wrong", [5, b"name", logging, ["name"]])
async def test_a_logger_of_another_kind_is_refused(which, wrong):
    with pytest.raises(TypeError, match=f"logger_name.*{type(wrong).__name__}"):
        await which(Recorder, "ws://127.0.0.1:9", logger_name=wrong)


@plain_only
async def test_connections_leave_no_logger_behind(server, raw_peer, connect):
    """core-api: no logger object left behind per connection."""

    async def connect_all():
        for _ in range(5):
            async with raw_peer(server) as peer, connect(server, logger_name="feed") as (transport, _):
                transport.send(WSMsgType.TEXT, "x")
                peer.write_close()
                await peer.read_frame()

    async with asyncio.timeout(10):
        await connect_all()
        names = set(logging.Logger.manager.loggerDict)
        loggers = sum(isinstance(thing, logging.Logger | logging.LoggerAdapter) for thing in gc.get_objects())
        await connect_all()
        assert set(logging.Logger.manager.loggerDict) == names
        gc.collect()
        assert sum(isinstance(thing, logging.Logger | logging.LoggerAdapter) for thing in gc.get_objects()) == loggers


# What is an error, and whose.


class _Failing(Recorder):
    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        raise ZeroDivisionError("in the user's code")


@plain_only
async def test_an_exception_of_a_callback_is_logged_on_the_server_and_raised_on_the_client(open_session, caplog):
    caplog.set_level(logging.INFO)
    async with asyncio.timeout(5), open_session(_Failing) as session:
        session.peer.write_frame(TEXT, "x")
        assert (await session.peer.read_frame()).close_code == 1011
        session.peer.close()
        with pytest.raises(ZeroDivisionError) if session.is_client else contextlib.nullcontext():
            await session.transport.wait_disconnected()
    logged = [(record.levelname, record.exc_info is not None) for record in caplog.records]
    assert logged == ([] if session.is_client else [("ERROR", True)])


@plain_only
async def test_an_exception_that_does_not_disconnect_is_logged_each_time(open_session, caplog):
    async with asyncio.timeout(5), open_session(_Failing, disconnect_on_exception=False) as session:
        for text in (b"1", b"2", b"3"):
            session.peer.write_frame(TEXT, text)
            assert await session.listener.next_frame() == Frame(TEXT, text)
        assert not session.transport.is_disconnected
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3
    assert all("on_ws_frame" in record.getMessage() and record.exc_info for record in caplog.records)


# Secrets.

SECRETS = ["swordfish", "c3dvcmRmaXNo"]  # the second one as Basic authentication may carry it
HEADERS = {
    "Authorization": "Bearer swordfish-1",
    "Cookie": "session=swordfish-2",
    "Proxy-Authorization": "Basic swordfish-3",
    "X-Api-Key": "swordfish-4",
}


def assert_no_secret(caplog):
    assert caplog.records
    for record in caplog.records:
        text = logging.Formatter("%(message)s").format(record)
        assert not any(secret in text for secret in [*SECRETS, "dTpzd29yZGZpc2g="]), text


async def test_no_secret_of_the_opening_handshake_is_logged(serve, connect, caplog):
    """Neither headers nor the password of the URL, on either side, at any level."""
    caplog.set_level(1)
    accepted = Accepted(Echo)
    async with asyncio.timeout(5), serve(accepted) as endpoint:
        url = endpoint.url.replace("://", "://u:swordfish@")
        target = type(endpoint)(endpoint.server, endpoint.address, url, endpoint.connect_options)
        async with connect(target, extra_headers={"Cookie": "session=swordfish"}):
            listener = await accepted.next()
            assert listener.transport.request.headers["Authorization"] == "Basic dTpzd29yZGZpc2g="
        async with connect(endpoint, extra_headers=HEADERS):
            (await accepted.next()).transport.disconnect()
    assert_no_secret(caplog)


@plain_only
@pytest.mark.parametrize("status", ["401 Unauthorized", "302 Found", "500 Oops", "101 Switching"])
async def test_no_secret_of_a_failed_handshake_is_logged(raw_server, connect, caplog, status):
    caplog.set_level(1)
    async with asyncio.timeout(5), raw_server() as server, asyncio.TaskGroup() as group:
        accepting = group.create_task(server.accept(upgrade=False))
        url = server.url.replace("://", "://u:swordfish@")
        connecting = group.create_task(_failure(ws_connect(Recorder, url, extra_headers=HEADERS)))
        peer = await accepting
        await peer.read_http_head()
        answer = [("Set-Cookie", "session=swordfish"), ("Location", "ftp://u:swordfish@localhost/")]
        peer.write_http_head(f"HTTP/1.1 {status}", [*answer, ("Content-Length", "0")])
        assert await connecting is not None
    assert_no_secret(caplog)


async def _failure(connecting):
    try:
        await connecting
    except Exception as exc:
        return exc
    return None


@plain_only
@pytest.mark.parametrize(
    "field",
    [
        ("Authorization ", "Bearer swordfish"),
        ("Cookie", "session=swordfish\x00"),
        ("Cookie", "swordfish" * 2000),
        ("Sec-WebSocket-Version", "8"),
        ("Upgrade", "nothing"),
    ],
)
async def test_no_secret_of_a_refused_request_is_logged(server, raw_peer, caplog, field):
    caplog.set_level(1)
    async with asyncio.timeout(5), raw_peer(server, upgrade=False) as peer:
        peer.write_http_head("GET / HTTP/1.1", [("Host", "localhost"), *HEADERS.items(), field])
        head, _ = await peer.read_http_response()
        assert head.status >= 400
    assert_no_secret(caplog)
