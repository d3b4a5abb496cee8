"""Messages for permessage-deflate: JSON that looks like market data, none like another, the same on every run."""

import json
import random
import zlib
from pathlib import Path

SEED = 6455
WINDOW = 32768  # bytes that a compressor remembers
ENTRIES = 8  # orders of a record


def write_files(size: int, folder: Path) -> tuple[Path, Path]:
    """Write messages of about `size` bytes, together more than a window, and the same compressed each by itself.

    Returns:
        Files of messages, each after its size in 4 bytes, low byte first.
    """
    count = max(4, 2 * WINDOW // size)
    source = random.Random(SEED)
    messages = [_message(source, size) for _ in range(count)]
    plain, packed = folder / f"messages_{size}.plain", folder / f"messages_{size}.deflated"
    for path, contents in ((plain, messages), (packed, [_deflate(message) for message in messages])):
        path.write_bytes(b"".join(len(content).to_bytes(4, "little") + content for content in contents))
    return plain, packed


def _message(source: random.Random, size: int) -> bytes:
    """An array of order book updates, cut to `size` bytes."""
    text = "["
    while len(text) < size:
        orders = [[round(source.uniform(100, 110), 2), source.randrange(1, 5000)] for _ in range(ENTRIES)]
        symbol = source.choice(["BTC-USD", "ETH-USD", "SOL-USD"])
        text += json.dumps({"symbol": symbol, "sequence": source.randrange(10**9), "bids": orders}) + ", "
    return text[:size].encode()


def _deflate(message: bytes) -> bytes:
    """RFC 7692 section 7.2.1, without what an earlier message left in the window."""
    compressor = zlib.compressobj(wbits=-12)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
