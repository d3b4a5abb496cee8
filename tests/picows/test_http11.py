"""Reading heads and bodies: what is accepted, what is refused and with which status, and within which limits."""

import contextlib
import itertools

import httptools
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from picows.errors import WSInvalidMessageError
from picows.http11 import HeadError, HeadLimits, RequestReader, ResponseReader, WSUpgradeRequest, WSUpgradeResponse

TOKEN_CHARS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VALUE_CHARS = "\t" + "".join(map(chr, [*range(0x20, 0x7F), *range(0x80, 0x100)]))
FRAMING = {"host", "content-length", "transfer-encoding"}
FIREFOX = (
    b"GET /chat?room=1 HTTP/1.1\r\n"
    b"Host: server.example.com:8080\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"Accept: */*\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Origin: http://server.example.com\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\n\r\n"
)

tokens = st.text(TOKEN_CHARS, min_size=1, max_size=12)
values = st.text(VALUE_CHARS, max_size=20).map(lambda text: text.strip(" \t"))
fields = st.lists(st.tuples(tokens.filter(lambda name: name.lower() not in FRAMING), values), max_size=8)
targets = st.text("".join(map(chr, range(0x21, 0x7F))).replace("#", ""), max_size=20).map("/".__add__)
cuts = st.lists(st.integers(0, 2000), max_size=6)


def split(data, positions):
    """Cut data at the positions; pieces may be empty."""
    bounds = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


def read_request(pieces, limits=None):
    """What a reader makes of a stream: the message and what follows it, or the error. None: it wants more."""
    reader = RequestReader(limits or HeadLimits())
    unread = iter(pieces)
    request = None
    try:
        while request is None and (piece := next(unread, None)) is not None:
            request = reader.feed(piece)
    except HeadError as exc:
        return exc.status, str(exc)
    if request is None:
        return None
    rest = reader.rest + b"".join(unread)
    return request.method, request.path, request.version, list(request.headers.items()), reader.raw_header, rest


def read_response(pieces, limits=None, *, at_eof=False):
    """The same for a response; what follows counts only after a 101."""
    reader = ResponseReader(limits or HeadLimits())
    unread = iter(pieces)
    response = None
    try:
        while response is None and (piece := next(unread, None)) is not None:
            response = reader.feed(piece)
        if response is None and at_eof:
            response = reader.eof()
    except WSInvalidMessageError as exc:
        return str(exc), exc.raw_body, exc.response and exc.response.status
    if response is None:
        return None
    rest = reader.rest + b"".join(unread) if response.status == 101 else b""
    head = response.version, response.status, response.reason, list(response.headers.items()), reader.raw_header
    return *head, response.body, rest


def bytewise(data):
    return [data[pos : pos + 1] for pos in range(len(data))]


def refusal(data, limits=None):
    """Status and message, which must be the same for the stream in one piece and byte by byte."""
    outcome = read_request([data], limits)
    assert outcome == read_request(bytewise(data), limits)
    assert outcome is not None, "accepted so far, waits for more"
    assert len(outcome) == 2, f"accepted: {outcome}"
    return outcome


# Requests


def test_browser_request():
    method, path, version, headers, raw_header, rest = read_request([FIREFOX + b"\x81\x80abcd"])
    assert (method, path, version, rest) == (b"GET", b"/chat?room=1", b"HTTP/1.1", b"\x81\x80abcd")
    assert headers[-2:] == [("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket")]
    assert len(headers) == 10
    assert raw_header == FIREFOX


def test_header_names_compare_without_case_and_lines_add_up():
    reader = RequestReader(HeadLimits())
    request = reader.feed(b"GET / HTTP/1.1\r\nhOsT: a\r\nConnection: a\r\nCONNECTION: b\r\nconnection:c\r\n\r\n")
    assert request.headers.getall("Connection") == ["a", "b", "c"]
    assert request.headers["host"] == "a"


@pytest.mark.parametrize(
    ("line", "value"),
    [(b"X:", ""), (b"X: ", ""), (b"X: \t ", ""), (b"X:a", "a"), (b"X: \t a b \t", "a b"), (b"X: \xfc\xff", "\xfc\xff")],
)
@pytest.mark.parametrize("cut", [bytewise, lambda data: [data]], ids=["bytewise", "whole"])
def test_space_around_values_is_dropped(line, value, cut):
    headers = read_request(cut(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n"))[3]
    assert headers == [("Host", "a"), ("X", value)]


@pytest.mark.parametrize(
    "head",
    [
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /health HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a_b.xn--c:80\r\n\r\n",
        b'made-up /?q={|}^"<>` HTTP/1.1\r\nHost: a\r\n\r\n',
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_accepted(head):
    outcome = read_request([head])
    assert outcome == read_request(bytewise(head))
    assert outcome[4:] == (head, b"")


START = b"GET / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        # Request lines (RFC 9112 section 3).
        (b"\x16\x03\x01\x02\x00\x01", 400, "TLS handshake"),
        (b"\r\n\r\n", 400, "does not begin with"),
        (b" GET / HTTP/1.1\r\n", 400, "does not begin with"),
        (b"\x80", 400, "does not begin with"),
        (b"GET /\r\n", 400, "first line 'GET /'"),
        (b"GET\r\n", 400, "first line"),
        (b"GET  / HTTP/1.1\r\n", 400, "first line"),
        (b"GET / HTTP/1.1 \r\n", 400, "first line"),
        (b"GET\t/\tHTTP/1.1\r\n", 400, "first line"),
        (b"GET / x HTTP/1.1\r\n", 400, "first line"),
        (b"GET /#f HTTP/1.1\r\n", 400, "first line"),
        (b"GET /\x00 HTTP/1.1\r\n", 400, "first line"),
        (b"GET path HTTP/1.1\r\n", 400, "first line"),
        (b"GET *a HTTP/1.1\r\n", 400, "first line"),
        (b"CONNECT host:80 HTTP/1.1\r\n", 400, "first line"),
        (b"GET /\xc3\xbc HTTP/1.1\r\n", 400, "first line"),
        (b"G(T / HTTP/1.1\r\n", 400, "first line"),
        (b"GET / http/1.1\r\n", 400, "first line"),
        (b"GET / HTTP/1.10\r\n", 400, "first line"),
        (b"GET / HTTP/11\r\n", 400, "first line"),
        (b"GET / HTTP/0.9\r\n", 505, "HTTP/0.9"),
        (b"PRI * HTTP/2.0\r\n", 505, "HTTP/2.0"),
        # Line ends (RFC 9112 section 2.2).
        (b"GET / HTTP/1.1\n", 400, "LF without CR"),
        (START + b"X: a\nY: b\r\n\r\n", 400, "LF without CR"),
        (START + b"\n", 400, "LF without CR"),
        (START + b"X: a\rY: b\r\n\r\n", 400, r"header X holds '\r' at position 2"),
        (START + b"X: a\r\r\n\r\n", 400, r"header X holds '\r'"),
        # Fields (RFC 9112 section 5).
        (START + b"X: a\r\n b\r\n\r\n", 400, "folded"),
        (START + b"X: a\r\n\tb\r\n\r\n", 400, "folded"),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "folded"),
        (START + b"X : a\r\n\r\n", 400, "'X ' has space before the colon"),
        (START + b"X\t: a\r\n\r\n", 400, "space before the colon"),
        (START + b": a\r\n\r\n", 400, "name '' is not a token"),
        (START + b"X Y: a\r\n\r\n", 400, "name 'X Y' is not a token"),
        (START + b"X(Y): a\r\n\r\n", 400, "name 'X(Y)' is not a token"),
        (START + b"X\x00: a\r\n\r\n", 400, "is not a token"),
        (START + b"X\xfc: a\r\n\r\n", 400, "is not a token"),
        (START + b"nonsense\r\n\r\n", 400, "'nonsense' has no colon"),
        (START + b"X: a\x00b\r\n\r\n", 400, r"header X holds '\x00' at position 2"),
        (START + b"X: a\x01b\r\n\r\n", 400, r"header X holds '\x01'"),
        (START + b"X: a\x7fb\r\n\r\n", 400, r"header X holds '\x7f'"),
        # Host (RFC 9112 section 3.2).
        (b"GET / HTTP/1.1\r\n\r\n", 400, "0 Host headers"),
        (START + b"Host: a\r\n\r\n", 400, "2 Host headers"),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "2 Host headers"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "'a b' is not a host"),
        (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "is not a host"),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "is not a host"),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "is not a host"),
        # Bodies (RFC 9112 section 6), where requests are smuggled.
        (START + b"Content-Length: 5\r\n\r\n", 413, "body"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", 413, "body"),
        (START + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400, "sent 2 times"),
        (START + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n", 400, "sent 2 times"),
        (START + b"Content-Length: 0, 0\r\n\r\n", 400, "'0, 0' is not a length"),
        (START + b"Content-Length: +0\r\n\r\n", 400, "'+0' is not a length"),
        (START + b"Content-Length: -0\r\n\r\n", 400, "'-0' is not a length"),
        (START + b"Content-Length: 0x0\r\n\r\n", 400, "is not a length"),
        (START + b"Content-Length: 0 0\r\n\r\n", 400, "is not a length"),
        (START + b"Content-Length: \xb2\r\n\r\n", 400, "is not a length"),
        (START + b"Content-Length:\r\n\r\n", 400, "'' is not a length"),
        (START + b"Content-Length: " + b"9" * 4000 + b"\r\n\r\n", 400, "is not a length"),
        (START + b"Transfer-Encoding: chunked\r\n\r\n", 413, "body"),
        (START + b"Transfer-Encoding: Chunked\r\n\r\n", 413, "body"),
        (START + b"Transfer-Encoding:\r\n\r\n", 413, "body"),
        (START + b"Transfer-Encoding: identity\r\n\r\n", 501, "'identity' is not supported"),
        (START + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "not supported"),
        (START + b"Transfer-Encoding: \x0bchunked\r\n\r\n", 400, "header Transfer-Encoding holds"),
        (START + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "both"),
    ],
)
def test_refused(head, status, reason):
    got_status, message = refusal(head)
    assert got_status == status
    assert reason in message


def test_refusal_does_not_repeat_values_that_may_be_secret():
    _, message = refusal(START + b"Authorization: Basic c2VjcmV0\x01\r\n\r\n")
    assert "c2VjcmV0" not in message


LIMITS = HeadLimits(max_line_size=40, max_header_count=3, max_head_size=100)


@pytest.mark.parametrize(
    ("longest", "end", "status", "reason"),
    [
        (b"GET /" + b"a" * 26 + b" HTTP/1.1", b"\r\nHost: h\r\n\r\n", 414, "line is longer than 40 bytes"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 37, b"\r\n\r\n", 431, "line is longer than 40 bytes"),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"a" * 39 + b":", b"\r\n\r\n", 431, "line is longer than 40 bytes"),
    ],
    ids=["request line", "value", "name"],
)
def test_line_limit_is_exact(longest, end, status, reason):
    assert len(read_request([longest + end], LIMITS)) == 6
    assert read_request(bytewise(longest + end), LIMITS) == read_request([longest + end], LIMITS)
    got_status, message = refusal(longest.replace(b"a", b"aa", 1) + end, LIMITS)
    assert (got_status, reason in message) == (status, True)


def test_header_count_limit_is_exact():
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n"
    assert len(read_request([head + b"\r\n"], LIMITS)) == 6
    assert refusal(head + b"X: 3\r\n\r\n", LIMITS) == (431, "more than 3 header lines")


def test_head_limit_is_exact():
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\nY: %b\r\n\r\n"
    fill = 100 - len(head % (b"", b""))
    assert len(read_request([head % (b"x" * (fill // 2), b"y" * (fill - fill // 2))], LIMITS)) == 6
    assert refusal(head % (b"x" * (fill // 2), b"y" * (fill - fill // 2 + 1)), LIMITS) == (
        431,
        "head is longer than 100 bytes",
    )


@pytest.mark.parametrize(
    ("start", "repeated", "bound", "status"),
    [
        (b"GET /", b"a", 8192 + 2, 414),
        (START + b"X: ", b"a", len(START) + 8192 + 2, 431),
        (START, b"X: a\r\n", len(START) + 128 * 6, 431),
        (START, b"X: " + b"a" * 1000 + b"\r\n", 32768, 431),
    ],
    ids=["request line", "header line", "header count", "head"],
)
def test_endless_heads_are_refused_as_soon_as_they_pass_a_limit(start, repeated, bound, status):
    """A reader holds no more than it was given, so what it took before refusing bounds its memory."""
    reader = RequestReader(HeadLimits())
    pieces = itertools.chain([start], itertools.repeat(repeated, 40000))
    with pytest.raises(HeadError) as info:
        list(map(reader.feed, pieces))
    assert info.value.status == status
    not_taken = sum(map(len, pieces))
    assert len(start) + 40000 * len(repeated) - not_taken <= bound + len(repeated)
    assert len(info.value.raw_header) <= HeadLimits().max_head_size


@pytest.mark.parametrize(
    "value",
    [b" " * 500_000 + b"\x01", (b" " * 50 + b"a") * 10_000 + b"\x01", b"\t" * 500_000, b"a," * 250_000 + b"\x00"],
    ids=["spaces", "words", "tabs", "list"],
)
def test_time_is_linear_in_the_size_of_a_head(value):
    """Quadratic time would make these heads take minutes."""
    limits = HeadLimits(max_line_size=1 << 20, max_head_size=1 << 20)
    head = START + b"X:" + value + b"\r\n\r\n"
    assert read_request([head], limits) == read_request(split(head, range(0, len(head), 1000)), limits)


@pytest.mark.parametrize("name", ["max_line_size", "max_header_count", "max_head_size", "max_body_size"])
def test_limits_must_be_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be positive, not 0"):
        HeadLimits(**{name: 0})


requests = st.builds(
    lambda method, path, minor, fields, host: WSUpgradeRequest(
        method.encode(),
        path.encode(),
        b"HTTP/1.%d" % minor,
        CIMultiDict([*fields, ("Host", host)]),
    ),
    tokens,
    targets,
    st.integers(0, 9),
    fields,
    st.sampled_from(["a", "a.example:80", "[::1]:8080", "xn--wgv71a119e.jp"]),
)


@given(requests, cuts, st.binary(max_size=10))
def test_an_encoded_request_is_read_back(request, positions, rest):
    data = request.to_bytes()
    outcome = read_request(split(data + rest, positions))
    assert outcome == (request.method, request.path, request.version, list(request.headers.items()), data, rest)


@st.composite
def hostile_heads(draw):
    """A valid head, damaged in a few places."""
    head = bytearray(draw(requests).to_bytes())
    for _ in range(draw(st.integers(0, 4))):
        position = draw(st.integers(0, len(head)))
        size = draw(st.integers(0, 2))
        head[position : position + size] = draw(
            st.binary(max_size=2)
            | st.sampled_from(
                [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"\r\n ", b"Content-Length: 5\r\n", b"\r\n\r\n"]
            )
        )
    return bytes(head)


SMALL = HeadLimits(max_line_size=60, max_header_count=6, max_head_size=150)


@given(hostile_heads(), cuts, st.sampled_from([HeadLimits(), SMALL]))
@example(b"GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n", [30], SMALL)
def test_verdict_does_not_depend_on_how_the_stream_is_cut(data, positions, limits):
    expected = read_request([data], limits)
    assert read_request(split(data, positions), limits) == expected
    assert read_request(bytewise(data), limits) == expected


class LlhttpEvents:
    """What httptools, a binding of Node's llhttp, reports."""

    def __init__(self):
        self.fields = []
        self.is_complete = False

    def on_url(self, url):
        self.url = url

    def on_header(self, name, value):
        self.fields.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self):
        self.is_complete = True


@given(hostile_heads())
def test_whatever_is_accepted_reads_the_same_to_llhttp(data):
    """Two parsers in a chain that disagree are what smuggling needs; llhttp is the strictest of the well-known."""
    outcome = read_request([b"GET" + data[data.find(b" ") :]])
    assume(outcome is not None and len(outcome) == 6)
    _, path, version, headers, raw_header, _ = outcome
    assume(version in {b"HTTP/1.0", b"HTTP/1.1"})  # llhttp knows no other
    events = LlhttpEvents()
    parser = httptools.HttpRequestParser(events)
    with contextlib.suppress(httptools.HttpParserUpgrade):
        parser.feed_data(raw_header)
    assert events.is_complete
    assert (events.url, events.fields) == (path, headers)


# Responses


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"HTTP/1.1 101", ""),
        (b"HTTP/1.1 101 ", ""),
        (b"HTTP/1.1 101 Switching Protocols", "Switching Protocols"),
        (b"HTTP/1.1 101 Web Socket Protocol Handshake", "Web Socket Protocol Handshake"),
        (b"HTTP/1.1 101 \xfc\t-", "\xfc\t-"),
    ],
)
def test_any_reason_phrase_will_do(line, reason):
    data = line + b"\r\nUpgrade: websocket\r\n\r\n"
    expected = (b"HTTP/1.1", 101, reason, [("Upgrade", "websocket")], data, None, b"\x81\x00")
    assert read_response([data + b"\x81\x00"]) == expected
    assert read_response(bytewise(data + b"\x81\x00")) == expected


INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
CHUNKED = b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status", "body"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc", 404, b"abc"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, b""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabcdef", 404, b"abc"),
        (CHUNKED + b"0\r\n\r\n", 403, b""),
        (
            CHUNKED + b'2\r\nab\r\n0A ; x="y"\r\n0123456789\r\n000\r\nTrailer: x\r\nOther: y\r\n\r\n',
            403,
            b"ab0123456789",
        ),
        (CHUNKED.replace(b"chunked", b"gzip,, Chunked") + b"1\r\na\r\n0\r\n\r\n", 403, b"a"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, None),
        (b"HTTP/1.0 599 \r\nContent-Length: 1\r\n\r\na", 599, b"a"),
        (b"HTTP/1.1 999 x\r\nContent-Length: 1\r\n\r\na", 999, b"a"),
        (INTERIM + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", 200, b"a"),
    ],
)
def test_bodies(data, status, body):
    outcome = read_response([data])
    assert outcome == read_response(bytewise(data))
    assert (outcome[1], outcome[5]) == (status, body)


def test_known_statuses_are_enum_members_and_others_stay_numbers():
    for status, kind in [(404, "HTTPStatus"), (499, "int"), (999, "int")]:
        response = ResponseReader(HeadLimits()).feed(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status)
        assert (response.status, type(response.status).__name__) == (status, kind)


@pytest.mark.parametrize("head", [b"HTTP/1.1 502 x\r\n\r\n", b"HTTP/1.0 502 x\r\nTransfer-Encoding: gzip\r\n\r\n"])
def test_a_body_without_length_ends_with_the_connection(head):
    assert read_response([head + b"abc", b"def"]) is None
    outcome = read_response([head + b"abc", b"def"], at_eof=True)
    assert (outcome[1], outcome[5]) == (502, b"abcdef")


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 1000000000000\r\n\r\n" + b"x" * 50,
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + b"x" * 50,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50,
        b"\r\n" + b"x" * 50,
    ],
    ids=["length", "one chunk", "chunks", "until eof"],
)
def test_a_body_is_cut_at_its_limit(framed):
    data = b"HTTP/1.1 500 x\r\n" + framed
    outcome = read_response([data], HeadLimits(max_body_size=20))
    assert outcome == read_response(bytewise(data), HeadLimits(max_body_size=20))
    assert outcome[5] == b"x" * 20


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x15\x03\x01\x00\x02\x02\x50", "server speaks TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "it begins with 'SSH-2'"),
        (b"\r\n\r\n\r\n", r"it begins with '\r'"),
        (b"http/1.1 101\r\n", "it begins with 'http/'"),
        (b"HTTP/1.1 101x\r\n", "first line"),
        (b"HTTP/1.1  101\r\n", "first line"),
        (b"HTTP/1.1 099 x\r\n", "first line"),
        (b"HTTP/1.1 1010 x\r\n", "first line"),
        (b"HTTP/1.1 +10 x\r\n", "first line"),
        (b"HTTP/1.1 200 \x01\r\n", "first line"),
        (b"HTTP/2.0 200 x\r\n", "HTTP/2.0 is not HTTP/1.1"),
        (b"HTTP/1.1 101\n", "LF without CR"),
        (b"HTTP/1.1 101 x\r\nA: b\r\n c\r\n\r\n", "folded"),
        (b"HTTP/1.1 101 x\r\nA : b\r\n\r\n", "space before the colon"),
        (b"HTTP/1.1 " + b"1" * 9000, "line is longer than 8192 bytes"),
        (b"HTTP/1.1 200 x\r\n" + b"A: b\r\n" * 129, "more than 128 header lines"),
        (b"HTTP/1.1 200 x\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * 40, "head is longer than 32768 bytes"),
        (b"HTTP/1.1 102 x\r\n\r\n" * 17, "more than 16 interim responses"),
        (b"HTTP/1.1 200 x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "sent 2 times"),
        (b"HTTP/1.1 200 x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "both"),
        (b"HTTP/1.1 200 x\r\nContent-Length: -1\r\n\r\n", "'-1' is not a length"),
        (CHUNKED + b"\r\n", "size of a chunk"),
        (CHUNKED + b"g\r\n", "size of a chunk"),
        (CHUNKED + b"-1\r\n", "size of a chunk"),
        (CHUNKED + b"0x1\r\n", "size of a chunk"),
        (CHUNKED + b"1" * 17 + b"\r\n", "size of a chunk"),
        (CHUNKED + b"1\n", "LF without CR"),
        (CHUNKED + b"1\r\nab", "longer than its size"),
        (CHUNKED + b"1;" + b"a" * 5000, "too long"),
        (CHUNKED + b"0\r\n" + b"A: b\r\n" * 2000, "too long"),
    ],
)
def test_refused_responses(data, reason):
    outcome = read_response([data])
    assert outcome == read_response(bytewise(data))
    assert outcome[0].startswith("did not receive a valid HTTP response: ")
    assert reason in outcome[0]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nabcd",
        CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    ],
    ids=["101", "length", "chunked"],
)
def test_an_end_before_the_end_is_an_error_at_every_byte(data):
    for size in range(len(data)):
        reader = ResponseReader(HeadLimits())
        assert reader.feed(data[:size]) is None
        with pytest.raises(WSInvalidMessageError, match="connection closed") as info:
            reader.eof()
        assert isinstance(info.value.__cause__, EOFError)
        assert (info.value.raw_header or b"") == data[:size][: data.index(b"\r\n\r\n") + 4]


def test_a_truncated_body_is_kept_with_its_response():
    reader = ResponseReader(HeadLimits())
    assert reader.feed(b"HTTP/1.1 403 x\r\nContent-Length: 9\r\n\r\nabc") is None
    with pytest.raises(WSInvalidMessageError, match="after 3 of 9 bytes of the body") as info:
        reader.eof()
    assert (info.value.response.status, info.value.response.body, info.value.raw_body) == (403, b"abc", b"abc")


def encode_chunks(chunks):
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk) + b"0\r\n\r\n"


@given(
    st.integers(200, 999).filter(lambda status: status not in {204, 304}),
    fields,
    st.lists(st.binary(max_size=30), max_size=5),
    st.sampled_from(["length", "chunked", "eof"]),
    cuts,
)
def test_an_encoded_response_is_read_back(status, headers, chunks, framing, positions):
    body = b"".join(chunks)
    framing_header = {
        "length": [("Content-Length", str(len(body)))],
        "chunked": [("Transfer-Encoding", "chunked")],
        "eof": [],
    }[framing]
    response = WSUpgradeResponse(status=status, headers=CIMultiDict([*headers, *framing_header]))
    head = response.to_bytes()
    data = head + (encode_chunks(chunks) if framing == "chunked" else body)
    outcome = read_response(split(data, positions), at_eof=True)
    assert outcome == (b"HTTP/1.1", status, outcome[2], list(response.headers.items()), head, body, b"")


@given(
    st.binary(max_size=20)
    | st.binary(max_size=60).map(b"HTTP/1.1 ".__add__)
    | st.binary(max_size=80).map(CHUNKED.__add__)
    | st.text("0123456789af;\r\nx", max_size=60).map(str.encode).map(CHUNKED.__add__),
    cuts,
)
def test_verdict_on_a_response_does_not_depend_on_how_it_is_cut(data, positions):
    limits = HeadLimits(max_body_size=30)
    expected = read_response([data], limits, at_eof=True)
    assert read_response(split(data, positions), limits, at_eof=True) == expected
    assert read_response(bytewise(data), limits, at_eof=True) == expected
