"""Compressing and decompressing the messages of one connection (RFC 7692 section 7.2).

A codec is small until it works: compressor and decompressor are made when the first message needs them. Large messages
are compressed by an engine that keeps nothing of a connection: after the bytes that this one sent last, or each for
itself. Its own compressor, for small ones, then goes on from there; docs/design/0004-compression.md has the reasons and
the figures.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from picows import WSCloseCode, WSFrame, WSProtocolError
from picows_aio.deflate_engines import (
    Compressor,
    Decompressor,
    EncoderPair,
    choose_encoders,
    history_after,
    load_engine,
)
from picows_aio.exceptions import PayloadTooBig
from picows_aio.typing import BytesLike

# RFC 7692 section 7.2.1: what an empty block without compression ends with; senders leave it out.
_TAIL = b"\x00\x00\xff\xff"
_EMPTY_MESSAGE = b"\x00"  # section 7.2.3.6: the beginning of such a block
_LEAST_WINDOW_BITS = 9  # of the engines; a larger window reads what was made for a smaller one
_MAX_FINAL_BLOCKS = 8  # in one frame: each costs as much as a frame

# Below these sizes a message would become little smaller for as much work again as sending it.
_THRESHOLD = 128
_THRESHOLD_WITHOUT_TAKEOVER = 256

# What one message became: payload and the history after it, by what made it and the history before it.
SharedPayloads = dict[tuple[EncoderPair, bytes], tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class DeflateParameters:
    """What both sides agreed on, and what this side chose for itself.

    Attributes:
        local_has_takeover: Whether messages to the peer may refer to earlier ones.
        remote_has_takeover: Whether messages from the peer may.
        local_window_bits: Base-2 logarithm of the window for messages to the peer, 8 to 15.
        remote_window_bits: The same for messages from the peer.
        settings: Arguments for `zlib.compressobj` and its like.
        threshold: Bytes of a message from which on it is compressed; None: what is usually worth it.
        engine: One of `deflate_engines.ENGINE_NAMES`.
        is_client_side: Whether this side opened the connection.
    """

    local_has_takeover: bool
    remote_has_takeover: bool
    local_window_bits: int
    remote_window_bits: int
    settings: Mapping[str, Any]
    threshold: int | None = None
    engine: str = "auto"
    is_client_side: bool = False


class DeflateCodec:
    """Both directions of one connection.

    Args:
        parameters: What was agreed on.

    Attributes:
        threshold: Bytes of a message from which on compressing it is worthwhile.
    """

    __slots__ = (
        "_compressor",
        "_decompressor",
        "_encoders",
        "_engine",
        "_history",
        "_local_has_takeover",
        "_received_size",
        "_remote_has_takeover",
        "_wbits",
        "_window",
        "threshold",
    )

    def __init__(self, parameters: DeflateParameters) -> None:
        settings = tuple(sorted(parameters.settings.items()))
        self._local_has_takeover = parameters.local_has_takeover
        self._encoders = choose_encoders(
            parameters.engine,
            parameters.local_window_bits,
            parameters.local_has_takeover,
            settings,
            is_client_side=parameters.is_client_side,
        )
        self._compressor: Compressor | None = None
        self._history = b""  # where the next compressor goes on from
        if parameters.threshold is not None:
            self.threshold = parameters.threshold
        else:
            self.threshold = _THRESHOLD if parameters.local_has_takeover else _THRESHOLD_WITHOUT_TAKEOVER

        self._remote_has_takeover = parameters.remote_has_takeover
        # What strangers send is left to zlib, which has read more of it than any other engine.
        self._engine = load_engine("zlib" if parameters.engine == "auto" else parameters.engine)
        self._wbits = -max(parameters.remote_window_bits, _LEAST_WINDOW_BITS)
        self._decompressor: Decompressor | None = None
        self._window: bytes | None = None  # what was received last; only peers that end the stream make us remember it
        self._received_size = 0  # bytes of the message under way

    def is_worthwhile(self, data: BytesLike) -> bool:
        """Whether a message is large enough to be compressed.

        Args:
            data: The message.
        """
        return (data.nbytes if isinstance(data, memoryview) else len(data)) >= self.threshold

    def compress(self, data: BytesLike, fin: bool) -> bytes:
        """Compress a message or a fragment of one; every frame carries all of its fragment.

        Args:
            data: The next fragment.
            fin: Whether it is the last one.

        Returns:
            The payload of the frame.
        """
        if not isinstance(data, bytes):
            data = bytes(data)  # engines let other threads run, which may change it
        if not data:
            return _EMPTY_MESSAGE if fin else b""
        if not self._local_has_takeover:
            return _end(self._encode_alone(data), fin)
        if len(data) < self._encoders.large_size:
            return self._compress_on(data, fin)
        payload, history = self._encode_large(data)
        payload = _end(payload, fin)
        self._go_on_after(history)
        return payload

    def compress_shared(self, data: bytes, shared: SharedPayloads) -> bytes:
        """Compress a message that goes to other connections too: once for all that were sent the same before.

        What an engine makes of a message depends on nothing but the message and what it may refer to. Only where a
        connection's own compressor is better at small messages each has to do it.

        Args:
            data: The message.
            shared: What it became for others; empty at first.

        Returns:
            The payload of the frame.
        """
        encoders = self._encoders
        has_takeover = self._local_has_takeover
        if not data or (has_takeover and len(data) < encoders.large_size and not encoders.needs_history):
            return self.compress(data, True)
        is_alone = not has_takeover or len(data) >= encoders.alone_size
        key = (encoders, b"" if is_alone else self._history)
        made = shared.get(key)
        if made is None:
            payload, history = self._encode_large(data) if has_takeover else (self._encode_alone(data), b"")
            made = shared[key] = (_end(payload, True), history)
        payload, history = made
        if has_takeover:
            self._go_on_after(history)
        return payload

    def _encode_alone(self, data: bytes) -> bytes:
        encoders = self._encoders
        return (encoders.small if len(data) < encoders.large_size else encoders.large).encode_alone(data)

    def _encode_large(self, data: bytes) -> tuple[bytes, bytes]:
        """Compress without the connection's own compressor; payload, and the history after it."""
        encoders = self._encoders
        if len(data) < encoders.alone_size:
            return encoders.large.encode_after(self._history, data), history_after(self._history, data)
        return encoders.large.encode_alone(data), history_after(b"", data)

    def _go_on_after(self, history: bytes) -> None:
        self._compressor = None
        self._history = history

    def _compress_on(self, data: bytes, fin: bool) -> bytes:
        """Compress with references to earlier messages, by the connection's own compressor."""
        compressor = self._compressor
        if compressor is None:
            compressor = self._encoders.small.open(self._history)
        # If it fails the peer never sees what it took, so the next one must begin without it.
        self._compressor = None
        payload = _end(compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH), fin)
        self._history = history_after(self._history, data) if self._encoders.needs_history else b""
        self._compressor = compressor
        return payload

    def decompress(self, data: BytesLike | WSFrame, fin: bool, max_size: int | None) -> bytes:
        """Decompress the payload of one frame. After an error the connection has to be closed.

        Args:
            data: The payload.
            fin: Whether the frame is the last of its message.
            max_size: Bytes that may come out; None: any number. No more than one byte above is ever decompressed.

        Raises:
            WSProtocolError: More would come out (1009), or the payload is not DEFLATE (1002).
        """
        decompressor = self._decompressor
        if decompressor is None:
            decompressor = self._new_decompressor()
        self._decompressor = None
        if fin:
            data = b"".join((data, _TAIL))
        max_length = 0 if max_size is None else max_size + 1
        try:
            output = decompressor.decompress(data, max_length)
            if decompressor.eof:
                decompressor, output = self._decompress_on(decompressor, output, fin, max_length)
        except self._engine.error as exc:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "decompression failed") from exc
        if max_size is not None and len(output) > max_size:
            raise self._too_big(max_size)
        if self._window is not None:
            self._window = self._window_after(output)
        self._received_size = 0 if fin else self._received_size + len(output)
        if self._remote_has_takeover or not fin:
            self._decompressor = decompressor
        else:
            self._window = None
        return output

    def _new_decompressor(self, window: bytes = b"") -> Decompressor:
        return self._engine.decompressobj(wbits=self._wbits, **({"zdict": window} if window else {}))

    def _window_after(self, output: bytes) -> bytes:
        return ((self._window or b"") + output)[-(1 << -self._wbits) :]

    def _decompress_on(
        self, decompressor: Decompressor, output: bytes, fin: bool, max_length: int
    ) -> tuple[Decompressor, bytes]:
        """Go on behind a block with BFINAL (RFC 7692 section 7.2.3.4): engines stop there, the window does not.

        A peer that ends the stream does so with every message, so it is early enough to begin to remember the window.
        """
        for _ in range(_MAX_FINAL_BLOCKS):
            rest = decompressor.unused_data
            if not rest or len(output) == max_length:
                break
            decompressor = self._new_decompressor(self._window_after(output))
            # Some peers leave out the octet 00 of the example in the RFC, with which another block would begin.
            if not fin or rest != _TAIL:
                output += decompressor.decompress(rest, max_length and max_length - len(output))
            if not decompressor.eof:
                break
        else:
            raise WSProtocolError(
                WSCloseCode.PROTOCOL_ERROR, f"compressed data ends more than {_MAX_FINAL_BLOCKS} times in one frame"
            )
        if self._window is None:
            self._window = b""
        return decompressor, output

    def _too_big(self, max_size: int) -> WSProtocolError:
        cause = PayloadTooBig(None, max_size, self._received_size or None)
        error = WSProtocolError(WSCloseCode.MESSAGE_TOO_BIG, str(cause))
        error.__cause__ = cause
        return error


def _end(payload: bytes, fin: bool) -> bytes:
    return payload[: -len(_TAIL)] if fin else payload
