"""Headers of the opening handshake: reading and writing their values."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from picows_aio.exceptions import InvalidHeaderFormat, InvalidHeaderValue
from picows_aio.typing import (
    ConnectionOption,
    ExtensionHeader,
    ExtensionName,
    ExtensionParameter,
    Subprotocol,
    UpgradeProtocol,
)

__all__ = [
    "build_authorization_basic",
    "build_extension",
    "build_host",
    "build_subprotocol",
    "build_www_authenticate_basic",
    "parse_authorization_basic",
    "parse_connection",
    "parse_extension",
    "parse_subprotocol",
    "parse_upgrade",
    "validate_subprotocols",
]

T = TypeVar("T")

# RFC 9110 sections 5.6 and 11.2.
_TOKEN_PATTERN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TOKEN = re.compile(_TOKEN_PATTERN)
_PROTOCOL = re.compile(rf"{_TOKEN_PATTERN}(?:/{_TOKEN_PATTERN})?")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_QUOTED_STRING = re.compile(r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"')
_QUOTABLE = re.compile(r"[\t -~\x80-\xff]*")
_ESCAPED = re.compile(r"\\(.)")
_NEEDS_ESCAPE = re.compile(r'(["\\])')
_SPACE = re.compile(r"[ \t]*")


class _Reader:
    """Reads one header value from left to right."""

    def __init__(self, name: str, value: str) -> None:
        self._name = name
        self._value = value
        self._pos = 0

    @property
    def is_at_end(self) -> bool:
        return self._pos == len(self._value)

    def skip(self, char: str) -> bool:
        """Take `char` if it is next."""
        found = self._value.startswith(char, self._pos)
        self._pos += found
        return found

    def skip_space(self) -> None:
        self._match(_SPACE)

    def take(self, pattern: re.Pattern[str], expected: str) -> str:
        """Take what matches, or fail."""
        return self._match(pattern) or self.fail(expected)

    def take_token(self) -> str:
        return self.take(_TOKEN, "expected token")

    def take_parameter_value(self) -> str:
        """A token, or a quoted string that holds one: RFC 6455 section 9.1 allows nothing else in it."""
        start = self._pos
        if not self._value.startswith('"', start):
            return self.take_token()
        quoted = self.take(_QUOTED_STRING, "expected quoted string")
        token = _ESCAPED.sub(r"\1", quoted[1:-1])
        if _TOKEN.fullmatch(token) is None:
            self._pos = start
            self.fail("invalid quoted header content")
        return token

    def take_list(self, take_item: Callable[[], T]) -> list[T]:
        """A list of at least one item, separated by commas; empty elements do not count (RFC 9110 section 5.6.1.2)."""
        self._skip_commas()
        items = [take_item()]
        while not self._is_list_at_end():
            items.append(take_item())
        return items

    def fail(self, error: str) -> NoReturn:
        raise InvalidHeaderFormat(self._name, error, self._value, self._pos)

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._value, self._pos)
        if match is None:
            return ""
        self._pos = match.end()
        return match[0]

    def _skip_commas(self) -> None:
        while self.skip(","):
            self.skip_space()

    def _is_list_at_end(self) -> bool:
        self.skip_space()
        if not self.is_at_end and not self.skip(","):
            self.fail("expected comma")
        self.skip_space()
        self._skip_commas()
        return self.is_at_end


def parse_connection(header: str) -> list[ConnectionOption]:
    """Parse a Connection header (RFC 9110 section 7.6.1).

    Args:
        header: Value of the header.

    Raises:
        InvalidHeaderFormat: It is not a list of tokens.
    """
    reader = _Reader("Connection", header)
    return reader.take_list(lambda: ConnectionOption(reader.take_token()))


def parse_upgrade(header: str) -> list[UpgradeProtocol]:
    """Parse an Upgrade header (RFC 9110 section 7.8).

    Args:
        header: Value of the header.

    Raises:
        InvalidHeaderFormat: It is not a list of protocols.
    """
    reader = _Reader("Upgrade", header)
    return reader.take_list(lambda: UpgradeProtocol(reader.take(_PROTOCOL, "expected protocol")))


def parse_extension(header: str) -> list[ExtensionHeader]:
    """Parse a Sec-WebSocket-Extensions header (RFC 6455 section 9.1).

    Args:
        header: Value of the header.

    Returns:
        For each extension its name and its parameters, each with its value or None.

    Raises:
        InvalidHeaderFormat: It is not a list of extensions.
    """
    reader = _Reader("Sec-WebSocket-Extensions", header)

    def take_parameter() -> ExtensionParameter:
        reader.skip_space()
        name = reader.take_token()
        reader.skip_space()
        if not reader.skip("="):
            return name, None
        reader.skip_space()
        value = reader.take_parameter_value()
        reader.skip_space()
        return name, value

    def take_extension() -> ExtensionHeader:
        name = reader.take_token()
        reader.skip_space()
        parameters = []
        while reader.skip(";"):
            parameters.append(take_parameter())
        return ExtensionName(name), parameters

    return reader.take_list(take_extension)


def build_extension(extensions: Sequence[ExtensionHeader]) -> str:
    """Build a Sec-WebSocket-Extensions header: the reverse of `parse_extension`.

    Args:
        extensions: For each extension its name and its parameters.

    Raises:
        ValueError: A name or a value is not a token.
    """
    return ", ".join("; ".join([_token(name), *map(_build_parameter, parameters)]) for name, parameters in extensions)


def _build_parameter(parameter: ExtensionParameter) -> str:
    name, value = parameter
    return _token(name) if value is None else f"{_token(name)}={_token(str(value))}"


def _token(text: str) -> str:
    if _TOKEN.fullmatch(text) is None:
        raise ValueError(f"{text!r} in an extension is not a token")
    return text


def parse_subprotocol(header: str) -> list[Subprotocol]:
    """Parse a Sec-WebSocket-Protocol header (RFC 6455 section 11.3.4).

    Args:
        header: Value of the header.

    Raises:
        InvalidHeaderFormat: It is not a list of tokens.
    """
    reader = _Reader("Sec-WebSocket-Protocol", header)
    return reader.take_list(lambda: Subprotocol(reader.take_token()))


def build_subprotocol(subprotocols: Sequence[Subprotocol]) -> str:
    """Build a Sec-WebSocket-Protocol header: the reverse of `parse_subprotocol`.

    Args:
        subprotocols: The names, in order of preference.

    Raises:
        ValueError, TypeError: As `validate_subprotocols`.
    """
    validate_subprotocols(subprotocols)
    return ", ".join(subprotocols)


def validate_subprotocols(subprotocols: Sequence[Subprotocol]) -> None:
    """Check a list of subprotocols.

    Args:
        subprotocols: What the user gave.

    Raises:
        TypeError: It is not a list, or an item is not a str.
        ValueError: An item is not a token.
    """
    if not isinstance(subprotocols, Sequence) or isinstance(subprotocols, str | bytes):
        raise TypeError(f"subprotocols must be a list, not a {type(subprotocols).__name__}")
    for subprotocol in subprotocols:
        if not isinstance(subprotocol, str):
            raise TypeError(f"subprotocols must be a list of str, not of {type(subprotocol).__name__}")
        if _TOKEN.fullmatch(subprotocol) is None:
            raise ValueError(f"invalid subprotocol: {subprotocol}")


def build_host(host: str, port: int, secure: bool, *, always_include_port: bool = False) -> str:
    """Build a Host header (RFC 6455 section 4.1, item 4).

    Args:
        host: Host name or IP address; the zone of an IPv6 address stays on this machine (RFC 6874 section 4).
        port: Port.
        secure: Whether the connection uses TLS, which has another default port.
        always_include_port: Write the port even if it is the default one.
    """
    if ":" in host and not host.startswith("["):
        host = f"[{host.partition('%')[0]}]"
    return f"{host}:{port}" if always_include_port or port != (443 if secure else 80) else host


def build_www_authenticate_basic(realm: str) -> str:
    """Build a WWW-Authenticate header that asks for HTTP Basic authentication (RFC 7617 section 2).

    Args:
        realm: What the user and the password are for.

    Raises:
        ValueError: The realm has a character that HTTP does not allow in a quoted string.
    """
    if _QUOTABLE.fullmatch(realm) is None:
        raise ValueError(f"realm {realm!r} has a character that a quoted string cannot hold")
    escaped = _NEEDS_ESCAPE.sub(r"\\\1", realm)
    return f'Basic realm="{escaped}", charset="UTF-8"'


def build_authorization_basic(username: str, password: str) -> str:
    """Build an Authorization header for HTTP Basic authentication (RFC 7617 section 2), in UTF-8.

    Args:
        username: User; surrogates stand for bytes that are not UTF-8.
        password: Password, the same.

    Raises:
        ValueError: The user has a colon, which would end it.
    """
    if ":" in username:
        raise ValueError("username has a colon, which HTTP Basic authentication cannot carry")
    credentials = f"{username}:{password}".encode("utf-8", "surrogateescape")
    return "Basic " + base64.b64encode(credentials).decode("ascii")


def parse_authorization_basic(header: str) -> tuple[str, str]:
    """Parse an Authorization header for HTTP Basic authentication (RFC 7617 section 2).

    Args:
        header: Value of the header.

    Returns:
        User and password; surrogates stand for bytes that are not UTF-8.

    Raises:
        InvalidHeaderFormat: It does not follow the grammar.
        InvalidHeaderValue: It uses another scheme, or does not hold a user and a password.
    """
    name = "Authorization"
    reader = _Reader(name, header)
    scheme = reader.take_token()
    if scheme.lower() != "basic":
        raise InvalidHeaderValue(name, f"unsupported scheme: {scheme}")
    if not reader.skip(" "):
        reader.fail("expected space after scheme")
    encoded = reader.take(_TOKEN68, "expected token68")
    if not reader.is_at_end:
        reader.fail("trailing data")
    try:
        credentials = base64.b64decode(encoded, validate=True).decode("utf-8", "surrogateescape")
    except binascii.Error:
        raise InvalidHeaderValue(name, "expected base64-encoded credentials") from None
    username, colon, password = credentials.partition(":")
    if not colon:
        raise InvalidHeaderValue(name, "expected username:password credentials")
    return username, password
