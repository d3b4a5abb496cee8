"""Libraries that compress and decompress DEFLATE (RFC 1951), and which of them compresses what."""

from __future__ import annotations

import functools
import importlib
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from picows import WSFrame
from picows_aio.typing import BytesLike

_MODULES = {"zlib": "zlib", "isal": "isal.isal_zlib", "zlib-ng": "zlib_ng.zlib_ng"}
ENGINE_NAMES = ("auto", *_MODULES)

_LEAST_ZLIB_WINDOW_BITS = 9
# From these sizes on ISA-L is worth what it compresses worse than zlib: alone, without a window between messages, or
# after the bytes that were sent last. The figures are in docs/design/0004-compression.md.
_ALONE_SIZE = 4096
_LARGE_SIZE = 512
_MAX_HISTORY_BITS = 12  # of a window that is worth being read again for each message
_MAX_HISTORY = 4096  # bytes that a message may refer to where no compressor remembers more
_LARGE_SETTINGS = {"level": 1, "memLevel": 8}
_CLIENT_SETTINGS = {"level": 1, "memLevel": 1}
_ZLIB_LEVEL = 4
# Settings that only zlib follows as meant: with one of them, what is large goes to zlib too.
_ZLIB_SETTINGS = {"level", "strategy"}


class Compressor(Protocol):
    """What `zlib.compressobj` returns."""

    def compress(self, data: BytesLike, /) -> bytes:
        """Take data; what comes back lags behind."""

    def flush(self, mode: int, /) -> bytes:
        """Bring out all that was taken, up to the end of an octet."""


class Decompressor(Protocol):
    """What `zlib.decompressobj` returns."""

    @property
    def eof(self) -> bool:
        """Whether a block with BFINAL has ended."""

    @property
    def unused_data(self) -> bytes:
        """What came behind that block."""

    def decompress(self, data: BytesLike | WSFrame, max_length: int = 0, /) -> bytes:
        """Decompress up to `max_length` bytes; 0: all."""


class Engine(Protocol):
    """What the modules have in common."""

    @property
    def error(self) -> type[Exception]:
        """Raised for data that is not DEFLATE."""

    def compressobj(self, **settings: Any) -> Compressor:
        """A compressor."""

    def decompressobj(self, **settings: Any) -> Decompressor:
        """A decompressor."""


def load_engine(name: str) -> Engine:
    """The module behind the name of an engine.

    Args:
        name: "zlib", "isal" or "zlib-ng".

    Raises:
        ImportError: Its package is not installed.
    """
    try:
        return cast(Engine, importlib.import_module(_MODULES[name]))
    except ImportError as exc:
        raise ImportError(f"engine {name!r} is in the package {name}: pip install {name}") from exc


def history_after(history: bytes, data: bytes) -> bytes:
    """The end of what was sent, to which the next message may refer.

    Args:
        history: What it was before.
        data: What was sent.
    """
    return (history + data)[-_MAX_HISTORY:] if len(data) < _MAX_HISTORY else data[-_MAX_HISTORY:]


@dataclass(frozen=True, eq=False, slots=True)
class Encoder:
    """Compresses with one engine and one set of settings, for any number of connections.

    Attributes:
        engine: The engine.
        settings: What its compressors are made with.
    """

    engine: Engine
    settings: Mapping[str, Any]
    _idle: list[Compressor] = field(default_factory=list)

    def open(self, history: bytes = b"") -> Compressor:
        """A new compressor.

        Args:
            history: What the peer received last; the compressor may refer to it.
        """
        return self.engine.compressobj(**self.settings, **({"zdict": history} if history else {}))

    def encode_after(self, history: bytes, data: bytes) -> bytes:
        """Compress by a compressor of its own, which is gone afterwards.

        Args:
            history: What the peer received last; the data may refer to it.
            data: The data.

        Returns:
            DEFLATE blocks that end with an empty one, at the end of an octet.
        """
        compressor = self.open(history)
        return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)

    def encode_alone(self, data: bytes) -> bytes:
        """Compress without any reference to earlier data.

        Args:
            data: The data.

        Returns:
            DEFLATE blocks that end with an empty one, at the end of an octet.
        """
        # The compressor is shared, so nobody else may see it before its flush: not another thread, not a signal
        # handler, and no later call if this one fails.
        try:
            compressor = self._idle.pop()
        except IndexError:
            compressor = self.open()
        output = compressor.compress(data)
        output += compressor.flush(zlib.Z_FULL_FLUSH)  # forgets the data
        self._idle.append(compressor)
        return output


@dataclass(frozen=True, eq=False, slots=True)
class EncoderPair:
    """Which engine compresses what.

    Attributes:
        small: Compresses what is smaller than `large_size`, where context takeover is allowed by a compressor that the
            connection keeps.
        large: Compresses the rest: after the bytes that were sent last, or from `alone_size` on each piece for itself.
        large_size: Bytes.
        alone_size: Bytes.
    """

    small: Encoder
    large: Encoder
    large_size: int
    alone_size: int

    @property
    def needs_history(self) -> bool:
        """Whether some messages are compressed after the bytes that were sent last."""
        return self.large_size < self.alone_size


@functools.cache
def choose_encoders(
    engine_name: str,
    window_bits: int,
    has_takeover: bool,
    settings: tuple[tuple[str, Any], ...],
    *,
    is_client_side: bool = False,
) -> EncoderPair:
    """Encoders for a direction of a connection.

    Args:
        engine_name: One of `ENGINE_NAMES`.
        window_bits: Base-2 logarithm of the window that the peer holds ready, 8 to 15.
        has_takeover: Whether messages may refer to earlier ones.
        settings: Arguments for `compressobj`.
        is_client_side: Time counts for more than memory: a client has few connections.

    Raises:
        ImportError: The engine is not installed.
    """
    chosen = dict(settings)
    if window_bits < _LEAST_ZLIB_WINDOW_BITS:
        # No engine has a window of 256 bytes; without references to earlier data any window is large enough.
        chosen |= {"strategy": zlib.Z_HUFFMAN_ONLY}
        engine_name = "zlib"
    wbits = -max(window_bits, _LEAST_ZLIB_WINDOW_BITS)
    if engine_name != "auto" or _ZLIB_SETTINGS & chosen.keys():
        only = Encoder(load_engine("zlib" if engine_name == "auto" else engine_name), {**chosen, "wbits": wbits})
        return EncoderPair(only, only, sys.maxsize, sys.maxsize)
    small = Encoder(load_engine("zlib"), {**chosen, "level": _ZLIB_LEVEL, "wbits": wbits})
    try:
        isal = load_engine("isal")
    except ImportError:
        return EncoderPair(small, small, sys.maxsize, sys.maxsize)
    large = Encoder(isal, {**_LARGE_SETTINGS, "wbits": wbits})
    if not has_takeover:
        return EncoderPair(small, large, _LARGE_SIZE, 0)
    alone_size = max(_ALONE_SIZE, 1 << window_bits)
    if is_client_side:
        return EncoderPair(Encoder(isal, {**_CLIENT_SETTINGS, "wbits": wbits}), large, alone_size, alone_size)
    return EncoderPair(small, large, _LARGE_SIZE if window_bits <= _MAX_HISTORY_BITS else alone_size, alone_size)


def check_settings(engine_name: str, settings: Mapping[str, Any]) -> None:
    """Try out what a program asks for, before the first connection does.

    Args:
        engine_name: What should be one of `ENGINE_NAMES`.
        settings: What should be arguments for `compressobj`.

    Raises:
        ImportError: The engine is not installed.
        ValueError, TypeError: There is no such engine, or it cannot have these settings.
    """
    if engine_name not in ENGINE_NAMES:
        raise ValueError(f"engine must be one of {', '.join(ENGINE_NAMES)}, not {engine_name!r}")
    engine = load_engine("zlib" if engine_name == "auto" else engine_name)
    engine.compressobj(**settings, wbits=-zlib.MAX_WBITS)
