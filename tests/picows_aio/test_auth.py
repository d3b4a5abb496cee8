"""HTTP Basic authentication."""

import asyncio
import base64
from http import HTTPStatus

import pytest

from picows_aio.auth import basic_auth
from picows_aio.datastructures import Headers
from picows_aio.http11 import Request, Response


class Connection:
    """What a server's connection offers to authentication."""

    username = None

    def respond(self, status, text):
        return Response(status, status.phrase, Headers(), text.encode())


def basic(username, password):
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


async def knock(process_request, *authorizations):
    """Send a request; the connection and the response."""
    connection = Connection()
    request = Request("/", Headers([("Authorization", value) for value in authorizations]))
    async with asyncio.timeout(5):
        return connection, await process_request(connection, request)


def check(username, password):
    return password == "p"


async def check_later(username, password):
    await asyncio.sleep(0)
    return check(username, password)


KINDS = {
    "pair": {"credentials": ("u", "p")},
    "list": {"credentials": ["u", "p"]},
    "pairs": {"credentials": [("v", "q"), ("u", "p")]},
    "iterator": {"credentials": iter([("v", "q"), ["u", "p"]])},
    "function": {"check_credentials": check},
    "coroutine function": {"check_credentials": check_later},
}


@pytest.fixture(params=KINDS)
def process_request(request):
    arguments = dict(KINDS[request.param])
    if request.param == "iterator":
        arguments["credentials"] = iter([("v", "q"), ["u", "p"]])
    return basic_auth("here", **arguments)


async def test_the_right_credentials_let_in(process_request):
    connection, response = await knock(process_request, basic("u", "p"))
    assert response is None
    assert connection.username == "u"


@pytest.mark.parametrize(
    ("authorizations", "reason"),
    [
        ([], "Missing credentials\n"),
        ([basic("u", "x")], "Invalid credentials\n"),
        ([basic("u", "")], "Invalid credentials\n"),
        ([basic("v", "pp")], "Invalid credentials\n"),
        ([basic("nobody", "")], "Invalid credentials\n"),
        ([""], "Unsupported credentials\n"),
        (["Bearer x"], "Unsupported credentials\n"),
        (["Basic"], "Unsupported credentials\n"),
        (["Basic !!"], "Unsupported credentials\n"),
        (["Basic dQ=="], "Unsupported credentials\n"),
        ([basic("u", "p"), basic("u", "p")], "Unsupported credentials\n"),
    ],
)
async def test_anything_else_is_refused(process_request, authorizations, reason):
    connection, response = await knock(process_request, *authorizations)
    assert (response.status_code, response.body.decode()) == (HTTPStatus.UNAUTHORIZED, reason)
    assert response.headers["WWW-Authenticate"] == 'Basic realm="here", charset="UTF-8"'
    assert connection.username is None


@pytest.mark.parametrize("username", ["é", "日本"])
async def test_any_characters(username):
    process_request = basic_auth(credentials=(username, "pässword"))
    connection, response = await knock(process_request, basic(username, "pässword"))
    assert (connection.username, response) == (username, None)
    _, response = await knock(process_request, basic(username, "password"))
    assert response.body == b"Invalid credentials\n"


async def test_bytes_that_are_no_text_match_nothing():
    process_request = basic_auth(credentials=("\ufffd", "p"))
    _, response = await knock(process_request, "Basic " + base64.b64encode(b"\xff:p").decode())
    assert response.body == b"Invalid credentials\n"


async def test_an_error_of_the_check_is_the_servers_to_handle():
    def fail(username, password):
        raise LookupError("database")

    with pytest.raises(LookupError, match="database"):
        await knock(basic_auth(check_credentials=fail), basic("u", "p"))


@pytest.mark.parametrize("arguments", [{}, {"credentials": ("u", "p"), "check_credentials": check}])
def test_exactly_one_source(arguments):
    with pytest.raises(ValueError, match=r"^provide either credentials or check_credentials$"):
        basic_auth("here", **arguments)


@pytest.mark.parametrize(
    "credentials",
    ["up", b"up", 5, ("u",), ("u", 1), ("u", "secret", "x"), {"u": "secret"}, [("u", "secret"), ("v",)], [None]],
)
def test_credentials_must_be_pairs(credentials):
    with pytest.raises(TypeError, match=r"^invalid credentials argument") as caught:
        basic_auth(credentials=credentials)
    assert "secret" not in str(caught.value)


def test_a_user_with_a_colon_could_never_log_in():
    with pytest.raises(ValueError, match="colon"):
        basic_auth(credentials=[("u", "p"), ("a:b", "p")])


def test_the_check_must_be_callable():
    with pytest.raises(TypeError, match="check_credentials must be callable, not str"):
        basic_auth(check_credentials="check")


@pytest.mark.parametrize("realm", ["a\r\n", "日本"])
def test_a_realm_that_cannot_be_sent_is_refused_at_once(realm):
    with pytest.raises(ValueError, match="realm"):
        basic_auth(realm, ("u", "p"))


async def test_nobody_is_let_in_when_nobody_is_listed():
    _, response = await knock(basic_auth(credentials=[]), basic("", ""))
    assert response.status_code == 401
