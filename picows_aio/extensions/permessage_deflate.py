"""Compression of messages: the permessage-deflate extension (RFC 7692)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from picows import WSCloseCode, WSProtocolError
from picows_aio.deflate import DeflateCodec, DeflateParameters
from picows_aio.exceptions import NegotiationError, PayloadTooBig, ProtocolError
from picows_aio.extensions.base import ClientExtensionFactory, Extension, ServerExtensionFactory
from picows_aio.extensions.deflate_parameters import (
    LEAST_WINDOW_BITS,
    MAX_WINDOW_BITS,
    Parameters,
    check_bits,
    check_compression,
)
from picows_aio.frames import CONT, CTRL_OPCODES, Frame
from picows_aio.typing import ExtensionName, ExtensionParameter

__all__ = [
    "ClientPerMessageDeflateFactory",
    "PerMessageDeflate",
    "ServerPerMessageDeflateFactory",
    "enable_client_permessage_deflate",
    "enable_server_permessage_deflate",
]

T = TypeVar("T", bound=ClientExtensionFactory | ServerExtensionFactory)

_NAME = ExtensionName("permessage-deflate")
_LEAST_OWN_WINDOW_BITS = 9  # a smaller window of ours would hardly compress, so nobody asks for it by intention
_DEFAULT_WINDOW_BITS = 12
_DEFAULT_SETTINGS = {"memLevel": 5}


class PerMessageDeflate(Extension):
    """permessage-deflate on one connection.

    Args:
        remote_no_context_takeover: The peer's messages do not refer to earlier ones.
        local_no_context_takeover: Nor do messages to the peer.
        remote_max_window_bits: Base-2 logarithm of the window for the peer's messages, 8 to 15.
        local_max_window_bits: The same for messages to the peer.
        compress_settings: Arguments for `zlib.compressobj` besides ``wbits``.
        threshold: Bytes of a message from which on it is compressed; None: from where it is worth its time.
        engine: What compresses: "auto", "isal", "zlib-ng" or "zlib".
        is_client_side: Whether this side opened the connection; "auto" then takes what is fast.

    Attributes:
        codec: Compresses and decompresses payloads, for whoever handles frames otherwise than through this class.
    """

    name = _NAME

    def __init__(
        self,
        remote_no_context_takeover: bool,
        local_no_context_takeover: bool,
        remote_max_window_bits: int,
        local_max_window_bits: int,
        compress_settings: Mapping[str, Any] | None = None,
        *,
        threshold: int | None = None,
        engine: str = "auto",
        is_client_side: bool = False,
    ) -> None:
        self.remote_no_context_takeover = remote_no_context_takeover
        self.local_no_context_takeover = local_no_context_takeover
        self.remote_max_window_bits = remote_max_window_bits
        self.local_max_window_bits = local_max_window_bits
        self.compress_settings = compress_settings or {}
        self.codec = DeflateCodec(
            DeflateParameters(
                local_has_takeover=not local_no_context_takeover,
                remote_has_takeover=not remote_no_context_takeover,
                local_window_bits=local_max_window_bits,
                remote_window_bits=remote_max_window_bits,
                settings=self.compress_settings,
                threshold=threshold,
                engine=engine,
                is_client_side=is_client_side,
            )
        )
        self._decodes_message = False
        self._encodes_message = False

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}("
            f"remote_no_context_takeover={self.remote_no_context_takeover}, "
            f"local_no_context_takeover={self.local_no_context_takeover}, "
            f"remote_max_window_bits={self.remote_max_window_bits}, "
            f"local_max_window_bits={self.local_max_window_bits})"
        )

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Decompress a frame, if it belongs to a compressed message.

        Args:
            frame: The frame.
            max_size: Bytes that the payload may have afterwards; None: no limit.

        Raises:
            PayloadTooBig: It would have more.
            ProtocolError: It is not DEFLATE, or it is a continuation with the first reserved bit.
        """
        if frame.opcode in CTRL_OPCODES:
            return frame
        if frame.opcode != CONT:
            self._decodes_message = frame.rsv1
        elif frame.rsv1:
            raise ProtocolError("continuation frame with reserved bit 1")
        if not self._decodes_message:
            return frame
        try:
            data = self.codec.decompress(frame.data, frame.fin, max_size)
        except WSProtocolError as exc:
            if max_size is not None and exc.code == WSCloseCode.MESSAGE_TOO_BIG:
                raise PayloadTooBig(None, max_size) from None
            raise ProtocolError(exc.message) from exc.__cause__
        return dataclasses.replace(frame, data=data, rsv1=False)

    def encode(self, frame: Frame) -> Frame:
        """Compress a frame, if it is large enough or one of several of its message.

        Args:
            frame: The frame.
        """
        if frame.opcode in CTRL_OPCODES:
            return frame
        if frame.opcode != CONT:
            self._encodes_message = not frame.fin or self.codec.is_worthwhile(frame.data)
        if not self._encodes_message:
            return frame
        # RFC 7692 section 6.1: only the first frame of a message says that it is compressed.
        return dataclasses.replace(frame, data=self.codec.compress(frame.data, frame.fin), rsv1=frame.opcode != CONT)


class ClientPerMessageDeflateFactory(ClientExtensionFactory):
    """Offers permessage-deflate.

    Args:
        server_no_context_takeover: Demand that the server's messages do not refer to earlier ones.
        client_no_context_takeover: Announce the same of the client's.
        server_max_window_bits: Base-2 logarithm of the largest window that the server may use, 8 to 15; None: any.
        client_max_window_bits: The same for the client, 9 to 15; True: whatever the server asks for; None: it may not
            ask.
        compress_settings: Arguments for `zlib.compressobj` besides ``wbits``.
        threshold: Bytes of a message from which on it is compressed; None: from where it is worth its time.
        engine: What compresses: "auto", "isal", "zlib-ng" or "zlib".

    Raises:
        ValueError, TypeError: A value is not possible, or the engine cannot have these settings.
        ImportError: The engine is not installed.
    """

    name = _NAME

    def __init__(
        self,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
        client_max_window_bits: int | Literal[True] | None = True,
        compress_settings: Mapping[str, Any] | None = None,
        *,
        threshold: int | None = None,
        engine: str = "auto",
    ) -> None:
        if server_max_window_bits is not None:
            check_bits("server_max_window_bits", server_max_window_bits, LEAST_WINDOW_BITS)
        if client_max_window_bits is not None and client_max_window_bits is not True:
            check_bits("client_max_window_bits", client_max_window_bits, _LEAST_OWN_WINDOW_BITS)
        check_compression("client_max_window_bits", compress_settings, threshold, engine)
        self.server_no_context_takeover = server_no_context_takeover
        self.client_no_context_takeover = client_no_context_takeover
        self.server_max_window_bits = server_max_window_bits
        self.client_max_window_bits = client_max_window_bits
        self.compress_settings = compress_settings
        self.threshold = threshold
        self.engine = engine

    def get_request_params(self) -> Sequence[ExtensionParameter]:
        """Parameters of the offer."""
        return Parameters(
            self.server_no_context_takeover,
            self.client_no_context_takeover,
            self.server_max_window_bits,
            self.client_max_window_bits,
        ).build()

    def process_response_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> PerMessageDeflate:
        """The extension as the server answered the offer.

        Args:
            params: Parameters in the response.
            accepted_extensions: Extensions that come before it in the response.

        Raises:
            NegotiationError: The response goes against the offer (RFC 7692 section 5.1).
        """
        if any(extension.name == self.name for extension in accepted_extensions):
            raise NegotiationError(f"received duplicate {self.name}")
        chosen = Parameters.parse(params, is_offer=False)
        if self.server_no_context_takeover and not chosen.server_no_context_takeover:
            raise NegotiationError("expected server_no_context_takeover")
        return PerMessageDeflate(
            chosen.server_no_context_takeover,
            self.client_no_context_takeover or chosen.client_no_context_takeover,
            self._server_window_bits(chosen.server_max_window_bits),
            self._client_window_bits(chosen.client_max_window_bits),
            self.compress_settings,
            threshold=self.threshold,
            engine=self.engine,
            is_client_side=True,
        )

    def _server_window_bits(self, chosen: int | None) -> int:
        """RFC 7692 section 7.1.2.1: a server that was offered a limit must answer with one that is no larger."""
        limit = self.server_max_window_bits
        if limit is not None and chosen is None:
            raise NegotiationError("expected server_max_window_bits")
        if limit is not None and chosen is not None and chosen > limit:
            raise NegotiationError("unsupported server_max_window_bits")
        return chosen or MAX_WINDOW_BITS

    def _client_window_bits(self, chosen: int | None) -> int:
        """RFC 7692 section 7.1.2.2: a server may ask only if that was offered, and not for more."""
        limit = self.client_max_window_bits
        if limit is None and chosen is not None:
            raise NegotiationError("unexpected client_max_window_bits")
        if limit is None or limit is True:
            return chosen or MAX_WINDOW_BITS
        if chosen is not None and chosen > limit:
            raise NegotiationError("unsupported client_max_window_bits")
        return chosen or limit


class ServerPerMessageDeflateFactory(ServerExtensionFactory):
    """Accepts permessage-deflate.

    Args:
        server_no_context_takeover: The server's messages do not refer to earlier ones, even if the client allows it.
        client_no_context_takeover: Demand the same of the client.
        server_max_window_bits: Base-2 logarithm of the largest window that the server uses, 9 to 15; None: what the
            client allows.
        client_max_window_bits: Largest one that the client may use, 8 to 15, if it lets the server ask; None: any.
        compress_settings: Arguments for `zlib.compressobj` besides ``wbits``.
        require_client_max_window_bits: Decline offers of clients that do not let the server ask.
        threshold: Bytes of a message from which on it is compressed; None: from where it is worth its time.
        engine: What compresses: "auto", "isal", "zlib-ng" or "zlib".

    Raises:
        ValueError, TypeError: A value is not possible, or the engine cannot have these settings.
        ImportError: The engine is not installed.
    """

    name = _NAME

    def __init__(
        self,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
        client_max_window_bits: int | None = None,
        compress_settings: Mapping[str, Any] | None = None,
        require_client_max_window_bits: bool = False,
        *,
        threshold: int | None = None,
        engine: str = "auto",
    ) -> None:
        if server_max_window_bits is not None:
            check_bits("server_max_window_bits", server_max_window_bits, _LEAST_OWN_WINDOW_BITS)
        if client_max_window_bits is not None:
            check_bits("client_max_window_bits", client_max_window_bits, LEAST_WINDOW_BITS)
        elif require_client_max_window_bits:
            raise ValueError("require_client_max_window_bits needs client_max_window_bits")
        check_compression("server_max_window_bits", compress_settings, threshold, engine)
        self.server_no_context_takeover = server_no_context_takeover
        self.client_no_context_takeover = client_no_context_takeover
        self.server_max_window_bits = server_max_window_bits
        self.client_max_window_bits = client_max_window_bits
        self.compress_settings = compress_settings
        self.require_client_max_window_bits = require_client_max_window_bits
        self.threshold = threshold
        self.engine = engine

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        """Parameters of the response, and the extension with them.

        Args:
            params: Parameters of the offer.
            accepted_extensions: Extensions that were accepted before it.

        Raises:
            NegotiationError: The offer is not one that RFC 7692 allows, or not acceptable.
        """
        if any(extension.name == self.name for extension in accepted_extensions):
            raise NegotiationError(f"skipped duplicate {self.name}")
        offered = Parameters.parse(params, is_offer=True)
        chosen = Parameters(
            self.server_no_context_takeover or offered.server_no_context_takeover,
            self.client_no_context_takeover or offered.client_no_context_takeover,
            _least(self.server_max_window_bits, offered.server_max_window_bits),
            self._client_window_bits(offered.client_max_window_bits),
        )
        return chosen.build(), PerMessageDeflate(
            chosen.client_no_context_takeover,
            chosen.server_no_context_takeover,
            chosen.client_max_window_bits or MAX_WINDOW_BITS,
            chosen.server_max_window_bits or MAX_WINDOW_BITS,
            self.compress_settings,
            threshold=self.threshold,
            engine=self.engine,
        )

    def _client_window_bits(self, offered: int | Literal[True] | None) -> int | None:
        """RFC 7692 section 7.1.2.2: a server may ask only if the client offers it, and not for more."""
        if offered is None:
            if self.require_client_max_window_bits:
                raise NegotiationError("required client_max_window_bits")
            return None
        return _least(self.client_max_window_bits, None if offered is True else offered)


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def enable_client_permessage_deflate(
    extensions: Sequence[ClientExtensionFactory] | None,
) -> list[ClientExtensionFactory]:
    """Add an offer of permessage-deflate, unless there is one.

    Args:
        extensions: What the program offers.

    Returns:
        A new list. The server may ask for a smaller window than the largest one.
    """
    return _with(extensions, lambda: ClientPerMessageDeflateFactory(compress_settings=_DEFAULT_SETTINGS))


def enable_server_permessage_deflate(
    extensions: Sequence[ServerExtensionFactory] | None,
) -> list[ServerExtensionFactory]:
    """Accept permessage-deflate too, unless that is among the extensions already.

    Args:
        extensions: What the program accepts.

    Returns:
        A new list. Windows have 12 bits, and compressors the memory level 5.
    """
    return _with(
        extensions,
        lambda: ServerPerMessageDeflateFactory(
            server_max_window_bits=_DEFAULT_WINDOW_BITS,
            client_max_window_bits=_DEFAULT_WINDOW_BITS,
            compress_settings=_DEFAULT_SETTINGS,
        ),
    )


def _with(extensions: Sequence[T] | None, make_factory: Callable[[], T]) -> list[T]:
    present = list(extensions or ())
    return present if any(factory.name == _NAME for factory in present) else [*present, make_factory()]
