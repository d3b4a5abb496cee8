"""Origins, extensions and subprotocols: what the headers of the opening handshake settle (RFC 6455 section 4)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import picows
from picows_aio.datastructures import Headers
from picows_aio.exceptions import InvalidHeader, InvalidOrigin, NegotiationError
from picows_aio.extensions.base import ClientExtensionFactory, Extension, ServerExtensionFactory
from picows_aio.headers import build_extension, build_subprotocol, parse_extension, parse_subprotocol
from picows_aio.typing import ExtensionHeader, ExtensionName, Origin, Subprotocol

_EXTENSIONS = "Sec-WebSocket-Extensions"
_SUBPROTOCOLS = "Sec-WebSocket-Protocol"

# Clients


def build_offer(
    headers: Headers, extensions: Sequence[ClientExtensionFactory], subprotocols: Sequence[Subprotocol]
) -> None:
    """Add what a client offers to its request.

    Args:
        headers: Headers of the request.
        extensions: Extensions, in order of preference.
        subprotocols: Subprotocols, in order of preference.
    """
    if extensions:
        headers[_EXTENSIONS] = build_extension([(factory.name, factory.get_request_params()) for factory in extensions])
    if subprotocols:
        headers[_SUBPROTOCOLS] = build_subprotocol(subprotocols)


def choose_offered_extensions(headers: Headers, factories: Sequence[ClientExtensionFactory]) -> list[Extension]:
    """The extensions that a server chose (RFC 6455 section 9.1), in the order of the header.

    Args:
        headers: Headers of the response.
        factories: What was offered.

    Raises:
        NegotiationError: One of them was not offered, or not with these parameters.
        InvalidHeaderFormat: The header does not follow its grammar.
    """
    if headers.get_all(_EXTENSIONS) and not factories:
        raise NegotiationError("no extensions supported")
    accepted: list[Extension] = []
    for name, params in _parse_extensions(headers):
        accepted.append(_process_response(name, list(params), factories, accepted))
    return accepted


def _process_response(
    name: ExtensionName,
    params: list[tuple[str, str | None]],
    factories: Sequence[ClientExtensionFactory],
    accepted: Sequence[Extension],
) -> Extension:
    """The response belongs to the first offer that it fits."""
    cause = None
    for factory in factories:
        if factory.name == name:
            try:
                return factory.process_response_params(params, accepted)
            except NegotiationError as exc:
                cause = exc
    raise NegotiationError(f"Unsupported extension: name = {name}, params = {params}") from cause


def choose_offered_subprotocol(headers: Headers, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
    """The subprotocol that a server chose, if any (RFC 6455 section 4.1).

    Args:
        headers: Headers of the response.
        subprotocols: What was offered.

    Raises:
        NegotiationError: It was not offered.
        InvalidHeader: There is more than one.
    """
    if headers.get_all(_SUBPROTOCOLS) and not subprotocols:
        raise NegotiationError("no subprotocols supported")
    chosen = _parse_subprotocols(headers)
    if not chosen:
        return None
    if len(chosen) > 1:
        raise InvalidHeader(_SUBPROTOCOLS, f"multiple values: {', '.join(chosen)}")
    if chosen[0] not in subprotocols:
        raise NegotiationError(f"unsupported subprotocol: {chosen[0]}")
    return chosen[0]


# Servers


class OfferedHeaders:
    """The headers of a request that are negotiated, of one in the usual form: the others are never looked at.

    Args:
        request: A core request that has an offer.
    """

    __slots__ = ("_values",)

    def __init__(self, request: picows.WSUpgradeRequest) -> None:
        offer = request.offer
        assert offer is not None
        self._values = {"Origin": offer.origin, _EXTENSIONS: offer.extensions, _SUBPROTOCOLS: offer.subprotocols}

    def get_all(self, key: str) -> list[str]:
        """All values of a header, as `Headers.get_all`.

        Args:
            key: Name of one of them.
        """
        value = self._values[key]
        return [] if value is None else [value]


def check_origin(
    headers: Headers | OfferedHeaders, origins: Sequence[Origin | str | re.Pattern[str] | None] | None
) -> None:
    """Check where the page that connects comes from (RFC 6455 section 10.2).

    Args:
        headers: Headers of the request.
        origins: Acceptable values: a str or a compiled pattern that the whole of it matches; None in the list stands
            for requests without the header. None instead of a list: everything is acceptable.

    Raises:
        InvalidOrigin: The origin is not acceptable.
        InvalidHeader: There is more than one.
    """
    values = headers.get_all("Origin")
    if len(values) > 1:
        raise InvalidHeader("Origin", "multiple values")
    origin = values[0] if values else None
    if origins is not None and not any(_is_origin(acceptable, origin) for acceptable in origins):
        raise InvalidOrigin(origin)


def _is_origin(acceptable: str | re.Pattern[str] | None, origin: str | None) -> bool:
    if isinstance(acceptable, re.Pattern):
        return origin is not None and acceptable.fullmatch(origin) is not None
    return acceptable == origin


def accept_extensions(
    headers: Headers | OfferedHeaders, factories: Sequence[ServerExtensionFactory]
) -> tuple[list[Extension], str | None]:
    """The extensions among those a client offers that a server accepts (RFC 6455 section 9.1).

    Args:
        headers: Headers of the request.
        factories: What the server can accept, in order of preference.

    Returns:
        The extensions, in the client's order, and the header of the response; None: no header.

    Raises:
        InvalidHeaderFormat: The header does not follow its grammar.
    """
    if not factories:
        return [], None
    accepted: list[Extension] = []
    answers: list[ExtensionHeader] = []
    for name, params in _parse_extensions(headers):
        for factory in factories:
            if factory.name == name:
                try:
                    answer, extension = factory.process_request_params(list(params), accepted)
                except NegotiationError:
                    # Declining is silent: the client sees what was accepted.
                    continue
                accepted.append(extension)
                answers.append((name, answer))
                break
    return accepted, build_extension(answers) if answers else None


def select_subprotocol(
    connection: Any,
    headers: Headers | OfferedHeaders,
    subprotocols: Sequence[Subprotocol] | None,
    select: Callable[[Any, Sequence[Subprotocol]], Subprotocol | None] | None = None,
) -> Subprotocol | None:
    """The subprotocol of a connection, if any (RFC 6455 section 4.2.2).

    Args:
        connection: What `select` is called with.
        headers: Headers of the request.
        subprotocols: What the server speaks, in order of preference; if it speaks any, a client must offer one of them.
        select: Chooses instead, from what the client offers, which may be nothing.

    Raises:
        NegotiationError: They have none in common.
        InvalidHeaderFormat: The header does not follow its grammar.
    """
    offered = _parse_subprotocols(headers)
    if select is not None:
        return select(connection, offered)
    if not subprotocols:
        return None
    for subprotocol in subprotocols:
        if subprotocol in offered:
            return subprotocol
    if not offered:
        raise NegotiationError("missing subprotocol")
    raise NegotiationError(f"invalid subprotocol; expected one of {', '.join(subprotocols)}")


def _parse_extensions(headers: Headers | OfferedHeaders) -> list[ExtensionHeader]:
    return [extension for value in headers.get_all(_EXTENSIONS) for extension in _extensions_of(value)]


@functools.lru_cache(maxsize=32)
def _extensions_of(value: str) -> list[ExtensionHeader]:
    """Clients make a handful of offers between them. Not to be changed."""
    return parse_extension(value)


def _parse_subprotocols(headers: Headers | OfferedHeaders) -> list[Subprotocol]:
    return [subprotocol for value in headers.get_all(_SUBPROTOCOLS) for subprotocol in parse_subprotocol(value)]
