"""HTTP Basic authentication for servers (RFC 7617)."""

from __future__ import annotations

import hmac
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Protocol, TypeGuard

from picows_aio.datastructures import MultipleValuesError
from picows_aio.exceptions import InvalidHeader
from picows_aio.headers import build_www_authenticate_basic, parse_authorization_basic
from picows_aio.http11 import Request, Response
from picows_aio.typing import StatusLike

__all__ = ["basic_auth"]

CheckCredentials = Callable[[str, str], Awaitable[bool] | bool]


class Challenger(Protocol):
    """What authentication needs of a server's connection."""

    username: str

    def respond(self, status: StatusLike, text: str) -> Response:
        """Create a response."""


def basic_auth(
    realm: str = "",
    credentials: tuple[str, str] | Iterable[tuple[str, str]] | None = None,
    check_credentials: CheckCredentials | None = None,
) -> Callable[[Challenger, Request], Awaitable[Response | None]]:
    """Ask clients for a user and a password: ``serve(..., process_request=basic_auth(...))``.

    Clients without the right ones get 401. The handler of the others finds the user in ``connection.username``.

    Args:
        realm: What user and password are for, shown to people by browsers.
        credentials: User and password, or several such pairs.
        check_credentials: Function or coroutine function of a user and a password that tells whether they are right;
            instead of `credentials`. It should compare in constant time (`hmac.compare_digest`).

    Raises:
        ValueError: Not exactly one of `credentials` and `check_credentials` is given, or HTTP cannot carry one of the
            texts.
        TypeError: An argument has the wrong type.
    """
    if (credentials is None) is (check_credentials is None):
        raise ValueError("provide either credentials or check_credentials")
    check = _make_check(credentials) if check_credentials is None else check_credentials
    if not callable(check):
        raise TypeError(f"check_credentials must be callable, not {type(check).__name__}")
    challenge = build_www_authenticate_basic(realm)

    def refuse(connection: Challenger, reason: str) -> Response:
        response = connection.respond(HTTPStatus.UNAUTHORIZED, reason)
        response.headers["WWW-Authenticate"] = challenge
        return response

    async def process_request(connection: Challenger, request: Request) -> Response | None:
        """Let the client in, or refuse it."""
        try:
            username, password = parse_authorization_basic(request.headers["Authorization"])
        except KeyError:
            return refuse(connection, "Missing credentials\n")
        except (InvalidHeader, MultipleValuesError):
            return refuse(connection, "Unsupported credentials\n")
        is_right = check(username, password)
        if inspect.isawaitable(is_right):
            is_right = await is_right
        if not is_right:
            return refuse(connection, "Invalid credentials\n")
        connection.username = username
        return None

    return process_request


def _make_check(credentials: object) -> Callable[[str, str], bool]:
    pairs = [credentials] if _is_pair(credentials) else credentials
    passwords: dict[str, str] = {}
    for pair in pairs if isinstance(pairs, Iterable) else [pairs]:
        if not _is_pair(pair):
            # The value stays out of the message: it holds passwords.
            raise TypeError("invalid credentials argument: it must be a (user, password) pair of str, or several pairs")
        username, password = pair
        if ":" in username:
            raise ValueError(f"user {username!r} has a colon, which HTTP Basic authentication cannot carry")
        passwords[username] = password
    return partial(_is_known, passwords)


def _is_pair(value: object) -> TypeGuard[Sequence[str]]:
    return isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(item, str) for item in value)


def _is_known(passwords: dict[str, str], username: str, password: str) -> bool:
    # A comparison for an unknown user too: how long the answer takes must not tell who is known.
    expected = passwords.get(username, "")
    return hmac.compare_digest(_encode(password), _encode(expected)) and username in passwords


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
