"""Headers that RFC 6455 defines for the opening handshake: their grammar, and words for what is wrong with them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

from multidict import CIMultiDict

from picows.http_message import TOKEN, shorten, split_list

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(TOKEN)
# RFC 6455 section 9.1. A quoted value is a token too once unquoted, so it holds no comma and lists split at commas.
# Possessive quantifiers keep the match linear.
_QUOTED_TOKEN = r'"(?:\\?[!#$%&\'*+\-.^_`|~0-9A-Za-z])++"'
_PARAMETER = rf";[ \t]*+{TOKEN}+[ \t]*+(?:=[ \t]*+(?:{TOKEN}+|{_QUOTED_TOKEN})[ \t]*+)?"
_EXTENSION = re.compile(rf"({TOKEN}+)[ \t]*+(?:{_PARAMETER})*+")


def compute_accept(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2, step 5.4)."""
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def split_extensions(headers: CIMultiDict[str]) -> list[str]:
    """Names of the extensions in Sec-WebSocket-Extensions.

    Raises:
        ValueError: It does not follow the grammar of RFC 6455 section 9.1.
    """
    return extension_names(headers.getall("Sec-WebSocket-Extensions", ()))


def extension_names(lines: Iterable[str]) -> list[str]:
    """The same for the values of the header."""
    names = []
    for item in split_list(lines):
        match = _EXTENSION.fullmatch(item)
        if match is None:
            raise ValueError(f"Sec-WebSocket-Extensions holds {shorten(item)}, expected name; parameter=value; ...")
        names.append(match[1])
    return names


def split_subprotocols(headers: CIMultiDict[str]) -> list[str]:
    """Subprotocols in Sec-WebSocket-Protocol; unlike other tokens they compare with case (RFC 6455 section 4.1).

    Raises:
        ValueError: One is not a token.
    """
    return subprotocol_names(headers.getall("Sec-WebSocket-Protocol", ()))


def subprotocol_names(lines: Iterable[str]) -> list[str]:
    """The same for the values of the header."""
    names = split_list(lines)
    for name in names:
        if _TOKEN.fullmatch(name) is None:
            raise ValueError(f"Sec-WebSocket-Protocol holds {shorten(name)}, expected tokens")
    return names


def describe(name: str, value: str | None, expected: str) -> str:
    """Say that a header is missing, or what it is instead of what it should be."""
    found = f"missing {name} header" if value is None else f"{name} is {shorten(value)}"
    return f"{found}, expected {expected}"


def describe_offer(names: list[str]) -> str:
    """Say what a peer may choose from."""
    return f"one of the offered: {', '.join(names)}" if names else "none, as none was offered"
