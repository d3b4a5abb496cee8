"""Where a redirect leads and what may go along: the rules of `ws_connect` for 3xx answers, without the connecting."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urljoin

from multidict import CIMultiDict

from picows.errors import WSHandshakeError, WSInvalidHeaderError, WSInvalidStatusError, WSInvalidURL
from picows.url import WSParsedURL, parse_url

# RFC 9110 section 15.4; 300 offers a choice and 304 answers conditional requests, so neither says where to go.
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

# What identifies the user to one server, and the name that was meant for it.
_BOUND_TO_ORIGIN = frozenset({"authorization", "cookie", "proxy-authorization", "host"})


def is_redirect(answer: WSInvalidStatusError) -> bool:
    """Whether the server's answer asks the client to connect elsewhere."""
    return answer.response is not None and int(answer.response.status) in _REDIRECTS


def redirect_target(url: WSParsedURL, answer: WSInvalidStatusError) -> WSParsedURL:
    """The URL that a redirect of the server at ``url`` leads to.

    A relative Location keeps the user and password of ``url``; a Location of another origin never inherits them.

    Raises:
        WSInvalidHeaderError: There is no Location header, or more than one.
        WSInvalidURL: The Location is not a WebSocket URL.
        WSHandshakeError: It leads from wss:// to ws://.
    """
    location = _location(url, answer)
    # Without the user info, which neither a relative Location nor an error message may carry on.
    base = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.resource_name}"
    try:
        target = parse_url(urljoin(base, location))
    except ValueError as exc:  # of urljoin: unbalanced brackets
        raise WSInvalidURL(location, f"Location of the redirect from {base}: {exc}") from exc
    except WSInvalidURL as exc:
        raise WSInvalidURL(exc.url, f"{exc.msg} (Location of the redirect from {base})") from exc
    if url.is_secure and not target.is_secure:
        raise redirect_error(f"refused to follow a redirect from {base} to the unencrypted {origin(target)}", answer)
    if target.username is None and is_same_origin(url, target):
        target = replace(target, username=url.username, password=url.password)
    return target


def is_same_origin(one: WSParsedURL, other: WSParsedURL) -> bool:
    """Whether scheme, host and port agree (RFC 6454 section 5)."""
    return (one.is_secure, one.host, one.port) == (other.is_secure, other.host, other.port)


def for_other_origin(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """The headers that may be sent to another origin than the one they were meant for."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _BOUND_TO_ORIGIN)


def origin(url: WSParsedURL) -> str:
    """Scheme, host and port for messages: nothing secret."""
    return f"{url.scheme}://{url.authority}"


def redirect_error(description: str, answer: WSInvalidStatusError) -> WSHandshakeError:
    """A WSHandshakeError that carries the server's answer."""
    return WSHandshakeError(description, answer.raw_header, answer.raw_body, answer.response)


def too_many_redirects(limit: int, url: WSParsedURL, answer: WSInvalidStatusError) -> WSInvalidStatusError:
    """The error for a redirect beyond ``max_redirects``."""
    description = f"more than {limit} redirects (max_redirects={limit}): {origin(url)} answered {_status(answer)}"
    return WSInvalidStatusError(description, answer.raw_header, answer.raw_body, answer.response)


def _location(url: WSParsedURL, answer: WSInvalidStatusError) -> str:
    values = answer.response.headers.getall("Location", []) if answer.response is not None else []
    if len(values) == 1:
        # A Location is ASCII (RFC 9110 section 10.2.2); servers that send more mean UTF-8, headers are read as Latin-1.
        return values[0].encode("latin-1").decode("utf-8", "surrogateescape")
    problem = "no Location header" if not values else f"{len(values)} Location headers"
    description = f"{origin(url)} answered {_status(answer)} with {problem}"
    value = ", ".join(values) or None
    raise WSInvalidHeaderError(description, "Location", value, answer.raw_header, answer.raw_body, answer.response)


def _status(answer: WSInvalidStatusError) -> int | None:
    return None if answer.response is None else int(answer.response.status)
