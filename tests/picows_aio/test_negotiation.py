"""Origins, extensions and subprotocols: what is offered, chosen and refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picows_aio.datastructures import Headers
from picows_aio.exceptions import InvalidHeader, InvalidHeaderFormat, InvalidOrigin, NegotiationError
from picows_aio.extensions.base import ClientExtensionFactory, Extension, ServerExtensionFactory
from picows_aio.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from picows_aio.negotiation import (
    accept_extensions,
    build_offer,
    check_origin,
    choose_offered_extensions,
    choose_offered_subprotocol,
    select_subprotocol,
)

EXTENSIONS = "Sec-WebSocket-Extensions"
SUBPROTOCOLS = "Sec-WebSocket-Protocol"


def fields(name, *values):
    return Headers([(name, value) for value in values])


# Origins


@pytest.mark.parametrize(
    ("origins", "accepted"),
    [
        (None, [None, "https://a", "https://b.a", "", "HTTPS://A"]),
        ([], []),
        (["https://a"], ["https://a"]),
        ([None], [None]),
        (["https://a", None], [None, "https://a"]),
        ([re.compile(r"https://.*\.a")], ["https://b.a"]),
        ([re.compile("https://")], []),
        ([re.compile(".*")], ["https://a", "https://b.a", "", "HTTPS://A"]),
        ([re.compile("https://a"), None], [None, "https://a"]),
        ([""], [""]),
    ],
    ids=str,
)
@pytest.mark.parametrize("origin", [None, "https://a", "https://b.a", "", "HTTPS://A"])
def test_origins(origins, accepted, origin):
    """A pattern must match the whole of it, and stands for no request without it (RFC 6455 section 10.2)."""
    headers = Headers() if origin is None else fields("Origin", origin)
    if origin in accepted:
        check_origin(headers, origins)
    else:
        with pytest.raises(InvalidOrigin) as caught:
            check_origin(headers, origins)
        assert caught.value.value == origin


@pytest.mark.parametrize("origins", [None, ["https://a"], [None], [re.compile(".*")]])
def test_two_origins_are_never_acceptable(origins):
    with pytest.raises(InvalidHeader, match=r"^invalid Origin header: multiple values$") as caught:
        check_origin(fields("Origin", "https://a", "https://a"), origins)
    assert not isinstance(caught.value, InvalidOrigin)


# Extensions


class Custom(Extension):
    name = "x-custom"

    def __init__(self, params):
        self.params = list(params)


class CustomServerFactory(ServerExtensionFactory):
    name = "x-custom"

    def process_request_params(self, params, accepted_extensions):
        if ("bad", None) in params:
            raise NegotiationError("bad")
        return [("seen", str(len(accepted_extensions)))], Custom(params)


class CustomClientFactory(ClientExtensionFactory):
    name = "x-custom"

    def __init__(self, wanted="1"):
        self.wanted = wanted

    def get_request_params(self):
        return [("p", self.wanted), ("q", None)]

    def process_response_params(self, params, accepted_extensions):
        if list(params) != [("p", self.wanted)]:
            raise NegotiationError(f"expected {self.wanted}")
        return Custom([*params, ("seen", len(accepted_extensions))])


@pytest.mark.parametrize(
    ("values", "answer", "kinds"),
    [
        ([], None, []),
        (["unknown; a=1"], None, []),
        (["permessage-deflate"], "permessage-deflate", [PerMessageDeflate]),
        (["PERMESSAGE-DEFLATE"], None, []),
        (["permessage-deflate; foo, permessage-deflate"], "permessage-deflate", [PerMessageDeflate]),
        (
            ["permessage-deflate; server_no_context_takeover, permessage-deflate"],
            "permessage-deflate; server_no_context_takeover",
            [PerMessageDeflate],
        ),
        (["x-custom; bad, x-custom; good"], "x-custom; seen=0", [Custom]),
        (["x-custom, x-custom"], "x-custom; seen=0, x-custom; seen=1", [Custom, Custom]),
        (["x-custom; a, permessage-deflate"], "x-custom; seen=0, permessage-deflate", [Custom, PerMessageDeflate]),
        (["permessage-deflate", "x-custom"], "permessage-deflate, x-custom; seen=1", [PerMessageDeflate, Custom]),
    ],
)
def test_servers_accept_what_they_can_in_the_order_of_the_client(values, answer, kinds):
    factories = [CustomServerFactory(), ServerPerMessageDeflateFactory()]
    extensions, header = accept_extensions(fields(EXTENSIONS, *values), factories)
    assert header == answer
    assert [type(extension) for extension in extensions] == kinds


def test_the_first_factory_that_accepts_an_offer_has_it():
    strict = ServerPerMessageDeflateFactory(client_max_window_bits=10, require_client_max_window_bits=True)
    factories = [strict, ServerPerMessageDeflateFactory(server_max_window_bits=11)]
    for offer, answer in (
        ("permessage-deflate", "permessage-deflate; server_max_window_bits=11"),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=10"),
    ):
        assert accept_extensions(fields(EXTENSIONS, offer), factories)[1] == answer
    extensions, header = accept_extensions(fields(EXTENSIONS, "x-custom"), [CustomServerFactory()] * 2)
    assert (len(extensions), header) == (1, "x-custom; seen=0")


@pytest.mark.parametrize("value", ["", "a;;b", "a b", "a; b=", 'a; b="c d"'])
def test_a_header_against_the_grammar_is_refused(value):
    headers = fields(EXTENSIONS, value)
    with pytest.raises(InvalidHeaderFormat):
        accept_extensions(headers, [CustomServerFactory()])
    with pytest.raises(InvalidHeaderFormat):
        choose_offered_extensions(headers, [CustomClientFactory()])


def test_a_server_without_extensions_does_not_look():
    """Whatever a client offers, nothing of it is used."""
    assert accept_extensions(fields(EXTENSIONS, ";;"), []) == ([], None)


def test_an_error_in_a_factory_is_no_refusal():
    class Broken(CustomServerFactory):
        def process_request_params(self, params, accepted_extensions):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        accept_extensions(fields(EXTENSIONS, "x-custom"), [Broken(), CustomServerFactory()])


def test_an_answer_cannot_break_out_of_the_header():
    class Injecting(CustomServerFactory):
        def process_request_params(self, params, accepted_extensions):
            return [("a", "b\r\nSet-Cookie: c")], Custom(params)

    with pytest.raises(ValueError, match="not a token"):
        accept_extensions(fields(EXTENSIONS, "x-custom"), [Injecting()])


def test_clients_offer_all_they_know():
    headers = Headers(Host="a")
    build_offer(headers, [CustomClientFactory(), ClientPerMessageDeflateFactory()], ["chat.v2", "chat.v1"])
    assert list(headers.raw_items()) == [
        ("Host", "a"),
        (EXTENSIONS, "x-custom; p=1; q, permessage-deflate; client_max_window_bits"),
        (SUBPROTOCOLS, "chat.v2, chat.v1"),
    ]


def test_an_empty_offer_is_no_header():
    """RFC 6455 section 4.1: these headers have at least one element."""
    headers = Headers()
    build_offer(headers, [], [])
    assert list(headers) == []


@pytest.mark.parametrize(
    ("values", "params"),
    [
        ([], []),
        (["x-custom; p=1"], [[("p", "1"), ("seen", 0)]]),
        (["x-custom; p=2"], [[("p", "2"), ("seen", 0)]]),
        (["x-custom; p=2, x-custom; p=1"], [[("p", "2"), ("seen", 0)], [("p", "1"), ("seen", 1)]]),
        (["x-custom; p=2", "x-custom; p=1"], [[("p", "2"), ("seen", 0)], [("p", "1"), ("seen", 1)]]),
    ],
)
def test_an_answer_belongs_to_the_offer_it_fits(values, params):
    offered = [CustomClientFactory("1"), CustomClientFactory("2"), ClientPerMessageDeflateFactory()]
    chosen = choose_offered_extensions(fields(EXTENSIONS, *values), offered)
    assert [extension.params for extension in chosen] == params


@pytest.mark.parametrize(
    ("value", "message", "cause"),
    [
        ("unknown", "Unsupported extension: name = unknown, params = []", None),
        ("x-custom; p=3", "Unsupported extension: name = x-custom, params = [('p', '3')]", "expected 2"),
        ("x-custom; p=1, unknown", "Unsupported extension: name = unknown, params = []", None),
        (
            "permessage-deflate; foo",
            "Unsupported extension: name = permessage-deflate, params = [('foo', None)]",
            "invalid parameter name: foo",
        ),
        (
            "permessage-deflate, permessage-deflate",
            "Unsupported extension: name = permessage-deflate, params = []",
            "received duplicate permessage-deflate",
        ),
    ],
)
def test_an_answer_that_was_not_asked_for_fails_and_says_why(value, message, cause):
    """RFC 6455 section 4.1, item 5 of what the client checks."""
    offered = [CustomClientFactory("1"), CustomClientFactory("2"), ClientPerMessageDeflateFactory()]
    with pytest.raises(NegotiationError, match=f"^{re.escape(message)}$") as caught:
        choose_offered_extensions(fields(EXTENSIONS, value), offered)
    assert (None if caught.value.__cause__ is None else str(caught.value.__cause__)) == cause


def test_an_answer_to_nothing_fails():
    with pytest.raises(NegotiationError, match=r"^no extensions supported$"):
        choose_offered_extensions(fields(EXTENSIONS, "permessage-deflate"), [])
    with pytest.raises(NegotiationError, match=r"^no subprotocols supported$"):
        choose_offered_subprotocol(fields(SUBPROTOCOLS, "chat"), [])
    assert choose_offered_extensions(Headers(), []) == []


# Subprotocols


@pytest.mark.parametrize(
    ("values", "chosen"),
    [([], None), (["a"], "a"), (["b"], "b"), (["a b"], InvalidHeaderFormat), ([""], InvalidHeader)],
)
def test_clients_take_what_they_offered(values, chosen):
    headers = fields(SUBPROTOCOLS, *values)
    if isinstance(chosen, type):
        with pytest.raises(chosen):
            choose_offered_subprotocol(headers, ["a", "b"])
    else:
        assert choose_offered_subprotocol(headers, ["a", "b"]) == chosen


@pytest.mark.parametrize("value", ["c", "A"])
def test_a_subprotocol_that_was_not_offered_fails(value):
    with pytest.raises(NegotiationError, match=f"^unsupported subprotocol: {value}$"):
        choose_offered_subprotocol(fields(SUBPROTOCOLS, value), ["a", "b"])


@pytest.mark.parametrize("values", [["a, b"], ["a", "a"]])
def test_a_server_chooses_one(values):
    with pytest.raises(InvalidHeader, match=r"^invalid Sec-WebSocket-Protocol header: multiple values: a, (a|b)$"):
        choose_offered_subprotocol(fields(SUBPROTOCOLS, *values), ["a", "b"])


@pytest.mark.parametrize(
    ("subprotocols", "values", "chosen"),
    [
        (None, [], None),
        (None, ["a"], None),
        ([], ["a"], None),
        (["a", "b"], ["b, a"], "a"),
        (["a", "b"], ["b", "a"], "a"),
        (["a", "b"], ["b,, c"], "b"),
        (["b", "a"], ["a, b"], "b"),
    ],
)
def test_the_order_of_the_server_wins(subprotocols, values, chosen):
    assert select_subprotocol(None, fields(SUBPROTOCOLS, *values), subprotocols) == chosen


@given(served=st.lists(st.sampled_from("abcd"), min_size=1), offered=st.lists(st.sampled_from("abcd"), min_size=1))
def test_there_is_one_in_common_or_none_at_all(served, offered):
    headers = fields(SUBPROTOCOLS, ", ".join(offered))
    common = [name for name in served if name in offered]
    if common:
        assert select_subprotocol(None, headers, served) == common[0]
    else:
        with pytest.raises(NegotiationError, match=f"^invalid subprotocol; expected one of {', '.join(served)}$"):
            select_subprotocol(None, headers, served)


def test_a_client_must_offer_one_if_the_server_has_any():
    with pytest.raises(NegotiationError, match=r"^missing subprotocol$"):
        select_subprotocol(None, Headers(), ["a"])


@pytest.mark.parametrize("subprotocols", [None, [], ["a"]])
def test_a_header_of_subprotocols_against_the_grammar_is_refused(subprotocols):
    for value in ("", "a b"):
        with pytest.raises(InvalidHeaderFormat):
            select_subprotocol(None, fields(SUBPROTOCOLS, value), subprotocols)


@pytest.mark.parametrize(("values", "offered"), [([], []), (["a, b", "c"], ["a", "b", "c"])])
@pytest.mark.parametrize("choice", [None, "b"])
def test_the_hook_decides_alone(values, offered, choice):
    """It is asked even when nothing is offered, and None is no refusal."""
    seen = []

    def select(connection, subprotocols):
        seen.append((connection, subprotocols))
        return choice

    connection = object()
    assert select_subprotocol(connection, fields(SUBPROTOCOLS, *values), ["a"], select) == choice
    assert seen == [(connection, offered)]


@pytest.mark.parametrize("error", [NegotiationError("not today"), ZeroDivisionError()])
def test_what_the_hook_raises_comes_through(error):
    def select(connection, subprotocols):
        raise error

    with pytest.raises(type(error)) as caught:
        select_subprotocol(None, Headers(), None, select)
    assert caught.value is error
