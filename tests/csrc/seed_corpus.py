"""Streams for the fuzzer to start from: ``python tests/csrc/seed_corpus.py FOLDER``.

A file is one input of fuzz_stream.c: an octet of settings, one that decides the cuts, and a stream.
"""

import sys
from pathlib import Path

MASKED, STRICT, VALIDATE_UTF8, RSV1_ALLOWED, LIMITED = 1, 2, 4, 0x20, 0x40
SETTINGS = [0, STRICT | VALIDATE_UTF8, VALIDATE_UTF8, STRICT | VALIDATE_UTF8 | RSV1_ALLOWED, STRICT | LIMITED]
CUTS = 0x2A
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

EURO = "€".encode()

# Each a list of (opcode, payload, fin, rsv).
STREAMS: dict[str, list[tuple[int, bytes, bool, int]]] = {
    "empty": [(BINARY, b"", True, 0)],
    "text": [(TEXT, "Grüße, 你好, 😀".encode(), True, 0)],
    "ascii": [(TEXT, b"the quick brown fox jumps over the lazy dog " * 4, True, 0)],
    "edges": [(BINARY, bytes(size), True, 0) for size in (1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65, 125)],
    "extended": [(BINARY, b"\xa5" * 126, True, 0), (BINARY, b"\x5a" * 300, True, 0), (BINARY, bytes(301), True, 0)],
    "fragments": [(TEXT, EURO[:1], False, 0), (CONTINUATION, EURO[1:2], False, 0), (CONTINUATION, EURO[2:], True, 0)],
    "interleaved": [(BINARY, b"a", False, 0), (PING, b"mark", True, 0), (CONTINUATION, b"b", True, 0)],
    "compressed": [(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00", False, 4), (CONTINUATION, b"\xff\xfe", True, 0)],
    "out of order": [(CONTINUATION, b"x", True, 0), (TEXT, b"y", False, 0), (TEXT, b"z", True, 0)],
    "broken off": [(TEXT, EURO[:2], False, 0), (BINARY, b"\xff", True, 0)],
    "surrogate": [(TEXT, b"\xed\xa0\x80", True, 0)],
    "overlong": [(TEXT, b"ok \xc0\xaf", True, 0)],
    "broken in ascii": [(TEXT, b"a" * count + EURO[:2] + b"a" * 50, True, 0) for count in range(8)],
    "beyond": [(TEXT, b"\xf4\x90\x80\x80", True, 0)],
    "pong": [(PONG, bytes(125), True, 0), (PING, b"", True, 0)],
    "close": [(CLOSE, b"", True, 0)],
    "close with reason": [(PING, b"?", True, 0), (CLOSE, b"\x03\xe8" + EURO * 41, True, 0)],
    "close code": [(CLOSE, b"\x03\xed", True, 0)],
    "close reason": [(CLOSE, b"\x0f\xa0" + EURO[:2], True, 0)],
    "reserved": [(3, b"", True, 0), (11, b"", True, 0)],
    "fragmented ping": [(PING, b"", False, 0)],
    "long ping": [(PING, bytes(126), True, 0)],
}

# What the encoder below would not write.
RAW = {
    "not minimal 16": b"\x82\x7e\x00\x05hello",
    "not minimal 64": b"\x82\x7f" + (300).to_bytes(8, "big"),
    "high bit": b"\x82\x7f" + (1 << 63).to_bytes(8, "big"),
    "huge": b"\x82\x7f" + ((1 << 63) - 1).to_bytes(8, "big") + b"x",
    "half a header": b"\x82\x7f\x00\x00",
}


def encode(opcode: int, payload: bytes, fin: bool, rsv: int, key: bytes | None) -> bytes:
    """A frame (RFC 6455 section 5.2); no payload here needs the 64-bit length."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    head = bytes([fin << 7 | rsv << 4 | opcode, length[0] | (128 if key else 0)]) + length[1:]
    if key is None:
        return head + payload
    return head + key + bytes(octet ^ key[i % 4] for i, octet in enumerate(payload))


def inputs() -> dict[str, bytes]:
    """Every input by name: each stream to each receiver, masked and not."""
    found = {}
    for settings in SETTINGS:
        for name, frames in STREAMS.items():
            for mask, key in ((0, None), (MASKED, b"\x37\xfa\x21\x3d")):
                stream = b"".join(encode(*frame, key) for frame in frames)
                found[f"{name} {settings | mask:02x}"] = bytes([settings | mask, CUTS]) + stream
    for name, stream in RAW.items():
        found[name] = bytes([0, CUTS]) + stream
    return found


def write(folder: Path) -> list[Path]:
    """Write every input to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, data in inputs().items():
        path = folder / name.replace(" ", "-")
        path.write_bytes(data)
        paths.append(path)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(f"{len(write(Path(sys.argv[1])))} inputs in {sys.argv[1]}")
