"""Every option of `ws_connect` and `ws_create_server`: what it takes, and how it refuses the rest."""

import asyncio
import inspect
import math
import re
import types

import pytest

from picows import WSAutoPingStrategy, WSMsgType, ws_connect, ws_create_server
from tests.support import BINARY, TEXT, Frame
from tests.support.recorder import Recorder

both = pytest.mark.parametrize("function", [ws_connect, ws_create_server])
NOWHERE = {ws_connect: ("ws://127.0.0.1:9/",), ws_create_server: ("127.0.0.1", 0)}

POSITIVE = [0, -1, "5", None, True, math.nan, [1]]
WRONG = {
    "websocket_handshake_timeout": [value for value in POSITIVE if value is not None],
    "auto_ping_idle_timeout": POSITIVE,
    "auto_ping_reply_timeout": POSITIVE,
    "auto_ping_strategy": [0, 3, "PING_WHEN_IDLE", None],
    "max_frame_size": [0, -1, 1.5, "10", True, math.inf],
    "read_buffer_init_size": [0, -1, 1.5, "10", True],
    "allowed_rsv": ["rsv1", ("rsv4",), ("rsv1", 1), (None,), None, 4],
    "busy_poll": [-1, 1_000_001, "20", None, True, math.nan, math.inf],
    "use_aiofastnet": [1, "yes"],
    "logger_name": [5, b"x"],
}
EXTREMES = {
    "websocket_handshake_timeout": [0.001, 5, math.inf, None],
    "auto_ping_idle_timeout": [0.001, 10, math.inf],
    "auto_ping_reply_timeout": [0.001, 10, math.inf],
    "auto_ping_strategy": [*WSAutoPingStrategy, 1, 2],
    "max_frame_size": [1, 2**31, 2**63 - 1, None],
    "read_buffer_init_size": [1, 2**20],
    "allowed_rsv": [(), ["rsv1"], {"rsv1", "rsv2", "rsv3"}, iter(["rsv2"]), {"rsv3": 1}],
    "busy_poll": [0, 0.5, 50, 1_000_000],
    "use_aiofastnet": [None, False, True],
    "logger_name": [None, "name"],
}


async def call(function, **options):
    """Call it with an address that does not matter; a server is closed again."""
    result = await function(Recorder, *NOWHERE[function], **options)
    result.close()


@both
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
async def test_a_wrong_value_is_refused_with_its_name(function, name, value):
    """Before anything else happens: nothing listens at the address, and nobody is told."""
    pattern = "auto_ping_strategy|WSAutoPingStrategy" if name == "auto_ping_strategy" else name
    with pytest.raises((ValueError, TypeError), match=pattern):
        await call(function, **{name: value})


@both
@pytest.mark.parametrize("name", ["max_frame_size", "busy_poll", "websocket_handshake_timeout"])
async def test_the_message_names_the_value_too(function, name):
    with pytest.raises(ValueError, match=f"{name}.*{re.escape(repr(-1))}"):
        await call(function, **{name: -1})


@both
@pytest.mark.parametrize("name", EXTREMES)
async def test_every_value_in_range_is_accepted(function, name, unused_tcp_port):
    for value in EXTREMES[name]:
        if function is ws_create_server:
            await call(function, **{name: value})
        else:
            with pytest.raises((OSError, TimeoutError)):  # nobody listens there, but that is another matter
                await ws_connect(Recorder, f"ws://127.0.0.1:{unused_tcp_port}/", **{name: value})


@both
async def test_timeouts_of_auto_ping_bind_only_when_it_is_on(function, unused_tcp_port):
    """guides: the reply has to come within the idle time, so a longer wait makes no sense."""
    options = {"auto_ping_idle_timeout": 1, "auto_ping_reply_timeout": 2}
    with pytest.raises(ValueError, match="auto_ping_reply_timeout"):
        await call(function, **options, enable_auto_ping=True)
    if function is ws_create_server:
        await call(function, **options)
        await call(function, auto_ping_idle_timeout=2, auto_ping_reply_timeout=2, enable_auto_ping=True)


COMMON = {
    "disconnect_on_exception": True,
    "websocket_handshake_timeout": 5,
    "logger_name": None,
    "enable_auto_ping": False,
    "auto_ping_strategy": WSAutoPingStrategy.PING_WHEN_IDLE,
    "enable_auto_pong": True,
    "enable_auto_close": True,
    "max_frame_size": 10 * 1024 * 1024,
    "read_buffer_init_size": 16 * 1024,
    "use_aiofastnet": None,
    "path": None,
    "strict": False,
    "allowed_rsv": (),
    "validate_utf8": False,
    "coalesce": False,
    "busy_poll": 0,
}
OWN = {
    ws_connect: {
        "auto_ping_idle_timeout": 10,
        "auto_ping_reply_timeout": 10,
        "ssl_context": None,
        "extra_headers": None,
        "max_redirects": 5,
        "proxy": None,
        "proxy_ssl_context": None,
        "socket_factory": None,
    },
    ws_create_server: {
        "auto_ping_idle_timeout": 20,
        "auto_ping_reply_timeout": 20,
        "handshake_policy": None,
        "host": None,
        "port": None,
    },
}


@both
def test_defaults_are_the_documented_ones(function):
    parameters = inspect.signature(function).parameters
    defaults = {name: parameters[name].default for name in COMMON | OWN[function]}
    assert defaults == COMMON | OWN[function]


@both
@pytest.mark.parametrize("name", ["disconnect_on_exception", "enable_auto_ping", "strict", "busy_poll"])
def test_options_are_keywords(function, name):
    assert inspect.signature(function).parameters[name].kind is inspect.Parameter.KEYWORD_ONLY


@both
async def test_an_unknown_option_is_refused_by_name(function):
    with pytest.raises(TypeError, match="no_such_option"):
        await call(function, no_such_option=1)


@pytest.mark.parametrize("name", ["max_frame_size", "strict"])
async def test_the_same_options_hold_for_every_connection_of_a_server(serve, raw_peer, name, link):
    options = {"max_frame_size": 10} if name == "max_frame_size" else {"strict": True}
    async with asyncio.timeout(5), serve(**options) as endpoint:
        for _ in range(3):
            async with raw_peer(endpoint) as peer:
                peer.write_frame(TEXT, "x")
                assert await peer.read_frame() == Frame(TEXT, b"x")
                peer.write_frame(BINARY, bytes(11), rsv=0 if name == "max_frame_size" else 4)
                assert (await peer.read_frame()).close_code == (1009 if name == "max_frame_size" else 1002)


async def test_no_limit_on_frames_is_no_limit(open_session):
    size = 12 << 20
    async with asyncio.timeout(20), open_session(max_frame_size=None) as session:
        session.peer.write_frame(BINARY, bytes(size))
        assert len((await session.listener.next_frame()).payload) == size


async def test_nodelay_is_on(open_session, link):
    """core-api: TCP_NODELAY on, whatever the loop does by itself."""
    import socket

    async with asyncio.timeout(5), open_session() as session:
        sock = session.transport.get_extra_info("socket")
        if link.kind != "unix":
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.links("plain")
async def test_what_the_defaults_promise_holds_without_any_option(open_session):
    async with asyncio.timeout(5), open_session() as session:
        assert isinstance(session.transport.stats(), object)
        assert isinstance(session.listener.on_ws_frame, types.MethodType)
        session.transport.send(WSMsgType.TEXT, "x")
        assert await session.peer.read_frame() == Frame(TEXT, b"x")
