"""WebSocket URLs (RFC 6455 section 3)."""

import string
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picows.errors import WSInvalidURL
from picows.url import WSParsedURL, parse_url


def test_all_parts():
    url = "wss://us%40er:p%3Ass@Example.COM:8443/a/b?c=d&e"
    assert parse_url(url) == WSParsedURL(
        url=url,
        scheme="wss",
        is_secure=True,
        netloc="us%40er:p%3Ass@Example.COM:8443",
        host="example.com",
        port=8443,
        path="/a/b",
        query="c=d&e",
        username="us@er",
        password="p:ss",
    )


def test_default_parts():
    parsed = parse_url("ws://host")
    assert (parsed.path, parsed.query, parsed.username, parsed.password) == ("", "", None, None)
    assert (parsed.resource_name, parsed.user_info) == ("/", None)


@pytest.mark.parametrize(
    ("url", "scheme", "is_secure", "port"),
    [
        ("ws://h/", "ws", False, 80),
        ("wss://h/", "wss", True, 443),
        ("WS://h:/", "ws", False, 80),
        ("WsS://h", "wss", True, 443),
        ("ws://h:443", "ws", False, 443),
        ("wss://h:00080", "wss", True, 80),
        ("ws://h:65535", "ws", False, 65535),
    ],
)
def test_scheme_and_port(url, scheme, is_secure, port):
    parsed = parse_url(url)
    assert (parsed.scheme, parsed.is_secure, parsed.port) == (scheme, is_secure, port)


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("EXAMPLE.com", "example.com"),
        ("host.", "host."),
        ("my_service-1.local", "my_service-1.local"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[2001:DB8::A]", "2001:db8::a"),
        ("[::ffff:1.2.3.4]", "::ffff:1.2.3.4"),
        ("[fe80::1%25Eth0]", "fe80::1%Eth0"),
        ("[fe80::1%eth0]", "fe80::1%eth0"),
        ("müller.de", "xn--mller-kva.de"),
        ("日本語。jp", "xn--wgv71a119e.jp"),
        ("xn--fa-hia.de", "xn--fa-hia.de"),
        ("1password.com", "1password.com"),
    ],
)
def test_host(written, host):
    parsed = parse_url(f"ws://{written}:81/")
    assert (parsed.host, parsed.port) == (host, 81)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("ws://h:80/", "h"),
        ("wss://h:443/", "h"),
        ("ws://h:443/", "h:443"),
        ("wss://u:p@h:80/", "h:80"),
        ("ws://[::1]/", "[::1]"),
        ("ws://[::1]:81/", "[::1]:81"),
        ("ws://[fe80::1%25eth0]:81/", "[fe80::1]:81"),
        ("ws://Müller.de/", "xn--mller-kva.de"),
    ],
)
def test_authority_is_what_the_host_header_says(url, authority):
    """RFC 6455 section 4.1, item 4: the port only if it is not the default one."""
    assert parse_url(url).authority == authority


@pytest.mark.parametrize(
    ("url", "resource_name"),
    [
        ("ws://h", "/"),
        ("ws://h/", "/"),
        ("ws://h?x=1", "/?x=1"),
        ("ws://h/?", "/"),
        ("ws://h/a//b;c?d?e=%2f", "/a//b;c?d?e=%2f"),
        ("ws://h/ü?ö=ä", "/%C3%BC?%C3%B6=%C3%A4"),
        ("ws://h/%zz%20|^", "/%zz%20|^"),
        ("ws://h/a@b:c", "/a@b:c"),
    ],
)
def test_resource_name(url, resource_name):
    assert parse_url(url).resource_name == resource_name


@pytest.mark.parametrize(
    ("user_info", "username", "password"),
    [
        ("u:p", "u", "p"),
        ("u", "u", None),
        ("u:", "u", ""),
        (":p", "", "p"),
        ("u:p:q", "u", "p:q"),
        ("u@v:p", "u@v", "p"),
        ("%C3%BC:%25", "ü", "%"),
        ("ü:100%", "ü", "100%"),
    ],
)
def test_user_and_password_are_decoded(user_info, username, password):
    parsed = parse_url(f"ws://{user_info}@h/")
    assert (parsed.username, parsed.password) == (username, password)
    assert parsed.user_info == (None if password is None else (username, password))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "doesn't start with ws:// or wss://"),
        ("host/path", "doesn't start with ws:// or wss://"),
        ("http://h", "scheme is 'http'"),
        ("wsx://h", "scheme is 'wsx'"),
        ("ws:", "no host"),
        ("ws:/h", "no host"),
        ("ws://", "no host"),
        ("ws:///path", "no host"),
        ("ws://u:p@/path", "no host"),
        ("ws://:80/", "no host"),
        ("ws://h/#f", "fragment"),
        ("ws://h#", "fragment"),
        ("ws://h:0", "port '0'"),
        ("ws://h:65536", "port '65536'"),
        ("ws://h:" + "9" * 5000, "port"),
        ("ws://h:-1", "port '-1'"),
        ("ws://h:+1", "port '+1'"),
        ("ws://h:1_0", "port '1_0'"),
        ("ws://h:٣", "port"),
        ("ws://h:80:81", "more than one colon"),
        ("ws://[::1]81", "'81' after the IPv6 address"),
        (" ws://h", "' ' at position 0"),
        ("ws://h/a b", "' ' at position 8"),
        ("ws://h/\r\nX: y", r"'\r' at position 7"),
        ("ws://h/\t", r"'\t'"),
        ("ws://h/\x00", r"'\x00'"),
        ("ws://h\x7f/", r"'\x7f'"),
        ("ws://[::1", "doesn't close it"),
        ("ws://::1", "an IPv6 address is written in brackets"),
        ("ws://::1]", "more than one colon"),
        ("ws://[]/", "not an IPv6 address"),
        ("ws://[1.2.3.4]/", "not an IPv6 address"),
        ("ws://[v1.fe]/", "not an IPv6 address"),
        ("ws://[::1%]/", "not a zone"),
        ("ws://[::1%25a%20b]/", "not a zone"),
        ("ws://256.1.1.1/", "not an IPv4 address"),
        ("ws://127.1/", "not an IPv4 address"),
        ("ws://0177.0.0.1/", "not an IPv4 address"),
        ("ws://2130706433/", "not an IPv4 address"),
        ("ws://0x7f000001/", "not an IPv4 address"),
        ("ws://a..b/", "not a host name"),
        ("ws://./", "not a host name"),
        ("ws://-a/", "not a host name"),
        ("ws://a\\b/", "not a host name"),
        ("ws://a;b/", "not a host name"),
        ("ws://a%2eb/", "not a host name"),
        ("ws://" + "a" * 64 + "/", "not a host name"),
        ("ws://" + "a." * 127 + "a/", "not a host name"),
        ("ws://faß.de/", "xn--"),
        ("ws://a\u200db.de/", "xn--"),
        ("ws://" + "ü" * 64 + "/", "internationalized"),
        ("ws://a\u00a0b/", "not a host name"),
        ("ws://a\u2100b/", "not a host name"),
        ("ws://h/\ud800", "surrogate"),
        ("ws://u%3Av:p@h/", "user holds a colon"),
        ("ws://u%0d%0a:p@h/", "control character"),
        ("ws://u:%00@h/", "control character"),
        ("ws://u:%ff@h/", "UTF-8"),
    ],
)
def test_refused(url, reason):
    with pytest.raises(WSInvalidURL) as info:
        parse_url(url)
    assert reason in info.value.msg
    assert info.value.url == url


def test_url_must_be_a_string():
    with pytest.raises(TypeError, match="must be a str, not bytes"):
        parse_url(b"ws://h/")


def test_result_is_frozen_and_hashable():
    parsed = parse_url("ws://h/")
    with pytest.raises(FrozenInstanceError):
        parsed.host = "other"
    assert {parsed: 1}[parse_url("ws://h/")] == 1


def test_repr_keeps_the_password_out_of_logs():
    assert "secret" not in repr(parse_url("ws://user:secret@h/"))


LABELS = st.from_regex(r"\A[a-z](?:[a-z0-9-]{0,10}[a-z0-9])?\Z")
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join) | st.ip_addresses().map(
    lambda address: f"[{address}]" if address.version == 6 else str(address)
)
PATH_TEXT = st.text(alphabet=string.ascii_letters + string.digits + "/-._~!$&'()*+,;=:@%", max_size=20)


@given(
    scheme=st.sampled_from(["ws", "wss"]),
    host=HOSTS,
    port=st.integers(1, 65535),
    path=PATH_TEXT,
    query=PATH_TEXT,
)
def test_parts_come_back(scheme, host, port, path, query):
    parsed = parse_url(f"{scheme}://{host}:{port}/{path}?{query}")
    assert (parsed.scheme, parsed.host, parsed.port) == (scheme, host.strip("[]"), port)
    assert (parsed.path, parsed.query) == (f"/{path}", query)


@given(st.text() | st.text(max_size=30).map("ws://".__add__) | st.text(max_size=30).map("wss://h/".__add__))
def test_any_text_gives_a_sendable_url_or_a_clear_error(text):
    """What is parsed can go into a request line and a Host header as it is."""
    try:
        parsed = parse_url(text)
    except WSInvalidURL:
        return
    assert all("!" <= char <= "~" for char in parsed.resource_name + parsed.authority)
    assert parsed.resource_name.startswith("/")
    again = parse_url(f"{parsed.scheme}://{parsed.authority}{parsed.resource_name}")
    assert again.host == parsed.host.partition("%")[0]
