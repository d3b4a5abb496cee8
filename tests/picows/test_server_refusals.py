"""Requests that a server refuses, told by raw sockets: the status, the headers that go with it, and words."""

import asyncio
import re

import pytest

from picows import HeadLimits, ServerHandshakePolicy, WSUpgradeResponse, WSUpgradeResponseWithListener
from tests.support import TEXT, Frame, accept_value, encode_frame
from tests.support.recorder import Accepted, Echo, Recorder

plain_only = pytest.mark.links("plain")
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
VALID = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def request(line="GET / HTTP/1.1", *more, **changes):
    """A valid request with other fields; None takes one out, a list repeats it."""
    fields = VALID | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [line]
    for name, value in fields.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        lines += [f"{name}: {one}" for one in values]
    return "\r\n".join([*lines, *more, "", ""]).encode("latin-1")


def changed(**changes):
    return request(**changes)


# name: (request, status, pattern of the body, headers of the answer)
REFUSED = {
    "post": (request("POST / HTTP/1.1"), 405, "POST.*GET", {"Allow": "GET"}),
    "head": (request("HEAD / HTTP/1.1"), 405, None, {"Allow": "GET"}),
    "method in lower case": (request("get / HTTP/1.1"), 405, "get.*GET", {"Allow": "GET"}),
    "http/1.0": (request("GET / HTTP/1.0"), 505, "HTTP/1.1", {}),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/2.0", {}),
    "http/3": (request("GET / HTTP/3.7"), 505, "HTTP/3.7", {}),
    "no upgrade": (changed(Upgrade=None), 400, "Upgrade", {}),
    "upgrade to something else": (changed(Upgrade="h2c"), 400, "Upgrade.*h2c.*websocket", {}),
    "upgrade to almost the same": (changed(Upgrade="websockets"), 400, "Upgrade", {}),
    "no connection": (changed(Connection=None), 400, "Connection", {}),
    "connection without upgrade": (changed(Connection="keep-alive"), 400, "Connection.*keep-alive", {}),
    "connection with notupgrade": (changed(Connection="notupgrade"), 400, "Connection", {}),
    "no key": (changed(Sec_WebSocket_Key=None), 400, "Sec-WebSocket-Key", {}),
    "two keys": (changed(Sec_WebSocket_Key=[KEY, KEY]), 400, "Sec-WebSocket-Key", {}),
    "empty key": (changed(Sec_WebSocket_Key=""), 400, "Sec-WebSocket-Key", {}),
    "short key": (changed(Sec_WebSocket_Key="dGhlIHNhbXBsZQ=="), 400, "Sec-WebSocket-Key.*16 bytes", {}),
    "key that is not base64": (changed(Sec_WebSocket_Key="!" * 24), 400, "Sec-WebSocket-Key.*base64", {}),
    "no version": (changed(Sec_WebSocket_Version=None), 400, "Sec-WebSocket-Version", {}),
    "two versions": (changed(Sec_WebSocket_Version=["13", "8"]), 400, "Sec-WebSocket-Version", {}),
    "old version": (changed(Sec_WebSocket_Version="8"), 426, "8.*13", {"Sec-WebSocket-Version": "13"}),
    "new version": (changed(Sec_WebSocket_Version="14"), 426, "14.*13", {"Sec-WebSocket-Version": "13"}),
    "version that is no number": (changed(Sec_WebSocket_Version="x"), 400, "Sec-WebSocket-Version", {}),
    "no host": (changed(Host=None), 400, "Host", {}),
    "empty host": (changed(Host=""), 400, "Host", {}),
    "two hosts": (changed(Host=["a", "b"]), 400, "2 Host", {}),
    "host that is none": (changed(Host="a b"), 400, "Host", {}),
    "two origins": (changed(Origin=["http://a", "http://b"]), 400, "Origin", {}),
    "target that is no path": (request("GET nowhere HTTP/1.1"), 400, "nowhere", {}),
    "target of a proxy": (request("GET mailto:a@b HTTP/1.1"), 400, "mailto", {}),
    "bad subprotocols": (changed(Sec_WebSocket_Protocol="a b"), 400, "Sec-WebSocket-Protocol", {}),
    "bad extensions": (changed(Sec_WebSocket_Extensions="a; ="), 400, "Sec-WebSocket-Extensions", {}),
    "long target": (request(f"GET /{'x' * 9000} HTTP/1.1"), 414, "8192", {}),
    "target that never ends": (b"GET /" + b"x" * 9000, 414, "8192", {}),
    "long header line": (changed(X="x" * 9000), 431, "8192", {}),
    "header line that never ends": (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000, 431, "8192", {}),
    "many headers": (changed(X=["x"] * 130), 431, "128", {}),
    "much of headers": (changed(X=["x" * 8000] * 5), 431, "32768", {}),
    "headers that never end": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200, 431, "128", {}),
    "not http": (b"\x00\x01\x02\x03", 400, "request", {}),
    "something else": (b"EHLO example.org\r\n\r\n", 400, "EHLO", {}),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "TLS", {}),
    "space before the colon": (request("GET / HTTP/1.1", "X : y"), 400, "colon", {}),
    "no colon": (request("GET / HTTP/1.1", "X"), 400, "colon", {}),
    "folded header": (request("GET / HTTP/1.1", "X: y", " z"), 400, "folded", {}),
    "control character": (request("GET / HTTP/1.1", "X: \x00"), 400, "X", {}),
    "name that is no token": (request("GET / HTTP/1.1", "X(: y"), 400, "token", {}),
    "line feed alone": (request().replace(b"\r\n", b"\n"), 400, "LF", {}),
    "two spaces": (request("GET  / HTTP/1.1"), 400, "first line", {}),
    "body": (changed(Content_Length="5") + b"12345", 413, "body", {}),
    "chunked body": (changed(Transfer_Encoding="chunked") + b"0\r\n\r\n", 413, "body", {}),
    "unknown coding": (changed(Transfer_Encoding="gzip, chunked"), 501, "gzip", {}),
    "length and coding": (changed(Content_Length="0", Transfer_Encoding="chunked"), 400, "Content-Length", {}),
    "two lengths": (changed(Content_Length=["0", "0"]), 400, "Content-Length", {}),
    "length that is none": (changed(Content_Length="+5"), 400, "Content-Length", {}),
    "negative length": (changed(Content_Length="-1"), 400, "Content-Length", {}),
}


async def assert_refused(peer, data, status, words, headers):
    """The peer is told why in a response that is complete, and the connection ends."""
    peer.write_bytes(data)
    head = await peer.read_http_head()
    body = await peer.read_to_end()
    assert head.status == status, (head, body)
    assert head.start_line.startswith("HTTP/1.1 ")
    assert head.one("Connection").lower().endswith("close")
    assert head.one("Content-Type") == "text/plain; charset=utf-8"
    assert head.one("Date")
    assert {name: head.one(name) for name in headers} == headers
    if words is None:
        assert body == b""
    else:
        assert head.one("Content-Length") == str(len(body))
        assert re.search(words, body.decode()), body
        assert body.endswith(b"\n")


@plain_only
@pytest.mark.parametrize("name", REFUSED)
async def test_a_request_that_cannot_be_served_is_told_why(serve, raw_peer, name):
    accepted = Accepted(Recorder)
    async with asyncio.timeout(5), serve(accepted) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        await assert_refused(peer, *REFUSED[name])
    assert REFUSED[name][1] in (400, 405, 426, 505) or not accepted.requests


@pytest.mark.parametrize("name", ["no upgrade", "old version", "long target"])
async def test_refusals_on_every_link(serve, raw_peer, name):
    async with asyncio.timeout(5), serve() as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        await assert_refused(peer, *REFUSED[name])


@plain_only
async def test_a_refusal_is_logged_without_a_traceback(serve, raw_peer, caplog):
    caplog.set_level("INFO", logger="picows")
    async with asyncio.timeout(5), serve() as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        await assert_refused(peer, *REFUSED["old version"])
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert "13" in record.getMessage()


@plain_only
async def test_a_request_that_only_the_factory_could_take_is_its_own(serve, raw_peer):
    """The checks of an upgrade come only when it returned a listener."""
    answer = WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(b"fine"), None)
    async with asyncio.timeout(5), serve(lambda request: answer) as endpoint:
        for name in ("post", "http/1.0", "no upgrade", "no key", "old version", "two origins"):
            async with raw_peer(endpoint, upgrade=False) as peer:
                peer.write_bytes(REFUSED[name][0])
                head, body = await peer.read_http_response()
                assert (head.status, body) == (200, b"fine"), name


FORGIVEN = {
    "firefox": changed(Connection="keep-alive, Upgrade"),
    "safari of a proxy": changed(Connection=["keep-alive", "upgrade"]),
    "capitals": changed(Upgrade="WebSocket", Connection="UPGRADE"),
    "several protocols to upgrade to": changed(Upgrade="h2c, websocket"),
    "empty elements": changed(Connection=", Upgrade,, "),
    "names in lower case": request().replace(b"Sec-WebSocket", b"sec-websocket").replace(b"Host", b"host"),
    "spaces around values": request().replace(b": ", b":\t  ").replace(b"\r\n", b" \r\n", 3).replace(b"1.1 ", b"1.1"),
    "no space after the colon": request().replace(b": ", b":"),
    "query": request("GET /?a=b&c=%20 HTTP/1.1"),
    "absolute target": request("GET http://localhost/ HTTP/1.1"),
    "higher minor version": request("GET / HTTP/1.9"),
    "host of ip version 6": changed(Host="[::1]:8080"),
    "no body": changed(Content_Length="0"),
    "what a browser adds": changed(
        Origin="http://localhost", Cookie="a=1; b=2", User_Agent="Mozilla/5.0", Sec_Fetch_Mode="websocket"
    ),
    "offers": changed(
        Sec_WebSocket_Protocol="a, b", Sec_WebSocket_Extensions='permessage-deflate; client_max_window_bits, x; y="z"'
    ),
    "a value of two lines": changed(Sec_WebSocket_Protocol=["a", "b"]),
    "a value of latin-1": changed(X="\xe9\xff"),
}


@plain_only
@pytest.mark.parametrize("name", FORGIVEN)
async def test_what_the_rfc_allows_is_accepted(serve, raw_peer, name):
    """RFC 6455 section 4.2.1: header values are lists of tokens that compare without case, names likewise."""
    async with asyncio.timeout(5), serve(strict=True) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        peer.write_bytes(FORGIVEN[name])
        head = await peer.read_http_head()
        assert head.status == 101
        assert head.one("Sec-WebSocket-Accept") == accept_value(KEY)
        assert not head.all("Sec-WebSocket-Protocol")
        assert not head.all("Sec-WebSocket-Extensions")
        peer.write_frame(TEXT, "x")
        assert await peer.read_frame() == Frame(TEXT, b"x")


class _Polite(ServerHandshakePolicy):
    """Has its own words, and its own limits."""

    def __init__(self):
        super().__init__(HeadLimits(max_line_size=100, max_header_count=6, max_head_size=300))
        self.refused = []

    def refuse(self, request, status, message, headers=None):
        self.refused.append((None if request is None else request.path, status, message))
        response = super().refuse(request, 418 if status == 404 else status, message, headers)
        response.headers["X-Polite"] = "yes"
        response.body = b"Sorry: " + response.body
        return response


@plain_only
@pytest.mark.parametrize(
    ("data", "status", "path"),
    [
        (REFUSED["post"][0], 405, b"/"),
        (REFUSED["old version"][0], 426, b"/"),
        (request("GET /missing HTTP/1.1"), 418, b"/missing"),
        (request("GET /broken HTTP/1.1"), 500, b"/broken"),
        (request("GET /" + "x" * 100 + " HTTP/1.1"), 414, None),
        (changed(X="x" * 100), 431, None),
        (changed(X=["x", "y"]), 431, None),
        (changed(X="x" * 90, Y="y" * 90), 431, None),
    ],
)
async def test_a_policy_has_its_own_limits_and_words(serve, raw_peer, data, status, path, caplog):
    def factory(request):
        if request.path == b"/broken":
            raise RuntimeError("swordfish")
        return None if request.path == b"/missing" else Echo()

    policy = _Polite()
    async with (
        asyncio.timeout(5),
        serve(factory, handshake_policy=policy) as endpoint,
        raw_peer(endpoint, upgrade=False) as peer,
    ):
        peer.write_bytes(data)
        head, body = await peer.read_http_response()
        assert (head.status, head.one("X-Polite")) == (status, "yes")
        assert body.startswith(b"Sorry: ")
        assert b"swordfish" not in body
    ((refused_path, _, message),) = policy.refused
    assert refused_path == path
    assert "swordfish" not in message


@plain_only
async def test_a_policy_that_fails_does_not_take_the_server_with_it(serve, raw_peer, caplog, loop_errors):
    class Broken(ServerHandshakePolicy):
        def refuse(self, request, status, message, headers=None):
            raise RuntimeError("swordfish")

    async with asyncio.timeout(5), serve(handshake_policy=Broken()) as endpoint:
        async with raw_peer(endpoint, upgrade=False) as peer:
            peer.write_bytes(REFUSED["old version"][0])
            assert b"swordfish" not in await peer.read_to_end()
        async with raw_peer(endpoint) as peer:
            peer.write_frame(TEXT, "x")
            assert await peer.read_frame() == Frame(TEXT, b"x")
    assert "swordfish" in caplog.text + loop_errors.describe()
    loop_errors.clear()


@plain_only
async def test_a_peer_that_leaves_before_its_refusal(serve, raw_peer):
    """There is nobody to tell any more; nothing of it reaches the loop's exception handler."""
    async with asyncio.timeout(5), serve() as endpoint:
        for name in ("no upgrade", "long target", "not http"):
            for end in ("close", "reset"):
                async with raw_peer(endpoint, upgrade=False) as peer:
                    peer.write_bytes(REFUSED[name][0])
                    getattr(peer, end)()
        async with raw_peer(endpoint) as peer:
            peer.write_frame(TEXT, "x")
            assert await peer.read_frame() == Frame(TEXT, b"x")


@plain_only
@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nX: " + b"x" * (1 << 20), REFUSED["long target"][0] + bytes(1 << 20)]
)
async def test_a_refusal_reaches_a_peer_that_is_still_sending(serve, raw_peer, data):
    """Closing with input unread would reset the connection, and the reset overtake the answer."""
    async with asyncio.timeout(5), serve() as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        peer.write_bytes(data)
        head, body = await peer.read_http_response()
        assert head.status in (414, 431)
        assert b"8192" in body


@plain_only
async def test_frames_behind_a_refused_request_are_not_taken_for_anything(serve, raw_peer):
    accepted = Accepted(Recorder)
    async with asyncio.timeout(5), serve(accepted) as endpoint, raw_peer(endpoint, upgrade=False) as peer:
        peer.write_bytes(REFUSED["old version"][0] + encode_frame(TEXT, "x", key=b"abcd"))
        assert (await peer.read_http_response())[0].status == 426
        peer.half_close()
        assert await peer.read_to_end() == b""
        assert (await accepted.next()).calls == []
