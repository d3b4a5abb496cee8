"""Masking kernels against the definition (RFC 6455 section 5.3)."""

import platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picows._codec import apply_mask, available_mask_impls, key_at, mask_into

IMPLS = available_mask_impls()
KEY = b"\x81\x02\xf3\x74"
NOISE = bytes(i * i * 31 + i >> 3 & 0xFF for i in range(1 << 18))

keys = st.binary(min_size=4, max_size=4)


def masked(data: bytes, key: bytes) -> bytes:
    """Octet i of the result is octet i of the data XOR octet i MOD 4 of the key."""
    stream = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")


def test_this_machine_has_the_kernels_of_its_architecture():
    expected = {"x86_64": "sse2", "AMD64": "sse2", "aarch64": "neon", "arm64": "neon", "ARM64": "neon"}
    assert IMPLS[-1] == "scalar"
    assert expected.get(platform.machine(), "scalar") in IMPLS
    assert len(set(IMPLS)) == len(IMPLS)


@pytest.mark.parametrize("impl", IMPLS)
@given(data=st.binary(max_size=600), key=keys)
def test_kernel_matches_the_definition(impl, data, key):
    """RFC 6455 section 5.3: octet i is XORed with key octet i MOD 4."""
    assert apply_mask(data, key, impl) == bytes(octet ^ key[i % 4] for i, octet in enumerate(data))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("alignment", range(64))
def test_in_place_at_every_alignment_and_size_leaves_the_neighbours_alone(impl, alignment):
    for size in [*range(300), 511, 512, 513, 1023, 4099]:
        memory = bytearray(NOISE[: size + 192])
        expected = bytearray(memory)
        expected[alignment : alignment + size] = masked(memory[alignment : alignment + size], KEY)
        mask_into(memory, alignment, memory, alignment, size, KEY, impl)
        assert memory == expected, f"{size} bytes"


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("alignment", range(64))
def test_copy_at_every_alignment_and_size_leaves_the_neighbours_alone(impl, alignment):
    source = bytearray(NOISE[:5000])
    for size in [*range(300), 511, 512, 513, 1023, 4099]:
        source_pos = (alignment * 7 + size) % 64
        target = bytearray(b"\xa5" * (size + 192))
        expected = bytearray(target)
        expected[alignment : alignment + size] = masked(source[source_pos : source_pos + size], KEY)
        mask_into(target, alignment, source, source_pos, size, KEY, impl)
        assert target == expected, f"{size} bytes"
    assert source == NOISE[:5000]


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("size", [65535, 65536, 131072, 131072 + 77])
def test_large_payload(impl, size):
    assert apply_mask(NOISE[:size], KEY, impl) == masked(NOISE[:size], KEY)


@given(data=st.binary(max_size=300), key=keys)
def test_every_kernel_gives_the_same_and_the_default_is_one_of_them(data, key):
    assert {apply_mask(data, key, impl) for impl in IMPLS} == {apply_mask(data, key)}


@given(data=st.binary(max_size=300), key=keys)
def test_masking_twice_gives_the_payload_back(data, key):
    """RFC 6455 section 5.3: the same algorithm masks and unmasks."""
    assert apply_mask(apply_mask(data, key), key) == data


@given(data=st.binary(max_size=300), key=keys, cut=st.integers(0, 300))
def test_a_payload_may_be_masked_in_pieces(data, key, cut):
    pieces = apply_mask(data[:cut], key) + apply_mask(data[cut:], key_at(key, min(cut, len(data))))
    assert pieces == apply_mask(data, key)


def test_the_view_for_tests_refuses_what_c_would_not():
    memory = bytearray(16)
    with pytest.raises(ValueError, match="'mmx'"):
        apply_mask(b"", KEY, "mmx")
    with pytest.raises(ValueError, match="4 octets, not 3"):
        apply_mask(b"", b"key")
    with pytest.raises(ValueError, match="17 bytes"):
        mask_into(memory, 0, memory, 0, 17, KEY, "scalar")
    with pytest.raises(ValueError, match="overlap"):
        mask_into(memory, 0, memory, 4, 8, KEY, "scalar")
