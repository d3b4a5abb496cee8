"""The upgrade request in one pass: what is recognised is what the strict reader and all checks accept."""

import base64
import copy
import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from picows.handshake import check_upgrade_request, encode_switching_protocols, switching_protocols
from picows.http11 import HeadError, HeadLimits, RequestReader, WSUpgradeResponse
from picows.upgrade_request import encode_acceptance, read_upgrade_request
from tests.support import accept_value

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
REQUIRED = {
    "Host": "server.example.com:8080",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
LIMITS = HeadLimits()


def encode(*fields, line="GET /chat?a=b HTTP/1.1"):
    """A request with these headers."""
    return "".join(f"{text}\r\n" for text in (line, *(f"{name}: {value}" for name, value in fields), "")).encode(
        "latin-1"
    )


def request_with(**changes):
    """The required headers, some replaced: None removes one, a list repeats it. Underscores stand for hyphens."""
    fields = {name.lower(): [(name, value)] for name, value in REQUIRED.items()}
    for name, value in changes.items():
        written = name.replace("_", "-")
        values = [value] if isinstance(value, str) else value or []
        fields[written.lower()] = [(written, text) for text in values]
    return encode(*(field for repeated in fields.values() for field in repeated))


def read(data, limits=LIMITS):
    """As a server reads what comes first."""
    return read_upgrade_request(data, min(limits.max_line_size, limits.max_head_size), limits.max_header_count)


def test_the_usual_request():
    head = request_with(Origin="https://a", Sec_WebSocket_Protocol="chat, b", Sec_WebSocket_Extensions="x; y=1")
    request = read(head + b"\x81\x80abcd")
    assert (request.method, request.path, request.version) == (b"GET", b"/chat?a=b", b"HTTP/1.1")
    assert request.head == head
    assert request.transport is None
    offer = request.offer
    assert (offer.key, offer.origin, offer.subprotocols, offer.extensions) == (KEY, "https://a", "chat, b", "x; y=1")


@pytest.mark.parametrize(
    "changes",
    [
        {"Host": "127.0.0.1"},
        {"Host": "a_b.xn--c:"},
        {"uPGRADE": "WebSocket"},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "upgrade\t ,x"},
        {"X": ""},
        {"Cookie": "a=\xfc; b=\xff"},
        {"Sec_WebSocket_Extensions": ""},
    ],
)
def test_recognised(changes):
    request = read(request_with(**changes).replace(b": \r\n", b":\r\n"))
    assert request is not None
    assert check_upgrade_request(request) is None
    assert request.offer is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /",
        request_with()[:-1],
        request_with().replace(b"GET", b"POST"),
        request_with().replace(b"HTTP/1.1", b"HTTP/1.0"),
        request_with().replace(b"/chat", b"http://a/"),
        request_with().replace(b"/chat", b"/ch#at"),
        request_with().replace(b"\r\n", b"\n"),
        request_with(Host="[::1]:80"),
        request_with(Host="a b"),
        request_with(Host=None),
        request_with(Host=["a", "a"]),
        request_with(Upgrade="h2c, websocket"),
        request_with(Connection="keep-alive"),
        request_with(Connection="upgrade,, x"),
        request_with(Connection=["keep-alive", "upgrade"]),
        request_with(Sec_WebSocket_Key="A" * 24),
        request_with(Sec_WebSocket_Key="é" + KEY[1:]),
        request_with(Sec_WebSocket_Version="8"),
        request_with(Sec_WebSocket_Version=["13", "13"]),
        request_with(Origin=["a", "b"]),
        request_with(Sec_WebSocket_Protocol=["a", "b"]),
        request_with(Sec_WebSocket_Extensions=["a", "b"]),
        request_with(Content_Length="0"),
        request_with(Transfer_Encoding="chunked"),
        request_with(X="a "),
        request_with(X="a\tb\x00"),
        request_with(X="a\r\n b"),
        request_with().replace(b"Host:", b"Host :"),
        request_with().replace(b"Host:", b":"),
    ],
)
def test_left_to_the_strict_reader(data):
    assert read(data) is None


@pytest.mark.parametrize(
    "limits",
    [HeadLimits(max_header_count=4), HeadLimits(max_line_size=100), HeadLimits(max_head_size=100)],
    ids=["count", "line", "head"],
)
def test_limits(limits):
    head = request_with()
    assert read(head, limits) is None
    exact = HeadLimits(max_header_count=5, max_line_size=len(head), max_head_size=len(head))
    assert read(head, exact) is not None


def test_what_is_offered_is_checked():
    """The grammar of both headers is for the check, whoever reads the request."""
    for changes in ({"Sec_WebSocket_Protocol": "a b"}, {"Sec_WebSocket_Extensions": "a;"}):
        data = request_with(**changes)
        refusal = check_upgrade_request(read(data))
        assert refusal == check_upgrade_request(RequestReader(LIMITS).feed(data))
        assert refusal.status == 400


def test_headers_are_there_when_asked_for():
    """Whoever has them may change them, so from then on they are what counts."""
    request = read(request_with(X="\xfc"))
    assert request.headers["x"] == "\xfc"
    assert request.headers is request.headers
    assert request.offer is None
    assert check_upgrade_request(request) is None
    del request.headers["Upgrade"]
    assert check_upgrade_request(request).message == "missing Upgrade header, expected websocket"


def test_it_is_a_request_like_others():
    data = request_with(Cookie="secret")
    request, other = read(data), RequestReader(LIMITS).feed(data)
    assert repr(request) == repr(other)
    assert request.to_bytes() == other.to_bytes() == data
    assert copy.copy(read(data)).headers == other.headers
    assert dataclasses.replace(read(data), path=b"/x").headers == other.headers
    with pytest.raises(AttributeError, match="no attribute 'header'"):
        request.header  # noqa: B018


@pytest.mark.parametrize(
    "response",
    [
        None,
        WSUpgradeResponse.create_101_response({"Set-Cookie": "a=b", "X": "\xfc"}),
        WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": "b", "Sec-WebSocket-Extensions": "x"}),
    ],
)
def test_the_answer_is_the_same_in_one_go(response):
    data = request_with(Sec_WebSocket_Protocol="a, b", Sec_WebSocket_Extensions="x; y=1")
    expected = switching_protocols(RequestReader(LIMITS).feed(data), response).to_bytes()
    assert encode_switching_protocols(read(data), response) == expected
    assert encode_switching_protocols(RequestReader(LIMITS).feed(data), response) == expected


@pytest.mark.parametrize("headers", [{"Sec-WebSocket-Protocol": "c"}, {"Sec-WebSocket-Extensions": "y"}])
def test_an_answer_beyond_the_offer_is_an_error(headers):
    request = read(request_with(Sec_WebSocket_Protocol="a, b", Sec_WebSocket_Extensions="x"))
    with pytest.raises(ValueError, match="of the offered"):
        encode_switching_protocols(request, WSUpgradeResponse.create_101_response(headers))


@given(st.binary(min_size=16, max_size=16))
def test_accept_value_of_any_key(random):
    """RFC 6455 section 4.2.2, step 5.4."""
    key = base64.b64encode(random).decode()
    answer = encode_acceptance(read(request_with(Sec_WebSocket_Key=key)).offer, ())
    assert answer.endswith(f"Sec-WebSocket-Accept: {accept_value(key)}\r\n\r\n".encode())


@pytest.mark.parametrize(
    "field",
    [("X y", "a"), ("", "a"), ("X:", "a"), ("X", "a\r\nb: c"), ("X", "\0"), ("X", "\xfc"), ("\xfc", "a"), ("X", 1)],
)
def test_headers_that_the_short_way_leaves_to_the_long_one(field):
    offer = read(request_with()).offer
    assert encode_acceptance(offer, [("A", "b"), field]) is None
    assert encode_acceptance(offer, [("A", "b\t~"), ("C", "")]).endswith(b"=\r\nA: b\t~\r\nC: \r\n\r\n")


NAMES = st.sampled_from([*REQUIRED, "Origin", "Content-Length", "Transfer-Encoding", "Sec-WebSocket-Protocol", "X"])
VALUES = st.sampled_from([*REQUIRED.values(), "keep-alive, upgrade", "", "a ", "[::1]", "\xfc", "0", ","])


@st.composite
def nearly_usual_requests(draw):
    """The usual request with headers in any order and case, some more of them, and a few bytes of damage."""
    fields = draw(st.permutations([*REQUIRED.items(), *draw(st.lists(st.tuples(NAMES, VALUES), max_size=2))]))
    data = bytearray(encode(*((draw(st.sampled_from([name, name.lower(), name.upper()])), v) for name, v in fields)))
    for _ in range(draw(st.integers(0, 2))):
        position = draw(st.integers(0, len(data)))
        data[position : position + draw(st.integers(0, 2))] = draw(
            st.binary(max_size=2) | st.sampled_from([b"\r\n", b"\n", b" ", b"\t", b":", b",", b"\r\n\r\n"])
        )
    return bytes(data)


@given(nearly_usual_requests())
@example(request_with(X="a").replace(b"X: a", b"X: \t"))
def test_nothing_is_recognised_that_is_read_otherwise(data):
    request = read(data)
    reader = RequestReader(LIMITS)
    try:
        expected = reader.feed(data)
    except HeadError:
        expected = None
    if request is None:
        return
    assert expected is not None
    refusal = check_upgrade_request(request)
    assert request.head == reader.raw_header
    assert (request.method, request.path, request.version) == (expected.method, expected.path, expected.version)
    assert list(request.headers.items()) == list(expected.headers.items())
    assert refusal == check_upgrade_request(expected) == check_upgrade_request(request)
