"""Requests and responses as objects: what the constructors make, and what may not be sent."""

from http import HTTPStatus
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from picows.http11 import WSUpgradeRequest, WSUpgradeResponse
from picows.http_message import copy_headers, encode_headers, get_reason_phrase, split_list, split_tokens


def test_101_response():
    response = WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": "chat"})
    assert response.to_bytes() == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Sec-WebSocket-Protocol: chat\r\n"
        b"Connection: upgrade\r\n"
        b"Upgrade: websocket\r\n\r\n"
    )
    assert (response.version, response.status, response.body) == (b"HTTP/1.1", HTTPStatus.SWITCHING_PROTOCOLS, None)
    assert isinstance(response.headers, CIMultiDict)


def test_ok_response():
    response = WSUpgradeResponse.create_ok_response(b"fine", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    assert response.to_bytes() == (
        b"HTTP/1.1 200 OK\r\n"
        b"Set-Cookie: a=1\r\n"
        b"Set-Cookie: b=2\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 4\r\n\r\n"
        b"fine"
    )


@pytest.mark.parametrize("body", [b"{}", bytearray(b"{}"), memoryview(b"{}")])
def test_content_type_of_the_user_stays(body):
    response = WSUpgradeResponse.create_ok_response(body, {"content-type": "application/json"})
    assert response.headers.getall("Content-Type") == ["application/json"]
    assert response.body == b"{}"


def test_error_response():
    assert WSUpgradeResponse.create_error_response(404).to_bytes() == b"HTTP/1.1 404 Not Found\r\n\r\n"
    response = WSUpgradeResponse.create_error_response(HTTPStatus.FORBIDDEN, b"no", {"X": "y"})
    assert response.to_bytes() == (
        b"HTTP/1.1 403 Forbidden\r\nX: y\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno"
    )


def test_a_status_python_does_not_know_has_no_reason_phrase():
    response = WSUpgradeResponse.create_error_response(499)
    assert response.status == 499
    assert response.to_bytes() == b"HTTP/1.1 499 \r\n\r\n"
    assert get_reason_phrase(418) == HTTPStatus.IM_A_TEAPOT.phrase


def test_redirect_response():
    response = WSUpgradeResponse.create_redirect_response(307, "wss://h/x", {"location": "ignored", "X": "y"})
    assert response.to_bytes() == b"HTTP/1.1 307 Temporary Redirect\r\nLocation: wss://h/x\r\nX: y\r\n\r\n"


@pytest.mark.parametrize(
    ("create", "status", "reason"),
    [
        (WSUpgradeResponse.create_error_response, 399, "400 to 599, not 399"),
        (WSUpgradeResponse.create_error_response, 600, "400 to 599, not 600"),
        (lambda status: WSUpgradeResponse.create_redirect_response(status, "/"), 299, "300 to 399, not 299"),
        (lambda status: WSUpgradeResponse.create_redirect_response(status, "/"), 400, "300 to 399, not 400"),
    ],
)
def test_statuses_of_the_wrong_kind(create, status, reason):
    with pytest.raises(ValueError, match=reason):
        create(status)


def test_body_must_be_bytes():
    with pytest.raises(TypeError, match="bytes-like object is required, not 'str'"):
        WSUpgradeResponse.create_ok_response("text")


CREATORS = [
    WSUpgradeResponse.create_101_response,
    lambda headers: WSUpgradeResponse.create_ok_response(b"", headers),
    lambda headers: WSUpgradeResponse.create_error_response(400, b"", headers),
    lambda headers: WSUpgradeResponse.create_redirect_response(302, "/", headers),
    lambda headers: WSUpgradeResponse(headers=CIMultiDict(headers)).to_bytes(),
    lambda headers: WSUpgradeRequest(headers=CIMultiDict(headers)).to_bytes(),
]


@pytest.mark.parametrize("create", CREATORS, ids=["101", "ok", "error", "redirect", "response", "request"])
@pytest.mark.parametrize(
    ("headers", "error", "reason"),
    [
        ({"X-Bad": "a\r\nInjected: b"}, ValueError, r"value of header X-Bad holds '\\r' at position 1"),
        ({"X-Bad": "a\r\nInjected: b", "X-Empty": ""}, ValueError, "header X-Bad"),
        ({"X-Bad": "a\nb"}, ValueError, "header X-Bad"),
        ({"X-Bad": "\n"}, ValueError, "header X-Bad"),
        ({"X-Bad": "a\x00"}, ValueError, "header X-Bad"),
        ({"X-Bad": "\x7f"}, ValueError, "header X-Bad"),
        ({"X-Bad": "€"}, ValueError, "header X-Bad"),
        ({"X-Bad": "a\u2028"}, ValueError, "header X-Bad"),
        ({"X Bad": "a"}, ValueError, "header name 'X Bad' is not a token"),
        ({"X-Bad:": "a"}, ValueError, "header name 'X-Bad:' is not a token"),
        ({"X-Bad\r\nX": "a"}, ValueError, "is not a token"),
        ({"": "a"}, ValueError, "header name '' is not a token"),
        ({"X-Bäd": "a"}, ValueError, "is not a token"),
        ({"X-Bad": 5}, TypeError, "header X-Bad must be a str, not int"),
        ({"X-Bad": b"a"}, TypeError, "header X-Bad must be a str, not bytes"),
        ({"X-Bad": None}, TypeError, "header X-Bad must be a str"),
    ],
)
def test_headers_that_http_cannot_carry_are_refused_by_name(create, headers, error, reason):
    with pytest.raises(error, match=reason):
        create(headers)


@pytest.mark.parametrize("headers", ["text", [("a", "b", "c")], ["ab"], [5], [{"a": "b"}]])
def test_headers_must_be_a_mapping_or_pairs(headers):
    with pytest.raises(TypeError, match="mapping or pairs of name and value"):
        copy_headers(headers)


def test_headers_can_be_any_mapping_or_pairs():
    pairs = [("A", "1"), ("a", "2")]
    for headers in (pairs, iter(pairs), tuple(map(list, pairs)), CIMultiDict(pairs)):
        assert copy_headers(headers).getall("A") == ["1", "2"]
    assert copy_headers(MappingProxyType({"A": "1"})) == CIMultiDict(A="1")
    assert copy_headers(None) == CIMultiDict()


def test_a_copy_does_not_share_with_the_original():
    original = CIMultiDict(A="1")
    copy_headers(original)["A"] = "2"
    assert original["A"] == "1"


def test_location_is_checked():
    with pytest.raises(ValueError, match="header Location holds"):
        WSUpgradeResponse.create_redirect_response(302, "/\r\nSet-Cookie: a=b")


@pytest.mark.parametrize(
    "request_", [WSUpgradeRequest(b"G T"), WSUpgradeRequest(path=b"/\r\nX: y"), WSUpgradeRequest(version=b"HTTP/1")]
)
def test_request_lines_are_checked(request_):
    with pytest.raises(ValueError, match="is not a request line"):
        request_.to_bytes()


@pytest.mark.parametrize(
    "response",
    [WSUpgradeResponse(b"HTTP/1.1\r\n"), WSUpgradeResponse(status=20), WSUpgradeResponse(reason="a\r\nX: y")],
)
def test_status_lines_are_checked(response):
    with pytest.raises(ValueError, match="is not a status line"):
        response.to_bytes()


def test_content_length_of_the_user_is_not_repeated():
    response = WSUpgradeResponse.create_ok_response(b"abc", {"content-length": "3"})
    assert response.to_bytes().lower().count(b"content-length") == 1


def test_repr_keeps_headers_and_bodies_out_of_logs():
    request = WSUpgradeRequest(headers=CIMultiDict(Authorization="secret"))
    response = WSUpgradeResponse.create_ok_response(b"secret", {"Set-Cookie": "secret"})
    assert "secret" not in repr(request) + repr(response)


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3))
def test_encoded_headers_are_one_line_each_or_refused(pairs):
    try:
        data = encode_headers(CIMultiDict(pairs))
    except ValueError:
        return
    assert data == b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in pairs)
    assert data.count(b"\r") == data.count(b"\n") == len(pairs)
    assert b"\0" not in data


@pytest.mark.parametrize(
    ("lines", "items"),
    [
        ([], []),
        ([""], []),
        (["keep-alive, Upgrade"], ["keep-alive", "Upgrade"]),
        (["a,,b ,", "\tC"], ["a", "b", "C"]),
    ],
)
def test_lists_span_lines_and_skip_empty_elements(lines, items):
    """RFC 9110 section 5.6.1."""
    assert split_list(lines) == items
    assert split_tokens(lines) == [item.lower() for item in items]
