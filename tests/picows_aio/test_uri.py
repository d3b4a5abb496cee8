"""WebSocket URIs: what is taken apart how, and what is refused."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picows_aio.exceptions import InvalidURI
from picows_aio.uri import WebSocketURI, parse_uri

VALID = [
    "ws://localhost",
    "ws://localhost/",
    "wss://localhost",
    "WS://LOCALHOST/A?B",
    "ws://h:81/p?q",
    "ws://h:/",
    "ws://h?",
    "ws://h/?a?b",
    "ws://h/;x=1/%20",
    "ws://u:p@h",
    "ws://:@h",
    "ws://u:@h",
    "ws://u:p:q@h",
    "ws://u%20x:p%3Aq@h",
    "ws://a@b:c@h",
    "ws://é:ü@h",
    "ws://[::1]",
    "ws://[::1]:8000/",
    "wss://u:p@müller.de/ü?ö=ä",
    "ws://日本語。jp",
    "ws://h_x/",
    " ws://h/p\n",
]


@pytest.mark.parametrize("uri", VALID)
def test_a_uri_is_taken_apart(compare, uri):
    parts = ["secure", "host", "port", "path", "query", "username", "password", "resource_name", "user_info"]
    compare(f"(uri := parse_uri({uri!r})) and ''", *(f"uri.{part}" for part in parts))


@pytest.mark.parametrize(
    "uri",
    ["", "h", "http://h", "//h/", "wsx://h", "ws://h/#f", "ws://h/p?q#f"],
)
def test_a_refusal_says_what_users_know(compare, uri):
    compare(f"parse_uri({uri!r})")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("ws://", "no host"),
        ("ws:///path", "no host"),
        ("ws:h", "no host"),
        ("ws://u@h", "username provided without password"),
        ("ws://@h", "username provided without password"),
        ("ws://h#", "fragment identifier is meaningless"),
        ("ws://h:0", "port"),
        ("ws://h:65536", "port"),
        ("ws://h:abc", "port"),
        ("ws://h:80:81", "more than one colon"),
        ("ws://[::1", "bracket"),
        ("ws://h/a b", "' '"),
        ("ws://h/a\r\nX: y", "character"),
        ("ws://a..b", "not a host name"),
        ("ws://256.1.1.1", "not an IPv4 address"),
        ("ws://u%3Ax:p@h", "colon"),
        ("ws://u:%ff@h", "UTF-8"),
        ("ws://u:%0a@h", "control character"),
    ],
)
def test_every_refusal_is_the_same_exception(uri, reason):
    with pytest.raises(InvalidURI) as caught:
        parse_uri(uri)
    assert reason in caught.value.msg
    assert caught.value.uri == uri


def test_the_password_of_a_refused_uri_is_in_no_traceback():
    with pytest.raises(InvalidURI) as caught:
        parse_uri("ws://user:secret@h:x/")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "secret" not in str(caught.value)


def test_the_repr_keeps_the_password():
    assert repr(parse_uri("ws://user:secret@h/p")) == (
        "WebSocketURI(secure=False, host='h', port=80, path='/p', query='', username='user')"
    )


def test_a_uri_can_be_made_from_its_parts(compare):
    compare(
        "WebSocketURI(True, 'h', 1, '', '').resource_name",
        "WebSocketURI(True, 'h', 1, '/x', 'y', 'u', 'p').user_info",
        "WebSocketURI(True, 'h', 1, '', '') == WebSocketURI(True, 'h', 1, '', '', None, None)",
        "hash(WebSocketURI(True, 'h', 1, '', ''))",
    )


LABELS = st.from_regex(r"\A[a-z](?:[a-z0-9-]{0,10}[a-z0-9])?\Z")
TEXTS = st.text(string.ascii_letters + string.digits + "/-._~!$&'()*+,;=:@%", max_size=20)


@given(
    secure=st.booleans(),
    host=st.lists(LABELS, min_size=1, max_size=4).map(".".join),
    port=st.integers(1, 65535),
    path=TEXTS.map("/".__add__),
    query=TEXTS,
)
def test_parts_come_back(secure, host, port, path, query):
    uri = f"{'wss' if secure else 'ws'}://{host}:{port}{path}?{query}"
    assert parse_uri(uri) == WebSocketURI(secure, host, port, path, query)


@given(st.text(max_size=30) | st.text(max_size=30).map("ws://".__add__) | st.text(max_size=20).map("wss://h/".__add__))
def test_any_text_is_a_uri_that_can_be_sent_or_refused(text):
    try:
        uri = parse_uri(text)
    except InvalidURI:
        return
    assert all("!" <= char <= "~" for char in uri.resource_name)
    assert uri.host
