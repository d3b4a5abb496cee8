"""Values of handshake headers: reading and writing them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from picows_aio.headers import (
    build_authorization_basic,
    build_extension,
    build_host,
    build_subprotocol,
    build_www_authenticate_basic,
    parse_authorization_basic,
    parse_extension,
    parse_subprotocol,
    validate_subprotocols,
)

TOKENS = st.text("!#$%&'*+-.^_`|~09AZaz", min_size=1, max_size=5)
# What the grammars give a meaning to, and something of each other kind.
HEADER_TEXT = st.text('ab1/,;= \t"\\=é', max_size=12)


@given(header=HEADER_TEXT)
@example("keep-alive, Upgrade")
@example(", a ,,b,")
@example("a/1.0, websocket")
@example('foo; bar="a\\b"; c=1, baz;x')
@example('foo; bar="1 2"')
@example('foo; bar=""')
@example('foo; bar="a')
def test_lists_are_read_as_users_know(compare, header):
    readers = ("parse_connection", "parse_upgrade", "parse_extension", "parse_subprotocol")
    compare(*(f"{reader}({header!r})" for reader in readers))


@pytest.mark.parametrize(
    "header",
    [
        "Basic dTpw",
        "basic dTpw",
        "Basic dTpwOnE=",
        "Basic Og==",
        "Basic w6k6w7w=",
        "Basic /zpw",
        "",
        "é",
        "Basic",
        "Basic ",
        "Basic  dTpw",
        "Basic dTpw ",
        "Basic dTpw, x",
        "Basic dT pw",
        "Basic !!",
        "Basic ===",
        "Basic a",
        "Basic dTp",
        "Basic dQ==",
        "Bearer x",
        'Digest username="x"',
    ],
)
def test_authorization_is_read_as_users_know(compare, header):
    compare(f"parse_authorization_basic({header!r})")


@pytest.mark.parametrize(
    "expression",
    [
        "build_host('h', 80, False)",
        "build_host('h', 443, True)",
        "build_host('h', 80, True)",
        "build_host('h', 443, False)",
        "build_host('::1', 80, False)",
        "build_host('::1', 81, False)",
        "build_host('[::1]', 81, False)",
        "build_host('127.0.0.1', 80, False, always_include_port=True)",
        "build_extension([])",
        "build_extension([('foo', [('a', None), ('b', '1')]), ('bar', [])])",
        "build_extension([('foo', [('a', 1)])])",
        "build_subprotocol([])",
        "build_subprotocol(['a', 'b'])",
        "build_www_authenticate_basic('')",
        "build_www_authenticate_basic('a\\tb é')",
        "build_www_authenticate_basic('a\"b\\\\c')",
        "build_authorization_basic('', '')",
        "build_authorization_basic('é', 'ü:x')",
        "build_authorization_basic('\\udcff', '\\0')",
        "validate_subprotocols(['a', 'b'])",
        "validate_subprotocols(('a',))",
        "validate_subprotocols([])",
        "validate_subprotocols('ab')",
        "validate_subprotocols(['a b'])",
        "validate_subprotocols([''])",
        "validate_subprotocols(['é'])",
    ],
)
def test_headers_are_written_as_users_know(compare, expression):
    compare(expression)


def test_the_zone_of_an_address_stays_here():
    """RFC 6874 section 4."""
    assert build_host("fe80::1%eth0", 81, False) == "[fe80::1]:81"


PARAMETERS = st.tuples(TOKENS, st.none() | TOKENS)


@given(st.lists(st.tuples(TOKENS, st.lists(PARAMETERS, max_size=3)), min_size=1, max_size=3))
def test_extensions_come_back(extensions):
    assert parse_extension(build_extension(extensions)) == extensions


@given(st.lists(TOKENS, min_size=1, max_size=4))
def test_subprotocols_come_back(subprotocols):
    assert parse_subprotocol(build_subprotocol(subprotocols)) == subprotocols


@given(st.binary(max_size=20).filter(lambda user: b":" not in user), st.binary(max_size=20))
def test_credentials_come_back_whatever_their_encoding(username, password):
    credentials = [text.decode("utf-8", "surrogateescape") for text in (username, password)]
    assert list(parse_authorization_basic(build_authorization_basic(*credentials))) == credentials


def test_a_user_with_a_colon_cannot_be_sent():
    """RFC 7617 section 2."""
    with pytest.raises(ValueError, match="colon"):
        build_authorization_basic("a:b", "c")


@pytest.mark.parametrize("realm", ["a\r\nX: y", "\x7f", "\u0100"])
def test_a_realm_that_cannot_be_quoted(realm):
    with pytest.raises(ValueError, match="quoted string"):
        build_www_authenticate_basic(realm)


@pytest.mark.parametrize("parameter", [("a", ""), ("a", "x y"), ("a b", None), ("a", "1\r\n")])
def test_an_extension_has_only_tokens(parameter):
    """RFC 6455 section 9.1."""
    with pytest.raises(ValueError, match="not a token"):
        build_extension([("foo", [parameter])])


@pytest.mark.parametrize("subprotocols", ["ab", b"ab", {"a"}, 1, iter(["a"]), [1], [b"a"]])
def test_subprotocols_are_a_list_of_str(subprotocols):
    with pytest.raises(TypeError, match="subprotocols must be a list"):
        validate_subprotocols(subprotocols)
