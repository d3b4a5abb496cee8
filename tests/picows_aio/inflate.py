"""Reads DEFLATE by its definition (RFC 1951), and tells how far back it refers. Slow: for tests alone."""

from collections.abc import Iterator

LENGTHS = [(3 + i, 0) for i in range(8)]
for bits in range(1, 6):
    LENGTHS += [(2 ** (bits + 2) + 3 + i * 2**bits, bits) for i in range(4)]
LENGTHS.append((258, 0))
DISTANCES = [(1 + i, 0) for i in range(4)]
for bits in range(1, 14):
    DISTANCES += [(2 ** (bits + 1) + 1 + i * 2**bits, bits) for i in range(2)]
CODE_LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
FIXED = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8


class Bits:
    """The bits of a string of octets, the lowest of each first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0

    @property
    def left(self) -> int:
        return len(self._data) * 8 - self._pos

    def take(self, count: int) -> int:
        assert count <= self.left, "the data ends inside a block"
        octet, shift = divmod(self._pos, 8)
        self._pos += count
        return int.from_bytes(self._data[octet : octet + 3], "little") >> shift & ((1 << count) - 1)

    def align(self) -> None:
        self.take(self.left % 8)


class Code:
    """A Huffman code, from the lengths of its words (section 3.2.2)."""

    def __init__(self, lengths: list[int]) -> None:
        self._symbols = {}
        word = 0
        for length in range(1, 16):
            word <<= 1
            for symbol, symbol_length in enumerate(lengths):
                if symbol_length == length:
                    self._symbols[length, word] = symbol
                    word += 1

    def take(self, bits: Bits) -> int:
        word = 0
        for length in range(1, 16):
            word = word << 1 | bits.take(1)
            if (length, word) in self._symbols:
                return self._symbols[length, word]
        raise AssertionError("no word of the code")


def inflate(data: bytes, history: bytes = b"") -> tuple[bytes, int]:
    """The output, and the largest distance of a reference into what came before it.

    A distance counts from the position of the octet that it gives, as a window does.

    Args:
        data: Whole blocks.
        history: What came out before.
    """
    bits = Bits(data)
    output = bytearray(history)
    farthest = 0
    while bits.left >= 3:
        bits.take(1)
        kind = bits.take(2)
        if kind == 0:
            bits.align()
            size = bits.take(16)
            assert bits.take(16) == size ^ 0xFFFF
            output += bytes(bits.take(8) for _ in range(size))
        else:
            for length, distance in _symbols(bits, output, *_codes(bits, kind)):
                assert distance <= len(output), "a reference to before the beginning"
                farthest = max(farthest, distance)
                for _ in range(length):
                    output.append(output[-distance])
    return bytes(output[len(history) :]), farthest


def _codes(bits: Bits, kind: int) -> tuple[Code, Code]:
    if kind == 1:
        return Code(FIXED), Code([5] * 30)
    assert kind == 2, "no kind of block"
    literals, distances, count = bits.take(5) + 257, bits.take(5) + 1, bits.take(4) + 4
    code_lengths = [0] * 19
    for symbol in CODE_LENGTH_ORDER[:count]:
        code_lengths[symbol] = bits.take(3)
    code = Code(code_lengths)
    lengths: list[int] = []
    while len(lengths) < literals + distances:
        symbol = code.take(bits)
        if symbol < 16:
            lengths.append(symbol)
        elif symbol == 16:
            lengths += [lengths[-1]] * (3 + bits.take(2))
        else:
            lengths += [0] * (3 + bits.take(3) if symbol == 17 else 11 + bits.take(7))
    return Code(lengths[:literals]), Code(lengths[literals:])


def _symbols(bits: Bits, output: bytearray, literals: Code, distances: Code) -> Iterator[tuple[int, int]]:
    """Length and distance of each reference of a block; literals go to the output."""
    while (symbol := literals.take(bits)) != 256:
        if symbol < 256:
            output.append(symbol)
            continue
        length, extra = LENGTHS[symbol - 257]
        length += bits.take(extra)
        distance, extra = DISTANCES[distances.take(bits)]
        yield length, distance + bits.take(extra)
