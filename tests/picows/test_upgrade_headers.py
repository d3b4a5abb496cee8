"""Grammar of the headers RFC 6455 defines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from picows.upgrade_headers import compute_accept, split_extensions, split_subprotocols

SYMBOLS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8)


def test_accept_of_the_rfc():
    """RFC 6455 section 1.3."""
    assert compute_accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([], []),
        ([""], []),
        (["permessage-deflate"], ["permessage-deflate"]),
        (["permessage-deflate; client_max_window_bits; server_max_window_bits=10"], ["permessage-deflate"]),
        (['a;b="c", d', "a ; b = c"], ["a", "d", "a"]),
        (['a;b="\\c\\d"'], ["a"]),
    ],
)
def test_extensions(lines, names):
    headers = CIMultiDict([("Sec-WebSocket-Extensions", line) for line in lines])
    assert split_extensions(headers) == names


@pytest.mark.parametrize(
    "value", ["a b", "a;", "a;;b", ";a", "a;b=", "a=b", 'a;b="', 'a;b=""', 'a;b="c d"', "a;b=c=d", "ä"]
)
def test_extensions_that_break_the_grammar(value):
    with pytest.raises(ValueError, match="Sec-WebSocket-Extensions holds"):
        split_extensions(CIMultiDict({"Sec-WebSocket-Extensions": value}))


def test_subprotocols_keep_their_case():
    headers = CIMultiDict([("Sec-WebSocket-Protocol", "Chat, chat"), ("Sec-WebSocket-Protocol", "v12.stomp")])
    assert split_subprotocols(headers) == ["Chat", "chat", "v12.stomp"]


@pytest.mark.parametrize("value", ["a b", "a/b", "a=", '"a"', "ä"])
def test_subprotocols_that_are_not_tokens(value):
    with pytest.raises(ValueError, match="Sec-WebSocket-Protocol holds"):
        split_subprotocols(CIMultiDict({"Sec-WebSocket-Protocol": value}))


@given(st.lists(st.tuples(SYMBOLS, st.lists(st.tuples(SYMBOLS, SYMBOLS | st.none()), max_size=3)), max_size=4))
def test_names_come_back(offers):
    value = ", ".join(
        "; ".join([name, *(key if text is None else f"{key}={text}" for key, text in parameters)])
        for name, parameters in offers
    )
    assert split_extensions(CIMultiDict({"Sec-WebSocket-Extensions": value})) == [name for name, _ in offers]


@pytest.mark.parametrize(
    "value", ["a" + " " * 500_000 + "x", "a;" + "b" * 500_000 + "@", 'a;b="' + "c" * 500_000, "a;b " * 100_000]
)
def test_time_is_linear(value):
    """Quadratic time would make these take minutes."""
    with pytest.raises(ValueError, match="holds"):
        split_extensions(CIMultiDict({"Sec-WebSocket-Extensions": value}))
