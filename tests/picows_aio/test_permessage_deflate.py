"""What permessage-deflate offers, accepts and declines, and the extension as custom code uses it."""

import dataclasses
import itertools
import random
import re
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from picows_aio.exceptions import NegotiationError, PayloadTooBig, ProtocolError
from picows_aio.extensions.base import ClientExtensionFactory, Extension, ServerExtensionFactory
from picows_aio.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
    enable_client_permessage_deflate,
    enable_server_permessage_deflate,
)
from picows_aio.frames import BINARY, CLOSE, CONT, PING, TEXT, Frame

# Negotiation

NAMES = ["server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits", "client_max_window_bits"]
VALUES = [None, "", "7", "9", "10", "12", "15", "16", "010", " 10", "10.", "ten", "1", "\u0661\u0662"]
any_params = st.lists(
    st.tuples(st.sampled_from(NAMES), st.none() | st.sampled_from(VALUES)) | st.just(("unknown", None)), max_size=5
)
possible_params = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(NAMES[:2], st.none())
    | {"server_max_window_bits": st.integers(9, 15).map(str), "client_max_window_bits": st.integers(9, 15).map(str)},
).map(lambda found: list(found.items()))
offered_alone = st.just([("client_max_window_bits", None)])
params = possible_params | any_params | offered_alone
takeovers = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES[:2], st.booleans()))
bits = st.none() | st.integers(9, 15)


def negotiated(expression):
    return f"[(pair[0], repr(pair[1])) for pair in [{expression}]]"


@given(
    takeovers=takeovers,
    server_bits=bits,
    client_bits=st.none() | st.integers(8, 15),
    required=st.booleans(),
    params=params,
    grants_8_bits=st.booleans(),
)
@example({}, None, None, False, [], False)
@example({}, 12, 12, True, [("client_max_window_bits", None)], True)
@settings(max_examples=300)
def test_servers_answer_offers_as_users_know(
    compare, takeovers, server_bits, client_bits, required, params, grants_8_bits
):
    options = {**takeovers, "server_max_window_bits": server_bits, "client_max_window_bits": client_bits}
    options["require_client_max_window_bits"] = required and client_bits is not None
    if grants_8_bits:
        params = [*params, ("client_max_window_bits", "8")]
    compare(negotiated(f"ServerPerMessageDeflateFactory(**{options}).process_request_params({params}, [])"))


@given(takeovers=takeovers, server_bits=st.none() | st.integers(8, 15), client_bits=bits | st.just(True), params=params)
@example({}, None, True, [("server_max_window_bits", "8")])
@settings(max_examples=300)
def test_clients_take_answers_as_users_know(compare, takeovers, server_bits, client_bits, params):
    options = {**takeovers, "server_max_window_bits": server_bits, "client_max_window_bits": client_bits}
    factory = f"ClientPerMessageDeflateFactory(**{options})"
    compare(f"{factory}.get_request_params()", f"repr({factory}.process_response_params({params}, []))")


def test_a_window_of_8_bits_is_granted_to_a_client():
    """RFC 7692 section 7.1.2.1 lets a server decline it; granting it costs nothing but compression."""
    params, extension = ServerPerMessageDeflateFactory().process_request_params([("server_max_window_bits", "8")], [])
    assert params == [("server_max_window_bits", "8")]
    assert extension.local_max_window_bits == 8
    assert extension.decode(extension.encode(Frame(TEXT, b"text" * 100))).data == b"text" * 100


@pytest.mark.parametrize("offered", [True, 12])
def test_a_client_that_lets_the_server_ask_complies_with_8_bits(offered):
    """RFC 7692 section 7.1.2.2: the client must use no larger window than the response has."""
    factory = ClientPerMessageDeflateFactory(client_max_window_bits=offered)
    extension = factory.process_response_params([("client_max_window_bits", "8")], [])
    assert extension.local_max_window_bits == 8


def test_only_the_first_of_two_offers_is_accepted():
    factory = ServerPerMessageDeflateFactory()
    _, extension = factory.process_request_params([], [])
    with pytest.raises(NegotiationError, match=r"^skipped duplicate permessage-deflate$"):
        factory.process_request_params([], [extension])
    with pytest.raises(NegotiationError, match=r"^received duplicate permessage-deflate$"):
        ClientPerMessageDeflateFactory().process_response_params([], [extension])


options = st.fixed_dictionaries(
    {}, optional={**dict.fromkeys(NAMES[:2], st.booleans()), **dict.fromkeys(NAMES[2:], st.integers(9, 15))}
)


@given(
    client_options=options, server_options=options, messages=st.lists(st.binary(max_size=400), min_size=1, max_size=4)
)
@settings(max_examples=200)
def test_both_sides_agree(client_options, server_options, messages):
    client_factory = ClientPerMessageDeflateFactory(**client_options)
    server_factory = ServerPerMessageDeflateFactory(**server_options)
    params, server = server_factory.process_request_params(client_factory.get_request_params(), [])
    client = client_factory.process_response_params(params, [])
    assert client.local_no_context_takeover == server.remote_no_context_takeover
    assert client.remote_no_context_takeover == server.local_no_context_takeover
    assert client.local_max_window_bits <= server.remote_max_window_bits
    assert client.remote_max_window_bits == server.local_max_window_bits
    for (sender, receiver), message in itertools.product([(client, server), (server, client)], messages):
        for data in (message, message * 20):
            assert receiver.decode(sender.encode(Frame(BINARY, data)), max_size=8000) == Frame(BINARY, data)


# What programs ask for

BOTH = pytest.mark.parametrize("factory", [ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory])


@pytest.mark.parametrize(
    ("factory", "name", "least"),
    [
        (ClientPerMessageDeflateFactory, "server_max_window_bits", 8),
        (ClientPerMessageDeflateFactory, "client_max_window_bits", 9),
        (ServerPerMessageDeflateFactory, "server_max_window_bits", 9),
        (ServerPerMessageDeflateFactory, "client_max_window_bits", 8),
    ],
)
def test_a_window_that_cannot_be_is_refused(factory, name, least):
    for value in (least - 1, 16, 0, -12, False):
        with pytest.raises(ValueError, match=f"^{name} must be between {least} and 15"):
            factory(**{name: value})
    for value in ("12", 12.5):
        with pytest.raises(TypeError, match=f"^{name} must be a number of bits"):
            factory(**{name: value})
    assert factory(**{name: least})


@BOTH
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"compress_settings": {"wbits": 12}}, ValueError, "compress_settings must not include wbits"),
        ({"compress_settings": {"zdict": b"x"}}, ValueError, "compress_settings must not include zdict"),
        ({"compress_settings": {"level": 10}}, ValueError, "Invalid"),
        ({"compress_settings": {"colour": 10}}, TypeError, "colour"),
        ({"engine": "brotli"}, ValueError, "engine must be one of auto, zlib, isal, zlib-ng, not 'brotli'"),
        ({"engine": "isal", "compress_settings": {"level": 6}}, ValueError, "level"),
        ({"threshold": -1}, ValueError, "threshold"),
    ],
)
def test_what_cannot_compress_is_refused_before_anybody_connects(factory, options, error, message):
    with pytest.raises(error, match=message):
        factory(**options)


@BOTH
def test_an_engine_that_is_not_installed_is_named(monkeypatch, factory):
    monkeypatch.setitem(sys.modules, "zlib_ng", None)
    monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", None)
    with pytest.raises(ImportError, match=r"pip install zlib-ng$"):
        factory(engine="zlib-ng")


def test_what_cannot_be_required_is_refused():
    with pytest.raises(ValueError, match=r"^require_client_max_window_bits needs client_max_window_bits$"):
        ServerPerMessageDeflateFactory(require_client_max_window_bits=True)


def test_the_defaults_of_connect_and_serve(compare):
    """12 bits and memory level 5, which make 49 KiB of a connection that uses both directions."""
    (client,), (server,) = enable_client_permessage_deflate(None), enable_server_permessage_deflate(())
    assert client.get_request_params() == [("client_max_window_bits", None)]
    params, extension = server.process_request_params(client.get_request_params(), [])
    assert params == [("server_max_window_bits", "12"), ("client_max_window_bits", "12")]
    assert extension.compress_settings == client.compress_settings == {"memLevel": 5}
    compare(
        "enable_client_permessage_deflate(None)[0].get_request_params()",
        negotiated("enable_server_permessage_deflate(None)[0].process_request_params([], [])"),
    )


class Custom(ClientExtensionFactory, ServerExtensionFactory):
    name = "x-custom"


@pytest.mark.parametrize(
    ("enable", "factory"),
    [
        (enable_client_permessage_deflate, ClientPerMessageDeflateFactory),
        (enable_server_permessage_deflate, ServerPerMessageDeflateFactory),
    ],
)
def test_what_the_program_configured_stays(enable, factory):
    """Also what has the name and is not ours."""

    class Other(Custom):
        name = "permessage-deflate"

    custom = Custom()
    for own in (factory(server_max_window_bits=10), Other()):
        assert enable([own, custom]) == [own, custom]
    given = [custom]
    assert [type(extension) for extension in enable(given)] == [Custom, factory]
    assert given == [custom]


# Frames


def make_pair(takeover=True, **options):
    return [PerMessageDeflate(not takeover, not takeover, 12, 12, **options) for _ in range(2)]


def test_the_extension_tells_what_it_is(compare):
    compare("repr(PerMessageDeflate(True, False, 12, 15))", "PerMessageDeflate(True, False, 12, 15).name")


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("engine", ["auto", "isal", "zlib", "zlib-ng"])
def test_what_is_encoded_is_what_users_of_the_other_can_decode(compare, takeover, engine):
    extension = PerMessageDeflate(not takeover, not takeover, 12, 12, engine=engine)
    frames = []
    for seed, size in enumerate([200, 5000, 0, 300, 200]):
        data = random.Random(seed % 2).randbytes(size)
        for frame in (Frame(TEXT, data, fin=False), Frame(CONT, data, fin=False), Frame(CONT, b"")):
            frames.append(extension.encode(frame))
    calls = ", ".join(
        f"receiver.decode(Frame(Opcode({frame.opcode:d}), {frame.data!r}, fin={frame.fin}, rsv1={frame.rsv1})).data"
        for frame in frames
    )
    compare(f"[({calls}) for receiver in [PerMessageDeflate({not takeover}, {not takeover}, 12, 12)]]")


def test_control_frames_pass_between_fragments():
    """RFC 7692 section 5.1: only data frames are compressed, and what is between them changes nothing."""
    sender, receiver = make_pair()
    frames = [Frame(TEXT, b"a" * 300, fin=False), Frame(PING, b"p" * 100), Frame(CONT, b"b" * 300), Frame(CLOSE, b"")]
    encoded = [sender.encode(frame) for frame in frames]
    assert encoded[1] == frames[1]
    assert encoded[3] == frames[3]
    assert [frame.rsv1 for frame in encoded] == [True, False, False, False]
    assert [receiver.decode(frame) for frame in encoded] == frames


def test_small_messages_stay_as_they_are():
    sender, receiver = make_pair(threshold=10)
    for data, compresses in ((b"x" * 9, False), (b"x" * 10, True), (b"x" * 9, False)):
        encoded = sender.encode(Frame(TEXT, data))
        assert encoded.rsv1 == compresses
        assert (encoded.data == data) != compresses
        assert receiver.decode(encoded) == Frame(TEXT, data)


def test_fragments_are_compressed_whatever_their_size():
    """Nobody knows how long the message gets."""
    sender, receiver = make_pair()
    frames = [Frame(TEXT, b"x", fin=False), Frame(CONT, b"", fin=False), Frame(CONT, b"y", fin=False), Frame(CONT, b"")]
    encoded = [sender.encode(frame) for frame in frames]
    assert [frame.rsv1 for frame in encoded] == [True, False, False, False]
    assert [receiver.decode(frame) for frame in encoded] == frames


def test_frames_are_not_changed_in_place():
    sender, receiver = make_pair()
    frame = Frame(BINARY, b"x" * 500)
    kept = dataclasses.replace(frame)
    encoded = sender.encode(frame)
    assert frame == kept
    kept = dataclasses.replace(encoded)
    receiver.decode(encoded)
    assert encoded == kept


@pytest.mark.parametrize("compressed", [True, False])
def test_a_continuation_with_the_first_reserved_bit_is_a_protocol_error(compressed):
    """RFC 7692 section 6.1: it belongs on the first frame of a message alone."""
    _, receiver = make_pair()
    receiver.decode(Frame(TEXT, b"", fin=False, rsv1=compressed))
    with pytest.raises(ProtocolError, match="reserved bit 1"):
        receiver.decode(Frame(CONT, b"\x00", rsv1=True))


def test_garbage_is_a_protocol_error(compare):
    compare("PerMessageDeflate(False, False, 12, 12).decode(Frame(Opcode.TEXT, b'\\xff\\xff', rsv1=True))")
    with pytest.raises(ProtocolError, match=r"^decompression failed$") as caught:
        PerMessageDeflate(False, False, 12, 12).decode(Frame(TEXT, b"\xff\xff", rsv1=True))
    assert type(caught.value.__cause__).__name__ == "error"


@pytest.mark.parametrize("limit", [0, 1, 499])
def test_more_than_the_limit_is_too_big(limit):
    sender, receiver = make_pair()
    encoded = sender.encode(Frame(BINARY, b"x" * 500))
    with pytest.raises(PayloadTooBig, match=f"^frame exceeds limit of {limit} bytes$") as caught:
        receiver.decode(encoded, max_size=limit)
    assert (caught.value.size, caught.value.max_size) == (None, limit)


@pytest.mark.parametrize("limit", [500, 501, None])
def test_the_limit_itself_is_not(limit):
    sender, receiver = make_pair()
    assert len(receiver.decode(sender.encode(Frame(BINARY, b"x" * 500)), max_size=limit).data) == 500


@pytest.mark.parametrize(
    ("base", "call"),
    [
        (Extension, lambda extension: extension.encode(Frame(TEXT, b""))),
        (Extension, lambda extension: extension.decode(Frame(TEXT, b""))),
        (ClientExtensionFactory, lambda factory: factory.get_request_params()),
        (ClientExtensionFactory, lambda factory: factory.process_response_params([], [])),
        (ServerExtensionFactory, lambda factory: factory.process_request_params([], [])),
    ],
)
def test_what_a_subclass_forgets_says_so(base, call):
    unfinished = type("Unfinished", (base,), {"name": "x-unfinished"})()
    with pytest.raises(NotImplementedError, match=re.compile("^Unfinished ")):
        call(unfinished)
