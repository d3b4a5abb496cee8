"""The opening handshake of both sides, to the letter of RFC 6455 section 4."""

import base64
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from picows.errors import WSInvalidHeaderError, WSInvalidMessageError, WSInvalidStatusError, WSInvalidUpgradeError
from picows.handshake import (
    ClientHandshake,
    Refusal,
    ServerHandshakePolicy,
    check_upgrade_request,
    encode_response,
    switching_protocols,
)
from picows.http11 import HeadLimits, RequestReader, WSUpgradeRequest, WSUpgradeResponse
from picows.upgrade_headers import compute_accept
from picows.url import parse_url

URL = parse_url("ws://host:81/path?query")
ACCEPT = object()  # stands for the accept value that matches the request


def read_request(data):
    return RequestReader(HeadLimits()).feed(data)


# The client's request


def test_request_is_what_the_rfc_asks_for():
    handshake = ClientHandshake(URL, [("Origin", "http://host"), ("Cookie", "a=1"), ("Cookie", "b=2")])
    request = read_request(handshake.request_bytes)
    assert (request.method, request.path, request.version) == (b"GET", b"/path?query", b"HTTP/1.1")
    key = request.headers.pop("Sec-WebSocket-Key")
    assert len(base64.b64decode(key, validate=True)) == 16
    assert list(request.headers.items()) == [
        ("Host", "host:81"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Origin", "http://host"),
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
    ]


def test_request_object_is_what_was_sent():
    handshake = ClientHandshake(URL, {"X": "y"})
    assert handshake.request.to_bytes() == handshake.request_bytes


def test_every_key_is_new():
    keys = {ClientHandshake(URL, None).request.headers["Sec-WebSocket-Key"] for _ in range(50)}
    assert len(keys) == 50


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("ws://h/", "h"),
        ("ws://h:80/", "h"),
        ("wss://h:443/", "h"),
        ("wss://u:p@h:80/", "h:80"),
        ("ws://[::1]:81/", "[::1]:81"),
        ("ws://[fe80::1%25eth0]/", "[fe80::1]"),
        ("ws://Müller.de/", "xn--mller-kva.de"),
    ],
)
def test_host_header(url, host):
    assert read_request(ClientHandshake(parse_url(url)).request_bytes).headers.getall("Host") == [host]


def test_headers_copied_from_a_browser_are_not_sent_twice():
    extra_headers = {"upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Origin": "x"}
    request = read_request(ClientHandshake(URL, extra_headers).request_bytes)
    assert check_upgrade_request(request) is None
    assert len(request.headers) == 6


def test_a_host_of_the_user_replaces_ours():
    request = read_request(ClientHandshake(URL, {"host": "front.example"}).request_bytes)
    assert request.headers.getall("Host") == ["front.example"]


@pytest.mark.parametrize(
    ("url", "credentials"),
    [
        ("ws://user:pass@h/", "user:pass"),
        ("ws://user:@h/", "user:"),
        ("ws://token@h/", "token:"),
        ("ws://:pass@h/", ":pass"),
        ("ws://%C3%BCser:p%3Ass@h/", "üser:p:ss"),
    ],
)
def test_basic_authentication_from_the_url(url, credentials):
    """RFC 7617."""
    (value,) = ClientHandshake(parse_url(url)).request.headers.getall("Authorization")
    scheme, encoded = value.split(" ")
    assert (scheme, base64.b64decode(encoded).decode()) == ("Basic", credentials)


def test_an_authorization_of_the_user_replaces_that_of_the_url():
    handshake = ClientHandshake(parse_url("ws://user:pass@h/"), {"authorization": "Bearer x"})
    assert handshake.request.headers.getall("Authorization") == ["Bearer x"]


def test_no_authorization_without_a_user():
    assert "Authorization" not in ClientHandshake(URL).request.headers


@pytest.mark.parametrize(
    ("extra_headers", "error", "reason"),
    [
        ({"X": "a\r\nInjected: b"}, ValueError, "header X holds"),
        ({"X\n": "a"}, ValueError, "is not a token"),
        ({"X": 1}, TypeError, "header X must be a str"),
        ("X: a", TypeError, "mapping or pairs"),
        ({"upgrade": "h2c"}, ValueError, "header Upgrade must be websocket, not 'h2c'"),
        ({"Connection": "keep-alive"}, ValueError, "header Connection must be upgrade, not 'keep-alive'"),
        ({"sec-websocket-version": "8"}, ValueError, "header Sec-WebSocket-Version must be 13, not '8'"),
        ({"Sec-WebSocket-Key": "x"}, ValueError, "header Sec-WebSocket-Key is set by the opening handshake"),
        ({"Sec-WebSocket-Accept": "x"}, ValueError, "header Sec-WebSocket-Accept is set by"),
        ({"Content-Length": "5"}, ValueError, "header Content-Length is set by"),
        ({"Transfer-Encoding": "chunked"}, ValueError, "header Transfer-Encoding is set by"),
        ([("Host", "a"), ("host", "b")], ValueError, "header Host given 2 times"),
        ({"Sec-WebSocket-Protocol": "a b"}, ValueError, "Sec-WebSocket-Protocol holds 'a b'"),
        ({"Sec-WebSocket-Protocol": "a, b, a"}, ValueError, "the same name twice"),
        ({"Sec-WebSocket-Protocol": ""}, ValueError, "header Sec-WebSocket-Protocol is empty"),
        ({"Sec-WebSocket-Extensions": " , "}, ValueError, "header Sec-WebSocket-Extensions is empty"),
        ({"Sec-WebSocket-Extensions": "a; b="}, ValueError, "Sec-WebSocket-Extensions holds"),
    ],
)
def test_extra_headers_are_checked_before_anything_is_sent(extra_headers, error, reason):
    with pytest.raises(error, match=reason):
        ClientHandshake(URL, extra_headers)


# The client's judgement of the response


def encode_101(handshake, headers, *, line=b"HTTP/1.1 101 Switching Protocols"):
    accept = compute_accept(handshake.request.headers["Sec-WebSocket-Key"])
    lines = [f"{name}: {accept if value is ACCEPT else value}\r\n".encode() for name, value in headers]
    return b"%b\r\n%b\r\n" % (line, b"".join(lines))


UPGRADE = ("Upgrade", "websocket")
CONNECTION = ("Connection", "Upgrade")
ACCEPTED = ("Sec-WebSocket-Accept", ACCEPT)
VALID = [UPGRADE, CONNECTION, ACCEPTED]


@pytest.mark.parametrize("line", [b"HTTP/1.1 101", b"HTTP/1.1 101 ", b"HTTP/1.1 101 Whatever", b"HTTP/1.2 101 x"])
def test_a_101_with_any_reason_phrase_opens(line):
    handshake = ClientHandshake(URL)
    assert handshake.feed(encode_101(handshake, VALID, line=line) + b"\x81\x00")
    assert (handshake.response.status, handshake.rest) == (101, b"\x81\x00")


@pytest.mark.parametrize(
    "headers",
    [
        [("upgrade", "WebSocket"), ("connection", "keep-alive, UPGRADE"), ("sec-websocket-accept", ACCEPT)],
        [UPGRADE, ("Connection", "keep-alive"), ("Connection", ",upgrade,"), ACCEPTED],
        [UPGRADE, CONNECTION, ACCEPTED, ("Server", "x"), ("Set-Cookie", "a"), ("Set-Cookie", "b")],
        [*VALID, ("Sec-WebSocket-Extensions", "")],
    ],
)
def test_names_ignore_case_and_values_are_lists(headers):
    handshake = ClientHandshake(URL)
    assert handshake.feed(encode_101(handshake, headers))


@pytest.mark.parametrize(
    ("extra_headers", "answer"),
    [
        ({"Sec-WebSocket-Protocol": "a, b"}, ("Sec-WebSocket-Protocol", "b")),
        ([("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "b")], ("Sec-WebSocket-Protocol", "b")),
        ({"Sec-WebSocket-Protocol": "a"}, ("X", "no subprotocol is fine")),
        ({"Sec-WebSocket-Extensions": "x; a=1, y"}, ("Sec-WebSocket-Extensions", "y, x; b")),
        ({"Sec-WebSocket-Extensions": "x"}, ("X", "no extension is fine")),
    ],
)
def test_what_was_offered_may_be_chosen(extra_headers, answer):
    handshake = ClientHandshake(URL, extra_headers)
    assert handshake.feed(encode_101(handshake, [*VALID, answer]))


@pytest.mark.parametrize(
    ("headers", "error", "name", "value", "reason"),
    [
        ([CONNECTION, ACCEPTED], WSInvalidUpgradeError, "Upgrade", None, "missing Upgrade header, expected websocket"),
        (
            [("Upgrade", "h2c"), CONNECTION, ACCEPTED],
            WSInvalidUpgradeError,
            "Upgrade",
            "h2c",
            "Upgrade is 'h2c', expected websocket",
        ),
        ([("Upgrade", "websocket, h2c"), CONNECTION, ACCEPTED], WSInvalidUpgradeError, "Upgrade", "websocket, h2c", ""),
        ([("Upgrade", "notwebsocket"), CONNECTION, ACCEPTED], WSInvalidUpgradeError, "Upgrade", "notwebsocket", ""),
        ([UPGRADE, ACCEPTED], WSInvalidUpgradeError, "Connection", None, "missing Connection header, expected upgrade"),
        (
            [UPGRADE, ("Connection", "close"), ACCEPTED],
            WSInvalidUpgradeError,
            "Connection",
            "close",
            "expected upgrade",
        ),
        ([UPGRADE, ("Connection", "notupgrade"), ACCEPTED], WSInvalidUpgradeError, "Connection", "notupgrade", ""),
        ([UPGRADE, CONNECTION], WSInvalidHeaderError, "Sec-WebSocket-Accept", None, "missing Sec-WebSocket-Accept"),
        ([*VALID, ACCEPTED], WSInvalidHeaderError, "Sec-WebSocket-Accept", "{0}, {0}", "sent 2 times, expected once"),
        (
            [UPGRADE, CONNECTION, ("Sec-WebSocket-Accept", "x")],
            WSInvalidHeaderError,
            "Sec-WebSocket-Accept",
            "x",
            "Sec-WebSocket-Accept is 'x', expected {0}",
        ),
        (
            [*VALID, ("Content-Length", "0")],
            WSInvalidHeaderError,
            "Content-Length",
            "0",
            "must not have Content-Length",
        ),
        ([*VALID, ("Transfer-Encoding", "chunked")], WSInvalidHeaderError, "Transfer-Encoding", "chunked", "must not"),
        (
            [*VALID, ("Sec-WebSocket-Protocol", "c")],
            WSInvalidHeaderError,
            "Sec-WebSocket-Protocol",
            "c",
            "expected one of the offered: a, b",
        ),
        ([*VALID, ("Sec-WebSocket-Protocol", "A")], WSInvalidHeaderError, "Sec-WebSocket-Protocol", "A", "expected"),
        ([*VALID, ("Sec-WebSocket-Protocol", "")], WSInvalidHeaderError, "Sec-WebSocket-Protocol", "", "expected"),
        (
            [*VALID, ("Sec-WebSocket-Protocol", "a, b")],
            WSInvalidHeaderError,
            "Sec-WebSocket-Protocol",
            "a, b",
            "expected",
        ),
        (
            [*VALID, ("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "b")],
            WSInvalidHeaderError,
            "Sec-WebSocket-Protocol",
            "a, b",
            "sent 2 times",
        ),
        (
            [*VALID, ("Sec-WebSocket-Extensions", "x, z")],
            WSInvalidHeaderError,
            "Sec-WebSocket-Extensions",
            "x, z",
            "expected one of the offered: x",
        ),
        (
            [*VALID, ("Sec-WebSocket-Extensions", "x;=")],
            WSInvalidHeaderError,
            "Sec-WebSocket-Extensions",
            "x;=",
            "holds",
        ),
    ],
)
def test_a_101_that_does_not_match_the_request(headers, error, name, value, reason):
    handshake = ClientHandshake(URL, {"Sec-WebSocket-Protocol": "a, b", "Sec-WebSocket-Extensions": "x; y=1"})
    accept = compute_accept(handshake.request.headers["Sec-WebSocket-Key"])
    data = encode_101(handshake, headers)
    with pytest.raises(WSInvalidHeaderError) as info:
        handshake.feed(data)
    assert type(info.value) is error
    assert (info.value.name, info.value.value) == (name, value and value.format(accept))
    assert reason.format(accept) in str(info.value)
    assert (info.value.raw_header, info.value.response) == (data, handshake.response)


@pytest.mark.parametrize("name", ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"])
def test_nothing_is_accepted_that_was_not_offered(name):
    handshake = ClientHandshake(URL)
    with pytest.raises(WSInvalidHeaderError, match=f"{name} is 'a', expected none, as none was offered"):
        handshake.feed(encode_101(handshake, [*VALID, (name, "a")]))


def test_a_101_takes_http_1_1():
    handshake = ClientHandshake(URL)
    with pytest.raises(WSInvalidMessageError, match=r"HTTP/1\.0 response, expected HTTP/1\.1"):
        handshake.feed(encode_101(handshake, VALID, line=b"HTTP/1.0 101 x"))


@pytest.mark.parametrize(
    ("line", "status", "text"),
    [
        (b"HTTP/1.1 404 Not Found", 404, "status 404 Not Found, expected 101"),
        (b"HTTP/1.1 404 Gone fishing", 404, "status 404 Gone fishing, expected 101"),
        (b"HTTP/1.1 200", 200, "status 200 OK, expected 101"),
        (b"HTTP/1.1 599", 599, "status 599, expected 101"),
        (b"HTTP/1.0 503 x", 503, "status 503 x, expected 101"),
    ],
)
def test_another_status_is_an_error_with_the_whole_response(line, status, text):
    handshake = ClientHandshake(URL)
    head = line + b"\r\nContent-Length: 4\r\nX: y\r\n\r\n"
    assert not handshake.feed(head + b"bo")
    with pytest.raises(WSInvalidStatusError) as info:
        handshake.feed(b"dy")
    error = info.value
    assert text in str(error)
    assert (error.response.status, error.response.headers["X"], error.response.body) == (status, "y", b"body")
    assert (error.raw_header, error.raw_body) == (head, b"body")


def test_a_redirect_tells_where():
    handshake = ClientHandshake(URL)
    with pytest.raises(WSInvalidStatusError) as info:
        handshake.feed(encode_response(WSUpgradeResponse.create_redirect_response(308, "ws://other/")))
    assert info.value.response.headers["Location"] == "ws://other/"


def test_a_refusal_may_end_with_the_connection():
    handshake = ClientHandshake(URL)
    assert not handshake.feed(b"HTTP/1.1 502 Bad Gateway\r\n\r\nbody")
    with pytest.raises(WSInvalidStatusError) as info:
        handshake.eof()
    assert info.value.response.body == handshake.response.body == b"body"


def test_a_body_is_cut_at_the_limit():
    handshake = ClientHandshake(URL, limits=HeadLimits(max_body_size=2))
    with pytest.raises(WSInvalidStatusError) as info:
        handshake.feed(b"HTTP/1.1 502 x\r\nContent-Length: 1000000\r\n\r\nabcd")
    assert info.value.response.body == b"ab"


def test_an_early_end_is_an_error_at_every_byte():
    size = len(encode_101(ClientHandshake(URL), VALID))
    for end in range(size):
        handshake = ClientHandshake(URL)
        assert not handshake.feed(encode_101(handshake, VALID)[:end])
        with pytest.raises(WSInvalidMessageError, match="connection closed"):
            handshake.eof()


# The server


def make_request(*changes, method=b"GET", path=b"/", version=b"HTTP/1.1"):
    """The request of RFC 6455 section 1.2, with headers replaced; None removes one, a list repeats it."""
    headers = CIMultiDict(
        {
            "Host": "server.example.com",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
        }
    )
    for name, value in changes:
        headers.popall(name, None)
        headers.extend([(name, line) for line in ([value] if isinstance(value, str) else value or [])])
    return WSUpgradeRequest(method, path, version, headers)


@pytest.mark.parametrize(
    "request_",
    [
        make_request(),
        make_request(path=b"http://server.example.com/chat"),
        make_request(version=b"HTTP/1.2"),
        make_request(("Upgrade", "WEBSOCKET")),
        make_request(("Upgrade", "h2c, websocket")),
        make_request(("Upgrade", ["h2c", "websocket"])),
        make_request(("Connection", "keep-alive, Upgrade")),
        make_request(("Connection", ["keep-alive", "upgrade"])),
        make_request(("Origin", "http://example.com")),
        make_request(("Sec-WebSocket-Protocol", ["chat, superchat", "x"])),
        make_request(("Sec-WebSocket-Extensions", ["permessage-deflate; client_max_window_bits", "x"])),
    ],
)
def test_acceptable_requests(request_):
    assert check_upgrade_request(request_) is None


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (make_request(method=b"POST"), 405, "method POST cannot open a WebSocket, only GET can"),
        (make_request(method=b"get"), 405, "method get"),
        (make_request(version=b"HTTP/1.0"), 505, "HTTP/1.1"),
        (make_request(path=b"*"), 400, "'*' is not a path"),
        (make_request(path=b"ftp://x/"), 400, "is not a path"),
        (make_request(("Upgrade", None)), 400, "missing Upgrade header, expected websocket"),
        (make_request(("Upgrade", "websockets")), 400, "Upgrade is 'websockets', expected websocket"),
        (make_request(("Upgrade", "")), 400, "Upgrade is '', expected websocket"),
        (make_request(("Connection", None)), 400, "missing Connection header, expected upgrade"),
        (make_request(("Connection", "keep-alive")), 400, "Connection is 'keep-alive', expected upgrade"),
        (make_request(("Connection", "notupgrade")), 400, "Connection is 'notupgrade', expected upgrade"),
        (make_request(("Host", None)), 400, "Host must be sent once"),
        (make_request(("Host", "")), 400, "Host must be sent once"),
        (make_request(("Sec-WebSocket-Key", None)), 400, "Sec-WebSocket-Key must be sent once"),
        (
            make_request(("Sec-WebSocket-Key", ["dGhlIHNhbXBsZSBub25jZQ=="] * 2)),
            400,
            "Sec-WebSocket-Key must be sent once",
        ),
        (make_request(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ")), 400, "not 16 bytes in base64"),
        (make_request(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j")), 400, "not 16 bytes in base64"),
        (make_request(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==\n")), 400, "not 16 bytes in base64"),
        (make_request(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25!ZQ==")), 400, "not 16 bytes in base64"),
        (make_request(("Sec-WebSocket-Version", None)), 400, "Sec-WebSocket-Version must be sent once"),
        (make_request(("Sec-WebSocket-Version", ["13", "13"])), 400, "Sec-WebSocket-Version must be sent once"),
        (make_request(("Sec-WebSocket-Version", "13, 8")), 400, "'13, 8' is not a number"),
        (make_request(("Sec-WebSocket-Version", "8")), 426, "Sec-WebSocket-Version is 8, expected 13"),
        (make_request(("Sec-WebSocket-Version", "013")), 426, "expected 13"),
        (make_request(("Origin", ["http://a", "http://b"])), 400, "more than one Origin"),
        (make_request(("Sec-WebSocket-Protocol", "a b")), 400, "Sec-WebSocket-Protocol holds"),
        (make_request(("Sec-WebSocket-Extensions", "a;")), 400, "Sec-WebSocket-Extensions holds"),
    ],
)
def test_unacceptable_requests(request_, status, reason):
    refusal = check_upgrade_request(request_)
    assert refusal.status == status
    assert reason in refusal.message


def test_refusals_tell_what_would_do():
    """RFC 9110 sections 15.5.6 and 15.5.22, RFC 6455 section 4.4."""
    assert check_upgrade_request(make_request(method=b"PUT")).headers == (("Allow", "GET"),)
    refusal = check_upgrade_request(make_request(("Sec-WebSocket-Version", "8")))
    headers = CIMultiDict(refusal.headers)
    assert (headers["Sec-WebSocket-Version"], headers["Upgrade"]) == ("13", "websocket")
    assert headers["Connection"] == "Upgrade, close"


def test_101_of_the_rfc():
    """RFC 6455 section 1.2."""
    assert encode_response(switching_protocols(make_request())) == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


def test_headers_of_the_user_join_the_101():
    request = make_request(("Sec-WebSocket-Protocol", "a, b"), ("Sec-WebSocket-Extensions", "x"))
    extra = [("Sec-WebSocket-Protocol", "b"), ("Sec-WebSocket-Extensions", "x; y"), ("X", "1"), ("X", "2")]
    response = WSUpgradeResponse.create_101_response(extra)
    before = response.to_bytes()
    completed = switching_protocols(request, response)
    assert [item for item in completed.headers.items() if item in extra] == extra
    for name in ("Upgrade", "Connection", "Sec-WebSocket-Accept"):
        assert len(completed.headers.getall(name)) == 1
    assert response.to_bytes() == before, "one response may serve many connections"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (WSUpgradeResponse.create_ok_response(), "status 101 and no body, not with status 200"),
        (WSUpgradeResponse(body=b"x"), "no body"),
        (WSUpgradeResponse.create_101_response({"Upgrade": "h2c"}), "header Upgrade must be websocket, not 'h2c'"),
        (WSUpgradeResponse.create_101_response({"Connection": "close"}), "header Connection must be upgrade"),
        (WSUpgradeResponse.create_101_response({"Sec-WebSocket-Accept": "x"}), "Sec-WebSocket-Accept is set by"),
        (WSUpgradeResponse.create_101_response({"content-length": "0"}), "Content-Length is set by"),
        (WSUpgradeResponse.create_101_response({"Transfer-Encoding": "chunked"}), "Transfer-Encoding is set by"),
        (
            WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": "c"}),
            "Sec-WebSocket-Protocol is 'c', expected one of the offered: a, b",
        ),
        (WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": "a, b"}), "expected one of"),
        (
            WSUpgradeResponse.create_101_response([("Sec-WebSocket-Protocol", "a"), ("Sec-WebSocket-Protocol", "b")]),
            "expected one of",
        ),
        (
            WSUpgradeResponse.create_101_response({"Sec-WebSocket-Extensions": "x"}),
            "Sec-WebSocket-Extensions is 'x', expected none, as none was offered",
        ),
        (WSUpgradeResponse.create_101_response({"Sec-WebSocket-Extensions": "x;"}), "Sec-WebSocket-Extensions holds"),
    ],
)
def test_a_101_the_client_would_have_to_refuse_is_not_made(response, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        switching_protocols(make_request(("Sec-WebSocket-Protocol", "a, b")), response)


def without_date(data):
    text, count = re.subn(rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", b"", data)
    assert count == 1
    return text


def test_default_refusal():
    response = ServerHandshakePolicy().refuse(None, 431, "more than 128 header lines", {"X": "y"})
    assert without_date(encode_response(response)) == (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
        b"X: y\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 27\r\n"
        b"Connection: close\r\n\r\n"
        b"more than 128 header lines\n"
    )


def test_policy_can_be_overridden():
    class Policy(ServerHandshakePolicy):
        def refuse(self, request, status, message, headers=None):
            response = super().refuse(request, status, message, headers)
            response.body = b"{}"
            return response

    policy = Policy(HeadLimits(max_header_count=1))
    assert policy.limits.max_header_count == 1
    assert encode_response(policy.refuse(None, 400, "why")).endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (
            WSUpgradeResponse.create_error_response(404),
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        (
            WSUpgradeResponse.create_ok_response(b"ok", {"Connection": "keep-alive", "Content-Length": "99"}),
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: 2\r\n\r\nok",
        ),
        (
            WSUpgradeResponse(status=204, body=b"dropped"),
            b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        ),
        (
            WSUpgradeResponse.create_redirect_response(302, "ws://h/", {"connection": "Close, x"}),
            b"HTTP/1.1 302 Found\r\nconnection: Close, x\r\nLocation: ws://h/\r\nContent-Length: 0\r\n\r\n",
        ),
    ],
)
def test_other_responses_are_the_last_on_their_connection(response, expected):
    before = response.to_bytes()
    assert without_date(encode_response(response)) == expected
    assert response.to_bytes() == before


def test_head_is_answered_without_the_body():
    """RFC 9110 section 9.3.2: same headers, no content."""
    response = WSUpgradeResponse.create_ok_response(b"ok", {"Date": "today"})
    request = WSUpgradeRequest(b"HEAD")
    assert encode_response(response, request) == encode_response(response)[:-2]
    assert encode_response(response, WSUpgradeRequest(b"GET")) == encode_response(response)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (WSUpgradeResponse(status=100), "status 100 does not answer a request"),
        (WSUpgradeResponse.create_ok_response(b"", {"Transfer-Encoding": "chunked"}), "Transfer-Encoding is set by"),
        (WSUpgradeResponse(status=200, headers=CIMultiDict({"X": "a\r\nY: b"})), "header X holds"),
    ],
)
def test_responses_that_cannot_be_sent(response, reason):
    with pytest.raises(ValueError, match=reason):
        encode_response(response)


# Both sides

NAMES = st.text("abcXYZ019-._", min_size=1, max_size=6)


@given(
    st.lists(NAMES, max_size=3, unique=True),
    st.lists(NAMES, max_size=3),
    st.data(),
    st.binary(max_size=5),
    st.lists(st.integers(0, 300), max_size=4),
)
def test_client_and_server_agree(subprotocols, extensions, data, frames, cuts):
    lists = [("Sec-WebSocket-Protocol", subprotocols), ("Sec-WebSocket-Extensions", extensions)]
    offer = [(name, ", ".join(items)) for name, items in lists if items]
    handshake = ClientHandshake(URL, offer)
    request = read_request(handshake.request_bytes)
    assert check_upgrade_request(request) is None
    answer = []
    if subprotocols:
        answer.append(("Sec-WebSocket-Protocol", data.draw(st.sampled_from(subprotocols))))
    if extensions:
        answer.append(("Sec-WebSocket-Extensions", data.draw(st.sampled_from(extensions))))
    response = switching_protocols(request, WSUpgradeResponse.create_101_response(answer))
    stream = encode_response(response) + frames
    cut_points = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = iter([stream[start:end] for start, end in itertools.pairwise(cut_points)])
    assert any(map(handshake.feed, pieces))
    assert handshake.rest + b"".join(pieces) == frames
    assert list(handshake.response.headers.items()) == list(response.headers.items())


def test_a_refusal_reaches_the_client_with_its_reason():
    handshake = ClientHandshake(URL)
    refusal = Refusal(403, "not you", (("X", "y"),))
    response = ServerHandshakePolicy().refuse(handshake.request, refusal.status, refusal.message, refusal.headers)
    with pytest.raises(WSInvalidStatusError, match="status 403 Forbidden, expected 101") as info:
        handshake.feed(encode_response(response, handshake.request))
    assert info.value.response.body == b"not you\n"
    assert info.value.response.headers["X"] == "y"
