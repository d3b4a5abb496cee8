"""WebSocket URLs (RFC 6455 section 3) and what the opening handshake needs of them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import quote, unquote

from picows.errors import WSInvalidURL

_DEFAULT_PORTS = {"ws": 80, "wss": 443}
# RFC 3986 appendix B: scheme, authority, path, query. Own, as what urlsplit refuses differs from Python to Python.
_PARTS = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?]*))?([^?]*)(?:\?(.*))?", re.DOTALL)
_SPACE_OR_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DNS_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# What inet_aton, and so the resolver, would take for an IPv4 address in one of its historic notations.
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
# IDNA 2003 (Python's codec) maps these away, IDNA 2008 keeps them: the two name different hosts.
_IDNA_DEVIATIONS = re.compile("[\u00df\u03c2\u200c\u200d]")
_VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class WSParsedURL:
    """The parts of a ws:// or wss:// URL.

    Attributes:
        url: The URL as it was given.
        scheme: "ws" or "wss".
        is_secure: True for wss.
        netloc: Authority part as it was given: user, password, host and port.
        host: Lower-case host for the resolver: without brackets, an IPv6 zone as `%zone`, IDNA-encoded.
        port: Port, the default one of the scheme if the URL has none.
        path: Percent-encoded path; empty if the URL has none.
        query: Percent-encoded query without the question mark; empty if the URL has none.
        username: Percent-decoded user, or None.
        password: Percent-decoded password, or None.
    """

    url: str = field(repr=False)
    scheme: str
    is_secure: bool
    netloc: str = field(repr=False)
    host: str
    port: int
    path: str
    query: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def resource_name(self) -> str:
        """Path and query as the request line carries them (RFC 6455 section 3); never empty."""
        path = self.path or "/"
        return f"{path}?{self.query}" if self.query else path

    @property
    def user_info(self) -> tuple[str, str] | None:
        """User and password, or None unless the URL has both."""
        if self.username is None or self.password is None:
            return None
        return self.username, self.password

    @property
    def authority(self) -> str:
        """Host and port as a Host header carries them, with IPv6 in brackets, no default port and no zone.

        A zone means something on this machine only and is not sent (RFC 6874 section 4).
        """
        host = f"[{self.host.partition('%')[0]}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(url: str) -> WSParsedURL:
    """Parse a WebSocket URL.

    The path and the query are percent-encoded where they hold other than visible ASCII characters. User and
    password are percent-decoded.

    Raises:
        WSInvalidURL: Another scheme than ws or wss, no host or a bad one, a port outside 1 to 65535, a fragment,
            a space or control character anywhere, or a user that HTTP Basic authentication cannot carry.
        TypeError: The URL is not a str.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    try:
        return _parse(url)
    except ValueError as exc:
        raise WSInvalidURL(url, str(exc)) from exc


def _parse(url: str) -> WSParsedURL:
    bad = _SPACE_OR_CONTROL.search(url)
    if bad is not None:
        _refuse(f"character {bad[0]!r} at position {bad.start()} must be percent-encoded")
    if "#" in url:
        _refuse("a fragment has no meaning here; a literal # is written %23")
    parts = _PARTS.fullmatch(url)
    assert parts is not None
    scheme, authority, path, query = parts.groups("")
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        _refuse(f"scheme is {scheme!r}, not ws or wss" if scheme else "it doesn't start with ws:// or wss://")
    user_info, at, host_port = authority.rpartition("@")
    username, password = _split_user_info(user_info) if at else (None, None)
    host, port_text = _split_port(host_port)
    return WSParsedURL(
        url=url,
        scheme=scheme,
        is_secure=scheme == "wss",
        netloc=authority,
        host=_normalize_ipv6(host) if host.startswith("[") else _normalize_name(host),
        port=_parse_port(port_text) if port_text else _DEFAULT_PORTS[scheme],
        path=_encode_non_ascii(path),
        query=_encode_non_ascii(query),
        username=username,
        password=password,
    )


def _refuse(msg: str) -> NoReturn:
    raise ValueError(msg)


def _split_user_info(user_info: str) -> tuple[str, str | None]:
    user, colon, password = user_info.partition(":")
    username = _decode_user_info(user)
    # RFC 7617 section 2: the first colon ends the user-id, so a user-id with one would be read as another user.
    if ":" in username:
        _refuse("user holds a colon, which HTTP Basic authentication cannot carry")
    return username, _decode_user_info(password) if colon else None


def _decode_user_info(text: str) -> str:
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        _refuse("user or password is not percent-encoded UTF-8")
    if _CONTROL.search(decoded):
        _refuse("user or password holds a control character")
    return decoded


def _split_port(host_port: str) -> tuple[str, str]:
    if host_port.startswith("["):
        host, bracket, rest = host_port.partition("]")
        if not bracket:
            _refuse(f"{host_port!r} opens a bracket and doesn't close it")
        if rest and not rest.startswith(":"):
            _refuse(f"{rest!r} after the IPv6 address is not a port")
        return host + bracket, rest[1:]
    host, _, port = host_port.partition(":")
    if ":" in port:
        _refuse(f"{host_port!r} has more than one colon; an IPv6 address is written in brackets")
    return host, port


def _parse_port(text: str) -> int:
    digits = text.lstrip("0")
    if not (text.isascii() and text.isdigit()) or not digits or len(digits) > 5 or int(digits) > 65535:
        _refuse(f"port {text!r} is not a number from 1 to 65535")
    return int(digits)


def _normalize_ipv6(bracketed: str) -> str:
    address, percent, zone = bracketed[1:-1].lower().partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        _refuse(f"{address!r} is not an IPv6 address")
    if not percent:
        return address
    # The zone is case-sensitive, and RFC 6874 writes the percent sign before it as %25.
    zone = unquote(bracketed[1:-1].partition("%")[2].removeprefix("25"))
    if not zone or not zone.isascii() or not zone.isprintable() or set(zone) & set(" %/?#[]@"):
        _refuse(f"{zone!r} is not a zone of an IPv6 address")
    return f"{address}%{zone}"


def _normalize_name(host: str) -> str:
    if not host:
        _refuse("it has no host")
    if not host.isascii():
        host = _encode_idna(host)
    host = host.lower()
    labels = host.removesuffix(".").split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            _refuse(f"{host!r} is not an IPv4 address")
    if len(host) > 253 or not all(map(_DNS_LABEL.fullmatch, labels)):
        _refuse(f"{host!r} is not a host name")
    return host


def _encode_idna(host: str) -> str:
    deviation = _IDNA_DEVIATIONS.search(host)
    if deviation is not None:
        _refuse(f"{deviation[0]!r} names different hosts under IDNA 2003 and 2008; write the host in its xn-- form")
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError as exc:
        _refuse(f"{host!r} is not an internationalized host name: {exc}")


def _encode_non_ascii(text: str) -> str:
    try:
        return quote(text, safe=_VISIBLE_ASCII)
    except UnicodeEncodeError:
        _refuse("path or query holds an unpaired surrogate")
