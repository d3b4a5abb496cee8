"""WebSocket URIs (RFC 6455 section 3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from picows import WSInvalidURL
from picows.url import parse_url
from picows_aio.exceptions import InvalidURI

__all__ = ["WebSocketURI", "parse_uri"]


@dataclass
class WebSocketURI:
    """The parts of a WebSocket URI.

    Attributes:
        secure: True for wss, False for ws.
        host: Host in lower case, without the brackets of an IPv6 address, IDNA-encoded.
        port: Port; the default one of the scheme if the URI has none.
        path: Percent-encoded path, maybe empty.
        query: Percent-encoded query, maybe empty.
        username: Percent-decoded user, or None.
        password: Percent-decoded password, or None.
    """

    secure: bool
    host: str
    port: int
    path: str
    query: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def resource_name(self) -> str:
        """Path and query as the request line carries them; never empty."""
        path = self.path or "/"
        return f"{path}?{self.query}" if self.query else path

    @property
    def user_info(self) -> tuple[str, str] | None:
        """User and password, or None."""
        if self.username is None or self.password is None:
            return None
        return self.username, self.password


def parse_uri(uri: str) -> WebSocketURI:
    """Parse a WebSocket URI or IRI.

    Host, path and query of an IRI are encoded (RFC 3987 section 3.1). Space around the URI is ignored.

    Args:
        uri: The URI.

    Raises:
        InvalidURI: It is not a WebSocket URI.
    """
    if not isinstance(uri, str):
        raise InvalidURI(uri, f"it is not a str, but of type {type(uri).__name__}")
    if uri.partition(":")[0].strip().lower() not in {"ws", "wss"}:
        raise InvalidURI(uri, "scheme isn't ws or wss")
    if "#" in uri:
        raise InvalidURI(uri, "fragment identifier is meaningless")
    try:
        parsed = parse_url(uri.strip())
    except WSInvalidURL as exc:
        # Without the cause, which would print the password that this one leaves out.
        raise InvalidURI(uri, exc.msg) from None
    if parsed.username is not None and parsed.password is None:
        raise InvalidURI(uri, "username provided without password")
    return WebSocketURI(
        secure=parsed.is_secure,
        host=parsed.host,
        port=parsed.port,
        path=parsed.path,
        query=parsed.query,
        username=parsed.username,
        password=parsed.password,
    )
