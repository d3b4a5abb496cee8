"""Parameters of permessage-deflate (RFC 7692 section 7.1): reading, writing and checking them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from picows_aio.deflate_engines import check_settings
from picows_aio.exceptions import DuplicateParameter, InvalidParameterName, InvalidParameterValue
from picows_aio.typing import ExtensionParameter

LEAST_WINDOW_BITS = 8
MAX_WINDOW_BITS = 15

_TAKEOVER_PARAMETERS = ("server_no_context_takeover", "client_no_context_takeover")
_WINDOW_PARAMETERS = ("server_max_window_bits", "client_max_window_bits")
# Section 7.1.2: decimal, without leading zeros.
_WINDOW_VALUES = {str(bits): bits for bits in range(LEAST_WINDOW_BITS, MAX_WINDOW_BITS + 1)}


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of an offer or of a response.

    Attributes:
        server_no_context_takeover: The server's messages do not refer to earlier ones.
        client_no_context_takeover: Nor do the client's.
        server_max_window_bits: Base-2 logarithm of the largest window for the server's messages, or None.
        client_max_window_bits: The same for the client's; True in an offer that lets the server choose.
    """

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int | None = None
    client_max_window_bits: int | Literal[True] | None = None

    @classmethod
    def parse(cls, params: Sequence[ExtensionParameter], *, is_offer: bool) -> Self:
        """Check parameters as they were received.

        Args:
            params: Names and values.
            is_offer: Whether a client sent them.

        Raises:
            DuplicateParameter, InvalidParameterName, InvalidParameterValue: They are not what RFC 7692 allows.
        """
        found: dict[str, Any] = {}
        for name, value in params:
            if name in found:
                raise DuplicateParameter(name)
            if name in _TAKEOVER_PARAMETERS:
                if value is not None:
                    raise InvalidParameterValue(name, value)
                found[name] = True
            elif name in _WINDOW_PARAMETERS:
                if value is None and name == "client_max_window_bits" and is_offer:
                    found[name] = True
                elif value in _WINDOW_VALUES:
                    found[name] = _WINDOW_VALUES[value]
                else:
                    raise InvalidParameterValue(name, value)
            else:
                raise InvalidParameterName(name)
        return cls(**found)

    def build(self) -> list[ExtensionParameter]:
        """As they are sent."""
        params: list[ExtensionParameter] = []
        params += [(name, None) for name in _TAKEOVER_PARAMETERS if getattr(self, name)]
        for name in _WINDOW_PARAMETERS:
            bits = getattr(self, name)
            if bits is not None:
                params.append((name, None if bits is True else str(bits)))
        return params


def check_bits(name: str, bits: int, least: int) -> None:
    """Check a window that a program asks for.

    Args:
        name: Name of the parameter.
        bits: Base-2 logarithm of the window.
        least: The smallest that is possible.

    Raises:
        ValueError, TypeError: It is not a possible one.
    """
    if not isinstance(bits, int):
        raise TypeError(f"{name} must be a number of bits, not {bits!r}")
    if isinstance(bits, bool) or not least <= bits <= MAX_WINDOW_BITS:
        raise ValueError(f"{name} must be between {least} and {MAX_WINDOW_BITS}, not {bits!r}")


def check_compression(
    window_parameter: str, settings: Mapping[str, Any] | None, threshold: int | None, engine: str
) -> None:
    """Check what a program asks for besides.

    Args:
        window_parameter: What sets the window, which is not among the settings.
        settings: Arguments for `zlib.compressobj`.
        threshold: Bytes of a message from which on it is compressed, or None.
        engine: Name of the engine.

    Raises:
        ValueError, TypeError: It is not possible.
        ImportError: The engine is not installed.
    """
    settings = settings or {}
    if "wbits" in settings:
        raise ValueError(f"compress_settings must not include wbits, set {window_parameter} instead")
    if "zdict" in settings:
        raise ValueError("compress_settings must not include zdict, which the peer would have to know")
    if threshold is not None and threshold < 0:
        raise ValueError(f"threshold must be a number of bytes, not {threshold!r}")
    check_settings(engine, settings)
