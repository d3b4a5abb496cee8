"""Exceptions: the tree users catch, what str() says, and that they survive copying and pickling."""

import copy
import pickle

import pytest

from picows.errors import (
    WSError,
    WSHandshakeError,
    WSInvalidHeaderError,
    WSInvalidMessageError,
    WSInvalidStatusError,
    WSInvalidUpgradeError,
    WSInvalidURL,
    WSProtocolError,
)
from picows.http11 import HeadError, WSUpgradeResponse

EXAMPLES = [
    WSError("text"),
    WSProtocolError(1002, "reserved bits"),
    WSInvalidURL("ws://", "it has no host"),
    WSHandshakeError("text", b"head", b"body", WSUpgradeResponse(status=403)),
    WSInvalidMessageError("text", b"head"),
    WSInvalidStatusError("text", None, b"body"),
    WSInvalidHeaderError("text", "Sec-WebSocket-Accept", "x", b"head"),
    WSInvalidUpgradeError("text", "Upgrade"),
    HeadError(431, "text", b"head"),
]


def describe(error):
    """Everything of an error that can be compared."""
    fields = {name: value for name, value in vars(error).items() if name != "response"}
    response = getattr(error, "response", None)
    return type(error), str(error), fields, response and response.to_bytes()


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("clone", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_errors_survive_copying(error, clone):
    assert describe(clone(error)) == describe(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_is_a_websocket_error(error):
    assert isinstance(error, WSError)


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        (WSProtocolError, WSError),
        (WSInvalidURL, WSError),
        (WSHandshakeError, WSError),
        (WSInvalidMessageError, WSHandshakeError),
        (WSInvalidStatusError, WSHandshakeError),
        (WSInvalidHeaderError, WSHandshakeError),
        (WSInvalidUpgradeError, WSInvalidHeaderError),
    ],
)
def test_tree(child, parent):
    assert child.__base__ is parent


def test_protocol_error_reads_as_its_message():
    error = WSProtocolError(1009, "frame too big")
    assert (str(error), error.code, error.message) == ("frame too big", 1009, "frame too big")


def test_header_error_carries_name_and_value():
    error = WSInvalidUpgradeError("text", "Upgrade", "h2c", b"head", b"body")
    assert (error.name, error.value, error.raw_header, error.raw_body) == ("Upgrade", "h2c", b"head", b"body")


@pytest.mark.parametrize(
    "url", ["http://user:secret@host/", "user:secret@host", "ws://user:secret@host:x/", "//secret@h"]
)
def test_url_error_keeps_passwords_out_of_logs(url):
    error = WSInvalidURL(url, "why")
    assert "secret" not in str(error) + repr(error)
    assert (error.url, error.msg) == (url, "why")


def test_url_error_shows_url_and_reason():
    assert str(WSInvalidURL("ws://h:x/", "port")) == "'ws://h:x/' isn't a valid WebSocket URL: port"
