"""Requests and responses as objects."""

import pytest

from picows_aio.datastructures import Headers
from picows_aio.http11 import Request, Response
from picows_aio.settings import PRODUCT


@pytest.mark.parametrize(
    "expression",
    [
        "Request('/', Headers(a='1')).serialize()",
        "Request('/p?q', Headers(), 'POST', 'HTTP/1.0').serialize()",
        "Request('/', Headers()).method, Request('/', Headers()).protocol",
        "Request(path='/', headers=Headers(), method='HEAD', protocol='HTTP/1.1').method",
        "Request('/', Headers(a='1')) == Request('/', Headers(A='1'))",
        "Request('/', Headers()) == Request('/p', Headers())",
        "hash(Request('/', Headers()))",
        "Request()",
        "Response(200, 'OK', Headers(a='1'), b'x').serialize()",
        "Response(101, 'é', Headers([('Set-Cookie', 'a'), ('Set-Cookie', 'b')])).serialize()",
        "Response(599, '', Headers(), bytearray(b'x')).serialize()",
        "Response(200, 'OK', Headers()).body",
        "Response(200, 'OK', Headers()) == Response(200, 'OK', Headers(), b'')",
        "hash(Response(200, 'OK', Headers()))",
        "copy.deepcopy(Response(200, 'OK', Headers(a='1'))).headers",
    ],
)
def test_messages_are_those_users_know(compare, expression):
    compare(expression)


@pytest.mark.parametrize(
    "arguments",
    [
        ("/a\r\nX: y", Headers()),
        ("/a b", Headers()),
        ("/é", Headers()),
        ("", Headers()),
        ("/", Headers(), "GET\r\n"),
        ("/", Headers(), "GET", "HTTP/1.1\r\nX: y"),
    ],
)
def test_a_request_line_that_is_none_is_not_encoded(arguments):
    with pytest.raises(ValueError, match="is not a request line"):
        Request(*arguments).serialize()


@pytest.mark.parametrize(
    ("status", "reason"), [(200, "OK\r\nX: y"), (200, "OK\n"), (200, "\u0100"), (99, "x"), (1000, "x"), (0, "x")]
)
def test_a_status_line_that_is_none_is_not_encoded(status, reason):
    with pytest.raises(ValueError, match="is not a status line"):
        Response(status, reason, Headers()).serialize()


def test_the_product_is_ours():
    assert PRODUCT.partition(" ")[2].startswith("picows_aio/")
