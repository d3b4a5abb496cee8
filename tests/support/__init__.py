"""What the tests stand on. How to use it:

Every ``async def test_...`` runs on asyncio's loop and on uvloop; ``@pytest.mark.asyncio(loop_factories=["asyncio"])``
restricts that. A test that uses `link`, or a fixture that stands on it (`serve`, `server`, `raw_server`,
`connect_raw`), also runs over plain TCP, TLS and a Unix socket; ``@pytest.mark.links("plain")``, on the test or as
``pytestmark`` of a module, restricts that. Everything that waits stands under ``asyncio.timeout``.

Fixtures (conftest.py):

``server``                             an echo server of picows with default options, an `Endpoint`
``serve(factory, **options)``          a server of picows: ``async with serve(factory, strict=True) as endpoint``
``connect(endpoint, factory, **opts)`` a client of picows: ``async with connect(endpoint) as (transport, listener)``
``raw_peer(endpoint, target, fields)`` a client that speaks the wire itself, after the opening handshake;
                                       ``upgrade=False`` leaves that to the test, ``receive_buffer_size=`` narrows it
``raw_server()``                       a server that speaks the wire itself: ``async with raw_server() as server``, then
                                       ``await server.accept()`` (``upgrade=False``) beside ``ws_connect(…, server.url,
                                       **server.connect_options)`` in a task
``listen(tls)``                        (a function) a raw server on a TCP port of its own, whatever `link` is
``connect_raw(factory, **options)``    both at once: ``async with connect_raw() as (transport, listener, peer)``
``tls_contexts``                       `server` and `client` SSLContext and the `authority`; `make_tls_contexts(names)`
``loop_errors``                        what reached the loop's exception handler; a test that expects some checks and
                                       clears it

A raw peer writes without waiting and reads only when asked, so a peer that does not call a read method is a slow peer::

    async def test_ping_is_answered_with_the_same_payload(server, raw_peer):
        async with asyncio.timeout(5), raw_peer(server) as peer:
            peer.write_frame(PING, b"mark")
            assert await peer.read_frame() == Frame(PONG, b"mark", fin=True)

Also: ``write_bytes``, ``write_close``, ``write_http_head``, ``drain``, ``read_bytes``, ``read_some``, ``read_to_end``,
``read_eof``, ``read_http_head``, ``read_http_response``, ``half_close``, ``reset`` (a TCP reset), ``close``. Illegal
frames: ``write_frame(TEXT, b"x", mask=False, rsv=RSV1, announced_size=2**63, length_width=8)``, or ``encode_frame`` and
any part of its bytes.

Listeners of picows that record (``tests.support.recorder``, apart because it imports picows): `Recorder` (`calls`,
`frames`, `await next_frame()`, events `connected` and `disconnected`), `Echo`, and `Accepted`, a server's factory that
hands out the listeners it made: ``accepted = Accepted(); serve(accepted); listener = await accepted.next()``.

A test fails by itself when it leaves a task, a socket, a transport that is not closed, a future that is not done, or
an exception that nobody retrieved; sockets get two seconds to close. Warnings are errors.

Tests of the core that hold for both sides (tests/picows/conftest.py) take ``open_session(make_listener, **options)``, a
`Session` of picows as `side` and a raw peer: ``session.listener``, ``.transport``, ``.peer``, ``.has_read(size)``,
``.write_in_pieces(stream, cuts)``; ``@pytest.mark.parametrize("side", ["server"])`` restricts it.

``keeper.Keeper``           a listener that keeps frames, or what it is told to make of them
``relay.CuttingRelay``      a TCP relay that cuts the connection after so many bytes
``clock.SkippableClock``    moves the time of asyncio's loop
``subject.Subject``         a server in a process of its own: its memory, descriptors, CPU time and log

``require_peer("websockets")`` gives the program that runs a peer and skips without it (fails under REQUIRE_PEERS=1).
"""

from tests.support.links import Endpoint, Link, connect_raw_peer
from tests.support.peers import require_peer
from tests.support.raw_peer import RawPeer, RawServer, connect_socket, listen, switching_fields, upgrade_fields
from tests.support.tls import TlsContexts, make_tls_contexts
from tests.support.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    Frame,
    HttpHead,
    accept_value,
    close_payload,
    encode_frame,
    encode_head,
    new_key,
    parse_head,
)

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "RSV1",
    "RSV2",
    "RSV3",
    "TEXT",
    "Endpoint",
    "Frame",
    "HttpHead",
    "Link",
    "RawPeer",
    "RawServer",
    "TlsContexts",
    "accept_value",
    "close_payload",
    "connect_raw_peer",
    "connect_socket",
    "encode_frame",
    "encode_head",
    "listen",
    "make_tls_contexts",
    "new_key",
    "parse_head",
    "require_peer",
    "switching_fields",
    "upgrade_fields",
]
