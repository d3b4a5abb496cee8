"""Redirects: where they lead, what goes along, and that each connection ends before the next begins."""

import asyncio
import base64
from http import HTTPStatus

import pytest
from multidict import CIMultiDict

from picows import (
    WSHandshakeError,
    WSInvalidHeaderError,
    WSInvalidStatusError,
    WSInvalidURL,
    WSListener,
    WSUpgradeResponse,
    ws_connect,
)
from picows.redirects import for_other_origin, is_redirect, is_same_origin, redirect_target
from picows.url import parse_url
from tests.support import HttpHead, RawPeer, RawServer, listen, make_tls_contexts

REDIRECTS = [301, 302, 303, 307, 308]
SECRETS = {"Authorization": "Bearer a", "Cookie": "b=c", "Proxy-Authorization": "Basic d"}


def answer_of(*locations: str, status: int = 302) -> WSInvalidStatusError:
    headers = CIMultiDict([("Location", location) for location in locations])
    response = WSUpgradeResponse(status=HTTPStatus(status), headers=headers)
    return WSInvalidStatusError("not 101", b"head", b"body", response)


async def redirect(server: RawServer, location: str | None, status: int = 302) -> tuple[RawPeer, HttpHead]:
    """Answer the next connection with a redirect, and leave closing it to the client."""
    peer = await server.accept(upgrade=False)
    head = await peer.read_http_head()
    fields = [] if location is None else [("Location", location)]
    peer.write_http_head(f"HTTP/1.1 {status} Elsewhere", [*fields, ("Content-Length", "4")])
    peer.write_bytes(b"gone")
    return peer, head


@pytest.mark.parametrize(
    ("base", "location", "expected"),
    [
        ("ws://a.test/x/y?q=1", "z", "ws://a.test/x/z"),
        ("ws://a.test/x/y?q=1", "../z?r", "ws://a.test/z?r"),
        ("ws://a.test/x/y?q=1", "?r=2", "ws://a.test/x/y?r=2"),
        ("ws://a.test/x", "", "ws://a.test/x"),
        ("ws://a.test", "z", "ws://a.test/z"),
        ("ws://[::1]:81/x", "/z", "ws://[::1]:81/z"),
        ("wss://a.test:444/x", "//b.test/z", "wss://b.test/z"),
        ("ws://a.test/x", "wss://b.test:9/z", "wss://b.test:9/z"),
        ("ws://a.test/x", "/\u00c3\u00bc", "ws://a.test/%C3%BC"),
    ],
)
def test_location_is_resolved_against_the_url(base, location, expected):
    """RFC 9110 section 10.2.2: a relative Location is resolved as RFC 3986 section 5 says."""
    target = redirect_target(parse_url(base), answer_of(location))
    wanted = parse_url(expected)
    assert (target.is_secure, target.host, target.port) == (wanted.is_secure, wanted.host, wanted.port)
    assert target.resource_name == wanted.resource_name


@pytest.mark.parametrize(
    ("location", "user_info"),
    [
        ("/z", ("user", "secret")),
        ("ws://A.test:80/z", ("user", "secret")),
        ("ws://b.test/z", None),
        ("ws://a.test:81/z", None),
        ("wss://a.test/z", None),
        ("ws://other:words@a.test/z", ("other", "words")),
    ],
)
def test_credentials_of_the_url_stay_with_its_origin(location, user_info):
    url = parse_url("ws://user:secret@a.test/x")
    assert redirect_target(url, answer_of(location)).user_info == user_info


@pytest.mark.parametrize(
    "location", ["ftp://b.test/", "/\xff", "http://b.test/", "/x#part", "//b.test:0/", "//[::1/", "//b test/"]
)
def test_location_that_is_no_websocket_url(location):
    with pytest.raises(WSInvalidURL) as caught:
        redirect_target(parse_url("ws://user:secret@a.test/x"), answer_of(location))
    assert "redirect from ws://a.test/x" in str(caught.value)
    assert "secret" not in str(caught.value) + repr(caught.value) + caught.value.url


@pytest.mark.parametrize(("locations", "words"), [((), "no Location header"), (("/a", "/b"), "2 Location headers")])
def test_location_must_be_there_once(locations, words):
    with pytest.raises(WSInvalidHeaderError, match=f"ws://a.test answered 302 with {words}") as caught:
        redirect_target(parse_url("ws://user:secret@a.test/x"), answer_of(*locations))
    assert caught.value.name == "Location"
    assert (caught.value.raw_header, caught.value.raw_body) == (b"head", b"body")


def test_never_from_wss_to_ws():
    with pytest.raises(WSHandshakeError, match=r"unencrypted ws://a.test") as caught:
        redirect_target(parse_url("wss://a.test/x"), answer_of("ws://a.test/z"))
    assert caught.value.response.status == 302


@pytest.mark.parametrize(("status", "expected"), [*((code, True) for code in REDIRECTS), (300, False), (304, False)])
def test_statuses_that_redirect(status, expected):
    assert is_redirect(answer_of("/x", status=status)) is expected


def test_secrets_and_host_are_bound_to_the_origin():
    headers = CIMultiDict({**SECRETS, "Host": "a.test", "Origin": "x", "X-Other": "y"})
    headers.add("COOKIE", "again")
    assert dict(for_other_origin(headers)) == {"Origin": "x", "X-Other": "y"}


@pytest.mark.parametrize(
    ("other", "expected"),
    [("ws://A.test:80/y", True), ("wss://a.test/", False), ("ws://b.test/", False), ("ws://a.test:8/", False)],
)
def test_origin_is_scheme_host_and_port(other, expected):
    assert is_same_origin(parse_url("ws://a.test/x"), parse_url(other)) is expected


@pytest.mark.parametrize("status", REDIRECTS)
async def test_a_redirect_is_followed_after_its_connection_is_closed(status):
    async with asyncio.timeout(5), listen() as server:
        connecting = asyncio.create_task(ws_connect(WSListener, server.url))
        first, head = await redirect(server, "/next?q", status)
        second = await server.accept(upgrade=False)
        # On one machine an end of stream arrives before a later connection does.
        assert first.sock.recv(1) == b""
        next_head = await second.accept_upgrade()
        transport, _ = await connecting
        assert next_head.target == "/next?q"
        assert next_head.one("Sec-WebSocket-Key") != head.one("Sec-WebSocket-Key")
        assert transport.request.path == b"/next?q"
        transport.disconnect(graceful=False)
        await transport.wait_disconnected()


async def test_secrets_go_along_to_the_same_origin_only():
    """And come back to nobody: a third hop to the first server starts without them."""
    async with asyncio.timeout(5), listen() as server, listen() as other:
        url = server.url.replace("//", "//user:secret@")
        connecting = asyncio.create_task(
            ws_connect(WSListener, url, extra_headers={**SECRETS, "Host": "alias", "X": "y"})
        )
        _, first = await redirect(server, "/again")
        _, second = await redirect(server, other.url)
        _, third = await redirect(other, server.url)
        peer = await server.accept(upgrade=False)
        fourth = await peer.accept_upgrade()
        (await connecting)[0].disconnect(graceful=False)
        await peer.read_eof()
        assert [third.one("Host"), fourth.one("Host")] == [f"127.0.0.1:{port}" for port in (other.port, server.port)]
    for head in first, second:
        assert {name: head.one(name) for name in SECRETS} == SECRETS
        assert head.one("Host") == "alias"
    for head in third, fourth:
        assert [head.all(name) for name in SECRETS] == [[], [], []]
        assert head.one("X") == "y"


async def test_credentials_of_the_url_are_sent_again_to_the_same_origin():
    async with asyncio.timeout(5), listen() as server, listen() as other:
        connecting = asyncio.create_task(ws_connect(WSListener, server.url.replace("//", "//user:secret@")))
        await redirect(server, "/again")
        _, same = await redirect(server, other.url)
        peer = await other.accept(upgrade=False)
        elsewhere = await peer.accept_upgrade()
        (await connecting)[0].disconnect(graceful=False)
        await peer.read_eof()
    assert same.one("Authorization") == "Basic " + base64.b64encode(b"user:secret").decode()
    assert elsewhere.all("Authorization") == []


@pytest.mark.parametrize("limit", [1, 3])
async def test_more_redirects_than_the_limit(limit):
    async with asyncio.timeout(5), listen() as server:
        connecting = asyncio.create_task(ws_connect(WSListener, server.url, max_redirects=limit))
        peers = [(await redirect(server, "/round"))[0] for _ in range(limit + 1)]
        with pytest.raises(WSInvalidStatusError, match=rf"max_redirects={limit}\).* answered 302") as caught:
            await connecting
        assert caught.value.response.headers["Location"] == "/round"
        await peers[-1].read_eof()
        with pytest.raises(BlockingIOError):  # nobody knocked again
            server.sock.accept()


async def test_without_redirects_the_first_answer_is_the_error():
    async with asyncio.timeout(5), listen() as server:
        connecting = asyncio.create_task(ws_connect(WSListener, server.url, max_redirects=0))
        peer, _ = await redirect(server, "/round")
        with pytest.raises(WSInvalidStatusError) as caught:
            await connecting
        await peer.read_eof()
    assert caught.value.response.status == 302
    assert caught.value.raw_body == b"gone"


@pytest.mark.parametrize("limit", [-1, 1.5, True, None, "5"])
async def test_bad_limit(limit):
    with pytest.raises(ValueError, match="max_redirects must be a number of redirects, 0 or more"):
        await ws_connect(WSListener, "ws://127.0.0.1:9/", max_redirects=limit)


@pytest.mark.parametrize(
    ("location", "error"),
    [(None, WSInvalidHeaderError), ("ftp://x/", WSInvalidURL), ("/x#y", WSInvalidURL)],
)
async def test_a_bad_redirect_closes_its_connection(location, error):
    async with asyncio.timeout(5), listen() as server:
        connecting = asyncio.create_task(ws_connect(WSListener, server.url))
        peer, _ = await redirect(server, location)
        with pytest.raises(error):
            await connecting
        await peer.read_eof()


async def test_upgrading_to_tls_on_the_way(tls_contexts):
    async with asyncio.timeout(5), listen() as server, listen(tls_contexts.server) as secure:
        connecting = asyncio.create_task(ws_connect(WSListener, server.url, ssl_context=tls_contexts.client))
        await redirect(server, f"wss://localhost:{secure.port}/")
        peer = await secure.accept()
        transport, _ = await connecting
        assert transport.is_secure
        transport.disconnect(graceful=False)
        await peer.read_eof()


async def test_falling_back_from_tls_is_refused(tls_contexts):
    async with asyncio.timeout(5), listen() as plain, listen(tls_contexts.server) as secure:
        url = f"wss://localhost:{secure.port}/"
        connecting = asyncio.create_task(ws_connect(WSListener, url, ssl_context=tls_contexts.client))
        await redirect(secure, plain.url)
        with pytest.raises(WSHandshakeError, match=f"from {url} to the unencrypted ws://127.0.0.1:{plain.port}"):
            await connecting
        with pytest.raises(BlockingIOError):
            plain.sock.accept()


async def test_the_certificate_name_is_for_the_first_server_only():
    """The second server's certificate is checked against its own name."""
    first_tls, second_tls = make_tls_contexts("first.test"), make_tls_contexts("127.0.0.1")
    context = first_tls.client
    second_tls.authority.configure_trust(context)
    async with asyncio.timeout(5), listen(first_tls.server) as first, listen(second_tls.server) as second:
        connecting = asyncio.create_task(
            ws_connect(WSListener, f"wss://127.0.0.1:{first.port}/", ssl_context=context, server_hostname="first.test")
        )
        await redirect(first, f"wss://127.0.0.1:{second.port}/")
        peer = await second.accept()
        (await connecting)[0].disconnect(graceful=False)
        await peer.read_eof()


async def test_a_fixed_address_does_not_lead_elsewhere():
    async with asyncio.timeout(5), listen() as server:
        url = "ws://a.test/"
        options = {"host": "127.0.0.1", "port": server.port}
        connecting = asyncio.create_task(ws_connect(WSListener, url, **options))
        _, head = await redirect(server, "/same")
        assert head.one("Host") == "a.test"
        await redirect(server, "ws://b.test/")
        with pytest.raises(
            WSHandshakeError, match=r"redirect to ws://b.test: host and port cannot lead to another origin"
        ):
            await connecting


@pytest.mark.links("unix")
async def test_a_unix_socket_does_not_lead_elsewhere(raw_server):
    async with asyncio.timeout(5), raw_server() as server:
        connecting = asyncio.create_task(ws_connect(WSListener, server.url, **server.connect_options))
        await redirect(server, "/same")
        await redirect(server, "ws://b.test/")
        with pytest.raises(WSHandshakeError, match=r"redirect to ws://b.test: path cannot lead to another origin"):
            await connecting


async def test_the_deadline_is_over_all_redirects():
    async with asyncio.timeout(5), listen() as server:
        connecting = asyncio.create_task(ws_connect(WSListener, server.url, websocket_handshake_timeout=0.2))
        await redirect(server, "/slow")
        peer = await server.accept(upgrade=False)
        await peer.read_http_head()
        with pytest.raises(asyncio.TimeoutError, match=r"within 0.2 s"):
            await connecting
        await peer.read_eof()
