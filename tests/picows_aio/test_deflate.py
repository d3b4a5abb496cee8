"""The codec: what it sends is what RFC 7692 wants, and nothing that it receives costs more than it may."""

import itertools
import random
import subprocess
import sys
import textwrap
import tracemalloc
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from picows import WSCloseCode, WSProtocolError
from picows_aio.deflate import DeflateCodec, DeflateParameters
from picows_aio.deflate_engines import check_settings, choose_encoders, load_engine
from tests.picows_aio.inflate import inflate

CLIENT = "auto of a client"
ENGINES = ["auto", "isal", "zlib", "zlib-ng"]
SENDING_ENGINES = [*ENGINES, CLIENT]
TAIL = b"\x00\x00\xff\xff"
HELLO = bytes.fromhex("f248cdc9c90700")
FINAL_HELLO = bytes.fromhex("f348cdc9c9070000")  # RFC 7692 section 7.2.3.4


def make_codec(
    engine="auto",
    *,
    local_takeover=True,
    remote_takeover=True,
    local_bits=12,
    remote_bits=12,
    threshold=None,
    **settings,
):
    is_client = engine == CLIENT
    engine = "auto" if is_client else engine
    return DeflateCodec(
        DeflateParameters(
            local_takeover, remote_takeover, local_bits, remote_bits, settings, threshold, engine, is_client
        )
    )


def send(codec, fragments):
    """The payloads of a message in these fragments."""
    return [codec.compress(fragment, i == len(fragments) - 1) for i, fragment in enumerate(fragments)]


def receive(codec, payloads, max_size=None):
    return b"".join(codec.decompress(p, i == len(payloads) - 1, max_size) for i, p in enumerate(payloads))


def cut(data, positions):
    """Cut data at the positions; pieces may be empty."""
    ends = [0, *sorted(min(position, len(data)) for position in positions), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(ends)]


def compressed(data, *, wbits=-15, flush=zlib.Z_SYNC_FLUSH, **settings):
    """A message as another implementation sends it."""
    compressor = zlib.compressobj(wbits=wbits, **settings)
    output = compressor.compress(data) + compressor.flush(flush)
    return output.removesuffix(TAIL) if flush == zlib.Z_SYNC_FLUSH else output


# Texts that repeat themselves and each other, sizes on both sides of what is large, and noise.
WORDS = [b'{"symbol":"BTCUSDT"', b',"price":"60123.45"', b',"time":1700000000000}', b"\x00", b"\xff" * 30]
pieces = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=30).map(b"".join),
    st.integers(0, 2**32).map(lambda seed: random.Random(seed).randbytes(seed % 700)),
    st.tuples(st.sampled_from(WORDS), st.integers(0, 400)).map(lambda piece: piece[0] * piece[1]),
)
messages = st.lists(st.lists(pieces, min_size=1, max_size=4), min_size=1, max_size=6)


# Sending


@pytest.mark.parametrize("engine", SENDING_ENGINES)
@given(messages=messages, takeover=st.booleans(), bits=st.integers(8, 15))
@settings(max_examples=60)
def test_messages_arrive_by_way_of_zlib(engine, messages, takeover, bits):
    """RFC 7692 section 7.2.2: append 00 00 ff ff and decompress, in one stream where takeover was agreed on."""
    codec = make_codec(engine, local_takeover=takeover, local_bits=bits)
    receiver = zlib.decompressobj(-15)
    for fragments in messages:
        if not takeover:
            receiver = zlib.decompressobj(-15)
        payload = b"".join(send(codec, fragments))
        assert receiver.decompress(payload + TAIL) == b"".join(fragments)
        assert not receiver.unused_data
        assert not receiver.eof


@pytest.mark.parametrize("engine", SENDING_ENGINES)
@given(messages=messages, takeover=st.booleans(), bits=st.integers(8, 15))
@settings(max_examples=30)
def test_no_reference_leaves_the_window(engine, messages, takeover, bits):
    """RFC 7692 section 7.1.2: the window is no larger than agreed; section 7.1.1: nor does it span messages."""
    codec = make_codec(engine, local_takeover=takeover, local_bits=bits)
    history = b""
    for fragments in messages:
        output, farthest = inflate(b"".join(send(codec, fragments)) + TAIL, history if takeover else b"")
        assert output == b"".join(fragments)
        assert farthest <= 2**bits
        history = (history + output)[-32768:]


@pytest.mark.parametrize("engine", SENDING_ENGINES)
def test_a_window_of_8_bits_is_kept_by_never_referring(engine):
    """No engine has that window, whatever it makes of the setting."""
    message = b"again and " * 100
    payload = make_codec(engine, local_bits=8).compress(message, True)
    assert inflate(payload + TAIL) == (message, 0)
    assert len(payload) < len(message) / 2


@pytest.mark.parametrize("engine", SENDING_ENGINES)
def test_takeover_makes_a_repeated_message_smaller(engine):
    message = random.Random(1).randbytes(300)
    codec = make_codec(engine)
    assert len(codec.compress(message, True)) > 300
    assert len(codec.compress(message, True)) < 30


@pytest.mark.parametrize("engine", SENDING_ENGINES)
def test_a_small_message_may_refer_to_the_large_one_before_it(engine):
    """Where the large one is compressed by itself, the connection's own compressor goes on from it all the same."""
    large = random.Random(1).randbytes(5000)
    codec, receiver = make_codec(engine), make_codec(engine)
    for message in (b"before", large, large[-1000:], large[-900:] + b"after"):
        payload = codec.compress(message, True)
        assert receiver.decompress(payload, True, len(message)) == message
        assert (len(payload) < 40) == (message is not large)


@pytest.mark.parametrize("engine", SENDING_ENGINES)
@pytest.mark.parametrize("sizes", list(itertools.permutations([200, 511, 512, 4095])), ids=str)
def test_a_message_may_refer_to_those_before_it_whatever_compresses_them(engine, sizes):
    """Small ones and larger ones are compressed in different ways, and each way knows what the others sent."""
    source = random.Random(1)
    codec, receiver = make_codec(engine), make_codec()
    latest = source.randbytes(75).hex().encode()
    for number, size in enumerate(sizes * 2):
        message = latest[-150:] + source.randbytes(size).hex().encode()[: size - 150]
        payload = codec.compress(message, True)
        assert receiver.decompress(payload, True, size) == message
        alone = make_codec(engine).compress(message, True)
        assert number == 0 or len(payload) < len(alone) - 30, "what the message before ended with was sent again"
        latest = message


SIZES = st.sampled_from([0, 1, 130, 511, 512, 1000, 4095, 4096, 5000])


@pytest.mark.parametrize("engine", SENDING_ENGINES)
@given(
    sends=st.lists(st.tuples(st.sets(st.integers(0, 3), min_size=1), SIZES, st.integers(0, 3)), max_size=20),
    takeover=st.booleans(),
)
@settings(max_examples=60)
def test_what_is_shared_is_what_each_of_them_can_read(engine, sends, takeover):
    """Messages to many, and to one alone, of sizes on both sides of what each way of compressing is for."""
    codecs = [make_codec(engine, local_takeover=takeover) for _ in range(4)]
    receivers = [zlib.decompressobj(-12) for _ in range(4)]
    for connections, size, seed in sends:
        message = random.Random(seed).randbytes(size)
        shared = {}
        for number in connections:
            codec = codecs[number]
            payload = codec.compress(message, True) if len(connections) == 1 else codec.compress_shared(message, shared)
            receiver = receivers[number] if takeover else zlib.decompressobj(-12)
            assert receiver.decompress(payload + TAIL) == message


@pytest.mark.parametrize("engine", SENDING_ENGINES)
def test_no_connection_refers_to_what_another_sent(engine):
    """Compressors that are shared have to forget, or one client could read what was sent to another."""
    message = random.Random(1).randbytes(8000)
    for codec in [make_codec(engine, local_takeover=False) for _ in range(3)]:
        for size in (8000, 300):
            output, _ = inflate(codec.compress(message[:size], True) + TAIL)
            assert output == message[:size]


@pytest.mark.parametrize("engine", SENDING_ENGINES)
@pytest.mark.parametrize("takeover", [True, False])
def test_empty_messages_and_fragments(engine, takeover):
    """RFC 7692 section 7.2.3.6: an empty message is one octet; an empty last fragment must be one too."""
    codec = make_codec(engine, local_takeover=takeover)
    receiver = make_codec(engine, remote_takeover=takeover)
    for fragments in ([b""], [b""], [b"", b""], [b"a", b""], [b"", b"a", b"", b""], [b"a"]):
        payloads = send(codec, fragments)
        assert receive(receiver, payloads, 1) == b"".join(fragments)
        if fragments[-1] == b"":
            assert payloads[-1] == b"\x00"


@pytest.mark.parametrize("engine", SENDING_ENGINES)
@pytest.mark.parametrize("size", [10, 5000])
def test_a_fragment_is_all_in_its_frame(engine, size):
    """A receiver that streams gets each fragment when it was sent, not with the next one."""
    fragments = [random.Random(i).randbytes(size) for i in range(3)]
    codec, receiver = make_codec(engine), make_codec(engine)
    for fragment in fragments:
        assert receiver.decompress(codec.compress(fragment, False), False, None) == fragment


class FailingCompressor:
    """Takes what it is given, and has no memory left to bring it out."""

    def __init__(self, compressor):
        self._compressor = compressor
        self.fails = False

    def compress(self, data):
        return self._compressor.compress(data)

    def flush(self, mode):
        if self.fails:
            raise MemoryError
        return self._compressor.flush(mode)


@pytest.mark.parametrize("takeover", [True, False])
def test_a_message_that_could_not_be_compressed_is_not_referred_to(monkeypatch, takeover):
    """The peer never gets it, so a reference to it would point to something else there."""
    made = []
    new_compressor = zlib.compressobj
    monkeypatch.setattr(
        zlib, "compressobj", lambda **settings: made.append(FailingCompressor(new_compressor(**settings))) or made[-1]
    )
    choose_encoders.cache_clear()
    message, lost = random.Random(1).randbytes(200), random.Random(2).randbytes(200)
    codec = make_codec("zlib", local_takeover=takeover)
    receiver = make_codec(remote_takeover=takeover)
    assert receiver.decompress(codec.compress(message, True), True, 200) == message
    made[0].fails = True
    with pytest.raises(MemoryError):
        codec.compress(lost, True)
    for again in (lost, message):
        assert receiver.decompress(codec.compress(again, True), True, 200) == again
    assert len(made) == 2
    choose_encoders.cache_clear()


class CountingCompressor:
    """Counts in `total` what all of them are given."""

    total = 0

    def __init__(self, compressor):
        self._compressor = compressor
        self.flush = compressor.flush

    def compress(self, data):
        CountingCompressor.total += 1
        return self._compressor.compress(data)


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("size", [200, 1000, 5000])
def test_a_server_compresses_a_message_to_many_once(monkeypatch, takeover, size):
    """And what it keeps of it for them is one history, not a hundred."""
    for engine in ("zlib", "isal"):
        module = load_engine(engine)
        monkeypatch.setattr(
            module, "compressobj", lambda new=module.compressobj, **settings: CountingCompressor(new(**settings))
        )
    choose_encoders.cache_clear()
    codecs = [make_codec(local_takeover=takeover) for _ in range(100)]
    messages = [random.Random(number).randbytes(size) for number in range(10)]
    make_codec(local_takeover=takeover).compress(bytes(size), True)  # compressors that all share exist now
    CountingCompressor.total = 0
    tracemalloc.start()
    try:
        for message in messages:
            shared = {}
            for codec in codecs:
                codec.compress_shared(message, shared)
        del shared
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        choose_encoders.cache_clear()
    assert CountingCompressor.total == len(messages)
    assert kept < 20 * 1024  # a hundred histories would be 400 KiB


def test_what_could_not_be_remembered_is_not_referred_to(monkeypatch):
    """The compressor took the message, but then nothing was sent."""
    codec, receiver = make_codec(), make_codec()
    message, lost = random.Random(1).randbytes(200), random.Random(2).randbytes(200)
    assert receiver.decompress(codec.compress(message, True), True, 200) == message
    monkeypatch.setattr("picows_aio.deflate.history_after", raising(MemoryError))
    with pytest.raises(MemoryError):
        codec.compress(lost, True)
    monkeypatch.undo()
    for again in (lost, message):
        assert receiver.decompress(codec.compress(again, True), True, 200) == again


def raising(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize("size", [0, 3, 300, 10_000])
@pytest.mark.parametrize(
    "view",
    [bytearray, memoryview, lambda data: memoryview(data + data)[::2], lambda data: memoryview(data * 2).cast("H")],
    ids=["bytearray", "memoryview", "strided", "of shorts"],
)
def test_any_kind_of_bytes_can_be_sent(size, view):
    data = view(random.Random(1).randbytes(size))
    codec, receiver = make_codec(threshold=size * 2), make_codec()
    assert codec.is_worthwhile(data) == (memoryview(data).nbytes >= size * 2)
    assert receiver.decompress(codec.compress(data, True), True, None) == bytes(data)


@pytest.mark.parametrize(("takeover", "threshold", "expected"), [(True, None, 128), (False, None, 256), (True, 7, 7)])
def test_the_threshold_is_in_bytes(takeover, threshold, expected):
    codec = make_codec(local_takeover=takeover, threshold=threshold)
    assert not codec.is_worthwhile(bytes(expected - 1))
    assert codec.is_worthwhile(bytes(expected))


# Receiving


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "payloads",
    [
        [HELLO],
        [HELLO[:3], HELLO[3:]],
        [bytes.fromhex("000500faff48656c6c6f00")],
        [FINAL_HELLO],
        [bytes.fromhex("f248050000 00ffff cac9c90700")],
    ],
    ids=["one block", "two fragments", "no compression", "BFINAL", "two blocks"],
)
def test_the_examples_of_the_rfc(engine, payloads):
    """RFC 7692 section 7.2.3; each must leave the next message readable."""
    codec = make_codec(engine, remote_bits=15)
    for _ in range(3):
        assert receive(codec, payloads, 5) == b"Hello"
    assert codec.decompress(bytes.fromhex("f200110000"), True, 5) == b"Hello", "refers to the message before"


@pytest.mark.parametrize("engine", ENGINES)
@given(
    data=pieces,
    level=st.integers(0, 9),
    strategy=st.integers(0, 4),
    bits=st.integers(9, 15),
    cuts=st.lists(st.integers(0, 9000)),
)
@settings(max_examples=60)
def test_whatever_zlib_sends_is_read_however_it_is_cut(engine, data, level, strategy, bits, cuts):
    """RFC 7692 section 6.1: the payload of a message may be cut into frames anywhere."""
    codec = make_codec(engine, remote_bits=bits)
    payload = compressed(data, wbits=-bits, level=level, strategy=strategy)
    for _ in range(2):
        fragments = cut(payload, cuts)
        assert receive(codec, fragments, len(data)) == data


def reference_over(bits):
    """A message that is one reference, of length 258 over 2 ** bits octets (RFC 1951 section 3.2.6)."""
    distance = f"{2 * bits - 1:05b}" + "1" * (bits - 2)
    stream = "010" + "11000101" + distance + "0000000" + "000"
    return int(stream[::-1], 2).to_bytes(-(-len(stream) // 8), "little")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("bits", range(8, 16))
def test_a_reference_over_the_whole_window_is_read(engine, bits):
    """A peer with 8 bits is read too, though no engine has a window that small."""
    block = random.Random(1).randbytes(2**bits)
    codec = make_codec(engine, remote_bits=bits)
    assert codec.decompress(compressed(block, level=0), True, None) == block
    expected = (block * 2)[:258]
    assert inflate(reference_over(bits) + TAIL, block) == (expected, 2**bits)
    assert codec.decompress(reference_over(bits), True, None) == expected


# Limits


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("size", [0, 1, 5, 1000, 100_000])
def test_a_limit_can_be_met_exactly(engine, fin, size):
    payload = compressed(b"x" * size)
    codec = make_codec(engine, remote_bits=15)
    output = codec.decompress(payload, fin, size)
    assert output == b"x" * size if fin else len(output) <= size


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [1, 2, 5, 1000, 100_000])
def test_one_byte_above_the_limit_is_too_big(engine, size):
    codec = make_codec(engine, remote_bits=15)
    with pytest.raises(WSProtocolError, match=f"^frame exceeds limit of {size - 1} bytes$") as caught:
        codec.decompress(compressed(b"x" * size), True, size - 1)
    assert caught.value.code == WSCloseCode.MESSAGE_TOO_BIG


@pytest.mark.parametrize("engine", ENGINES)
def test_after_an_exact_fit_nothing_more_may_come(engine):
    """What is left is a limit of no bytes, not none."""
    compressor = zlib.compressobj(wbits=-15)
    first = compressor.compress(b"x" * 10) + compressor.flush(zlib.Z_SYNC_FLUSH)
    second = compressor.compress(bytes(100_000)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    codec = make_codec(engine, remote_bits=15)
    assert codec.decompress(first, False, 10) == b"x" * 10
    assert codec.decompress(b"", False, 0) == b""
    with pytest.raises(WSProtocolError, match=r"^frame after reading 10 bytes exceeds limit of 10 bytes$"):
        codec.decompress(second.removesuffix(TAIL), True, 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_end_without_data_fits_into_nothing(engine):
    codec = make_codec(engine)
    assert codec.decompress(HELLO, False, 5) == b"Hello"
    assert codec.decompress(b"", True, 0) == b""
    assert codec.decompress(HELLO, True, 5) == b"Hello"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_limit_holds_behind_a_final_block(engine):
    codec = make_codec(engine, remote_bits=15)
    payload = FINAL_HELLO[:-1] + compressed(bytes(100_000))
    for limit in (4, 5, 6, 99_999, 100_004):
        with pytest.raises(WSProtocolError, match=f"^frame exceeds limit of {limit} bytes$"):
            make_codec(engine, remote_bits=15).decompress(payload, True, limit)
    assert codec.decompress(payload, True, 100_005) == b"Hello" + bytes(100_000)


MEMORY_PROGRAM = """
import resource, zlib
from picows import WSProtocolError
from picows_aio.deflate import DeflateCodec, DeflateParameters

ENGINE, TAKEOVER, CASE = {engine!r}, {takeover}, {case!r}
compressor = zlib.compressobj(9, wbits=-15)
first = b""
if CASE == "fragmented":
    first = compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_SYNC_FLUSH)
bomb = b"".join(compressor.compress(bytes(2**20)) for _ in range(100)) + compressor.flush(zlib.Z_SYNC_FLUSH)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

codec = DeflateCodec(DeflateParameters(True, TAKEOVER, 15, 15, {{}}, None, ENGINE))
codec.decompress(bytes.fromhex("f248cdc9c90700"), True, 5)
before = peak()
budget = 2**20
if CASE == "final block":
    bomb, budget = bytes.fromhex("f348cdc9c90700") + bomb, 4
if CASE == "fragmented":
    budget -= len(codec.decompress(first, False, budget))
    assert budget == 0
try:
    codec.decompress(bomb[:-4], True, budget)
except WSProtocolError as exc:
    print(int(exc.code), peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of resident memory in the unit of Linux")
@pytest.mark.parametrize("case", ["one frame", "fragmented", "final block"])
@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("engine", ["zlib", "isal", "zlib-ng"])
def test_a_bomb_takes_no_more_memory_than_the_limit_explains(engine, takeover, case):
    """100 MiB in 100 KiB, under 1 MiB: in one frame, behind a fragment that fits exactly, behind a final block."""
    load_engine(engine)
    program = textwrap.dedent(MEMORY_PROGRAM).format(engine=engine, takeover=takeover, case=case)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code, grown = map(int, done.stdout.split())
    assert code == WSCloseCode.MESSAGE_TOO_BIG
    assert grown < 8 * 2**20


# Peers that are not as they should be


@pytest.mark.parametrize("engine", ENGINES)
@given(payload=st.binary(max_size=60), fin=st.booleans(), limit=st.none() | st.integers(0, 100))
@example(b"\x07", True, None)
@example(b"\xff\xff", False, 0)
@example(HELLO + b"garbage", True, 100)
@example(b"\x03\x00" * 30, True, 0)
def test_garbage_is_a_protocol_error_or_harmless(engine, payload, fin, limit):
    codec = make_codec(engine)
    try:
        outcome = len(codec.decompress(payload, fin, limit)) <= (sys.maxsize if limit is None else limit)
    except WSProtocolError as exc:
        outcome = exc.code
    assert outcome in {True, WSCloseCode.PROTOCOL_ERROR, True if limit is None else WSCloseCode.MESSAGE_TOO_BIG}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("payload", [b"\x07", HELLO + b"\x00", FINAL_HELLO + b"\x00"])
def test_what_is_no_deflate_is_a_protocol_error(engine, payload):
    with pytest.raises(WSProtocolError, match=r"^decompression failed$") as caught:
        make_codec(engine).decompress(payload, True, None)
    assert caught.value.code == WSCloseCode.PROTOCOL_ERROR
    assert isinstance(caught.value.__cause__, Exception)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_reference_to_another_message_needs_takeover(engine):
    """RFC 7692 section 7.1.1: a peer that agreed to none must not refer to what came before."""
    codec = make_codec(engine, remote_takeover=False)
    assert codec.decompress(HELLO, True, 5) == b"Hello"
    with pytest.raises(WSProtocolError, match=r"^decompression failed$"):
        codec.decompress(bytes.fromhex("f200110000"), True, 5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("payload", [FINAL_HELLO, FINAL_HELLO[:-1]], ids=["as in the RFC", "without the last octet"])
@pytest.mark.parametrize("takeover", [True, False])
def test_peers_may_end_the_stream_with_each_message(engine, payload, takeover):
    """RFC 7692 section 7.2.3.4, for peers whose library cannot flush."""
    codec = make_codec(engine, remote_takeover=takeover)
    for _ in range(20):
        assert codec.decompress(payload, True, 5) == b"Hello"
        assert receive(codec, cut(payload, [2, 4, 7]), 5) == b"Hello"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_window_outlives_the_end_of_a_stream(engine):
    """RFC 7692 section 7.2.2: a message has the window of those before it, however their streams ended."""
    codec = make_codec(engine)
    seen = b""
    for i in range(40):
        message = random.Random(i % 3).randbytes(500)
        payload = compressed(message, flush=zlib.Z_FINISH if i % 4 else zlib.Z_SYNC_FLUSH, zdict=seen) if i else None
        payload = payload or compressed(message, flush=zlib.Z_FINISH)
        assert codec.decompress(payload, True, 500) == message
        assert i < 4 or len(payload) < 50, "refers to a message before"
        seen = (seen + message)[-4096:]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_frame_cannot_end_the_stream_without_bound(engine):
    """Each end costs a new decompressor, which a frame of a few octets could demand thousands of times."""
    codec = make_codec(engine)
    assert codec.decompress(b"\x03\x00" * 7 + b"\x00", True, 0) == b""
    with pytest.raises(WSProtocolError, match="ends more than 8 times") as caught:
        codec.decompress(b"\x03\x00" * 1000 + b"\x00", True, 0)
    assert caught.value.code == WSCloseCode.PROTOCOL_ERROR


# Engines


IDLE_PROGRAM = """
import tracemalloc
from picows_aio.extensions.permessage_deflate import enable_client_permessage_deflate, enable_server_permessage_deflate

(client,), (server,) = enable_client_permessage_deflate(None), enable_server_permessage_deflate(None)

def negotiate():
    params, extension = server.process_request_params(client.get_request_params(), [])
    return extension, client.process_response_params(params, [])

negotiate()
tracemalloc.start()
kept = [negotiate() for _ in range(1000)]
print(tracemalloc.get_traced_memory()[0] // 2000)
"""


def test_a_connection_that_only_negotiated_is_small():
    """No engine keeps anything for a connection before its first compressed message."""
    done = subprocess.run([sys.executable, "-c", IDLE_PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2048


def test_a_server_holds_little_for_messages_of_a_kibibyte():
    """What they may refer to is kept, 4 KiB, and no compressor, which would be 38."""
    source = random.Random(1)
    make_codec().compress(source.randbytes(1024), True)  # what connections share exists now
    codecs = [make_codec() for _ in range(10)]
    tracemalloc.start()
    try:
        for codec in codecs * 10:
            codec.compress(source.randbytes(1024), True)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 4 * 1024 < kept / len(codecs) < 5 * 1024


WITHOUT_ISAL_PROGRAM = """
import sys
sys.modules["isal"] = None
from picows_aio.deflate_engines import choose_encoders
from picows_aio.extensions.permessage_deflate import ServerPerMessageDeflateFactory

params, extension = ServerPerMessageDeflateFactory().process_request_params([], [])
payload = extension.codec.compress(b"x" * 100_000, True)
assert extension.codec.decompress(payload, True, 100_000) == b"x" * 100_000
try:
    ServerPerMessageDeflateFactory(engine="isal")
except ImportError as exc:
    print(exc)
"""


def test_zlib_does_it_alone_where_isal_is_missing():
    done = subprocess.run([sys.executable, "-c", WITHOUT_ISAL_PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "engine 'isal' is in the package isal: pip install isal\n"


@pytest.mark.parametrize(
    ("settings", "uses_isal"), [({}, True), ({"memLevel": 5}, True), ({"level": 6}, False), ({"strategy": 2}, False)]
)
def test_settings_of_zlib_keep_large_messages_with_zlib(settings, uses_isal):
    """A level means something else to each engine, so whoever sets one gets what zlib makes of it."""
    encoders = choose_encoders("auto", 12, True, tuple(settings.items()))
    assert (encoders.large.engine is load_engine("isal")) == uses_isal


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize(("settings", "uses_isal"), [({"memLevel": 5}, True), ({"level": 6}, False)])
def test_clients_compress_all_with_isal_and_their_window(settings, uses_isal, takeover):
    """Without a window what is small stays with zlib."""
    encoders = choose_encoders("auto", 12, takeover, tuple(settings.items()), is_client_side=True)
    assert (encoders.small.engine is load_engine("isal")) == (uses_isal and takeover)
    assert (encoders.large.engine is load_engine("isal")) == uses_isal


@pytest.mark.parametrize(
    ("engine", "settings", "error"),
    [
        ("deflate", {}, ValueError),
        ("auto", {"level": 77}, ValueError),
        ("isal", {"level": 6}, ValueError),
        ("zlib", {"colour": 1}, TypeError),
    ],
)
def test_settings_are_tried_before_anybody_connects(engine, settings, error):
    with pytest.raises(error):
        check_settings(engine, settings)
