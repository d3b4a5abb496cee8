"""Exceptions: the tree users catch, what they say, and that code for `websockets` catches them."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from picows_aio import exceptions
from picows_aio.datastructures import Headers
from picows_aio.exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidHeaderFormat,
    InvalidProxy,
    InvalidState,
    InvalidStatus,
    InvalidURI,
    PayloadTooBig,
    ProtocolError,
    TooManyFragments,
)
from picows_aio.frames import Close, CloseCode
from picows_aio.http11 import Response
from tests.support import require_peer

ROOT = Path(__file__).resolve().parents[2]
NORMAL = Close(CloseCode.NORMAL_CLOSURE, "")
REFUSAL = Response(403, "Forbidden", Headers(), b"no")

WITH_ANY_ARGUMENTS = [
    "ConcurrencyError",
    "HeaderLineTooLong",
    "InvalidHandshake",
    "InvalidMessage",
    "InvalidProxyMessage",
    "InvalidState",
    "NegotiationError",
    "ProtocolError",
    "ProxyError",
    "RequestLineTooLong",
    "SecurityError",
    "StatusLineTooLong",
    "TooManyHeaders",
    "WebSocketException",
]
EXAMPLES = [
    "ConnectionClosed(None, None)",
    "ConnectionClosed(None, None, None)",
    "ConnectionClosedOK(Close(1000, ''), Close(1000, ''), True)",
    "ConnectionClosedOK(Close(1001, 'bye'), Close(1001, 'bye'), True)",
    "ConnectionClosedError(Close(1001, 'bye'), Close(1001, 'bye'), False)",
    "ConnectionClosedError(Close(3000, 'x'), None)",
    "ConnectionClosedError(None, Close(4000, 'y'))",
    "ConnectionClosedError(None, Close(CloseCode.INTERNAL_ERROR, 'keepalive ping timeout'), None)",
    "ConnectionClosedError(Close(CloseCode.NO_STATUS_RCVD, ''), Close(1005, ''), True)",
    "ConnectionClosed(Close(2999, ''), Close(5000, 'z'), True)",
    "InvalidURI('ws://x', 'bad')",
    "InvalidProxy('http://x', 'bad')",
    "InvalidMethod('POST')",
    "InvalidProtocol('HTTP/1.0')",
    "InvalidHeader('X')",
    "InvalidHeader('X', None)",
    "InvalidHeader('X', '')",
    "InvalidHeader('X', 'v')",
    "InvalidHeaderFormat('X', 'expected token', 'a,b', 1)",
    "InvalidHeaderValue('X')",
    "InvalidHeaderValue('X', 'v')",
    "InvalidOrigin(None)",
    "InvalidOrigin('')",
    "InvalidOrigin('o')",
    "InvalidUpgrade('Upgrade')",
    "InvalidUpgrade('Upgrade', 'x')",
    "InvalidUpgrade('Connection', '')",
    "DuplicateParameter('p')",
    "InvalidParameterName('p')",
    "InvalidParameterValue('p', None)",
    "InvalidParameterValue('p', '')",
    "InvalidParameterValue('p', 'v')",
    "PayloadTooBig(10, 5)",
    "PayloadTooBig(10, 5, 3)",
    "PayloadTooBig(10, 5, 0)",
    "PayloadTooBig(None, 5)",
    "PayloadTooBig(None, 5, 3)",
    "PayloadTooBig('text')",
    *(f"{name}({argument})" for name in WITH_ANY_ARGUMENTS for argument in ("", "'text'")),
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_exception_looks_as_users_know_it(compare, example):
    compare(f"str({example})", f"repr({example})", f"{example}.args")


@pytest.mark.parametrize(
    "example",
    [
        "TooManyFragments(4096)",
        "InvalidStatus(Response(404, 'Not Found', Headers()))",
        "InvalidProxyStatus(Response(407, 'Proxy Authentication Required', Headers()))",
        "ConnectionClosedOK(rcvd=None, sent=None)",
        "InvalidHeaderFormat(name='X', error='e', header='h', pos=3)",
    ],
)
def test_an_exception_says_what_users_know(compare, example):
    compare(f"str({example})")


@pytest.mark.parametrize(
    ("example", "attributes"),
    [
        ("ConnectionClosed(Close(1000, ''), None)", ["rcvd", "sent", "rcvd_then_sent", "code", "reason"]),
        ("ConnectionClosed(Close(1000, ''), Close(1001, 'x'), True)", ["rcvd", "sent", "rcvd_then_sent", "code"]),
        ("InvalidURI('ws://x', 'bad')", ["uri", "msg"]),
        ("InvalidProxy('http://x', 'bad')", ["proxy", "msg"]),
        ("InvalidMethod('POST')", ["method"]),
        ("InvalidProtocol('HTTP/1.0')", ["protocol"]),
        ("InvalidHeader('X', 'v')", ["name", "value"]),
        ("InvalidHeaderFormat('X', 'err', 'a,b', 1)", ["name", "value"]),
        ("InvalidOrigin('o')", ["name", "value"]),
        ("DuplicateParameter('p')", ["name"]),
        ("InvalidParameterName('p')", ["name"]),
        ("InvalidParameterValue('p', 'v')", ["name", "value"]),
        ("PayloadTooBig(10, 5, 3)", ["size", "max_size", "current_size", "message"]),
        ("PayloadTooBig(None, 5)", ["size", "max_size", "current_size"]),
        ("PayloadTooBig('text')", ["message"]),
    ],
)
def test_attributes(compare, example, attributes):
    compare(*(f"{example}.{attribute}" for attribute in attributes))


@pytest.mark.parametrize("name", exceptions.__all__)
def test_the_tree_is_the_one_users_catch(compare, name):
    compare(f"[base.__name__ for base in {name}.__mro__ if not base.__name__.startswith('_')]")


def test_all_names_are_there():
    assert len(exceptions.__all__) == 33
    assert issubclass(InvalidState, AssertionError)
    assert issubclass(ConcurrencyError, RuntimeError)


@pytest.mark.parametrize("attribute", ["code", "reason"])
def test_code_and_reason_of_the_closure_are_deprecated(attribute):
    error = ConnectionClosedError(Close(4000, "why"), None)
    with pytest.warns(DeprecationWarning, match=f"^ConnectionClosed.{attribute} is deprecated") as caught:
        assert getattr(error, attribute) == {"code": 4000, "reason": "why"}[attribute]
    assert caught[0].filename == __file__


def test_without_a_close_frame_the_code_is_1006():
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert (ConnectionClosed(None, NORMAL).code, ConnectionClosed(None, NORMAL).reason) == (1006, "")


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ((NORMAL, NORMAL), "True or False"),
        ((NORMAL, None, True), "else None"),
        ((None, None, False), "else None"),
    ],
)
def test_the_order_of_close_frames_must_make_sense(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        ConnectionClosed(*arguments)


def test_the_limit_of_a_payload_is_required():
    with pytest.raises(TypeError, match="max_size"):
        PayloadTooBig(10)


def test_a_text_instead_of_sizes_is_deprecated():
    with pytest.warns(DeprecationWarning, match="use PayloadTooBig"):
        error = PayloadTooBig("text")
    assert (error.message, error.size, error.max_size, error.current_size) == ("text", None, None, None)


@pytest.mark.parametrize(
    "error",
    [
        InvalidURI("ws://user:secret@host/#f", "fragment identifier is meaningless"),
        InvalidProxy("socks5://user:secret@host:1", "bad"),
        InvalidURI("ws://user:se@cret@host/", "bad"),
    ],
)
def test_a_password_stays_out_of_logs(error):
    assert "//***@host" in str(error)
    assert "cret" not in str(error) + repr(error)


def test_an_at_sign_in_a_path_is_no_password():
    assert str(InvalidURI("ws://host/@name", "bad")) == "ws://host/@name isn't a valid URI: bad"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionClosedOK(NORMAL, NORMAL, rcvd_then_sent=True),
        InvalidURI(uri="ws://", msg="no host"),
        InvalidStatus(REFUSAL),
        InvalidHeaderFormat("X", "expected token", header="a b", pos=2),
        PayloadTooBig(10, 5, current_size=3),
        TooManyFragments(max_fragments=7),
        ProtocolError("text"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("clone", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_exceptions_survive_copying(error, clone):
    error.add_note("seen")
    cloned = clone(error)
    assert (type(cloned), str(cloned), cloned.args, vars(cloned)) == (type(error), str(error), error.args, vars(error))


class NeedsMore(ConnectionClosed):
    """A program's own exception, whose __init__ has other parameters than its base."""

    def __init__(self, url, attempts):
        super().__init__(None, None)
        self.url = url
        self.attempts = attempts


def test_exceptions_of_programs_survive_pickling():
    cloned = pickle.loads(pickle.dumps(NeedsMore("ws://h/", attempts=3)))
    assert (cloned.url, cloned.attempts, str(cloned)) == ("ws://h/", 3, "no close frame received or sent")


@pytest.mark.parametrize(
    ("old", "new"), [("InvalidStatusCode", InvalidStatus), ("WebSocketProtocolError", ProtocolError)]
)
def test_renamed_exceptions_are_found_by_their_old_name(old, new):
    with pytest.warns(DeprecationWarning, match=f"^{old} is deprecated; use {new.__name__}$"):
        assert getattr(exceptions, old) is new


def test_status_and_headers_as_the_old_exception_had_them():
    error = InvalidStatus(REFUSAL)
    assert error.status_code == 403
    assert error.headers is REFUSAL.headers


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        exceptions.Nothing  # noqa: B018


NAMESAKES = """
class WebSocketException(Exception):
    pass
class ConnectionClosed(WebSocketException):
    def __init__(self, *args):
        raise AssertionError("of the other package")
class ConcurrencyError(WebSocketException, RuntimeError):
    pass
InvalidURI = "not a class"
"""


@pytest.fixture
def run_beside(tmp_path):
    """`run_beside(program, *paths)`: run a program with our packages and, in the folders named, others."""

    def run(program: str, *paths: Path | str) -> str:
        start = f"import sys; sys.path[:0] = {[str(ROOT), *map(str, paths)]!r}\n"
        command = [sys.executable, "-W", "error", "-c", start + program]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def namesakes(tmp_path):
    """A folder with a package `websockets` of an unknown version."""
    package = tmp_path / "other" / "websockets"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").touch()
    package.joinpath("exceptions.py").write_text(NAMESAKES)
    return package.parent


def test_code_for_websockets_catches_ours(run_beside, namesakes):
    program = """
from picows_aio import exceptions as ours
before = ours.ConnectionClosedOK(None, None)
assert "websockets" not in sys.modules
import websockets
after = ours.ConnectionClosedOK(None, None)
import websockets.exceptions as theirs
for error in (before, after):
    try:
        raise error
    except theirs.ConnectionClosed as caught:
        assert str(caught) == "no close frame received or sent"
for error in (ours.ConcurrencyError("x"), ours.InvalidURI("a", "b")):
    assert isinstance(error, theirs.WebSocketException)
assert isinstance(ours.ConcurrencyError("x"), theirs.ConcurrencyError)
assert isinstance(ours.ConcurrencyError("x"), RuntimeError)
"""
    run_beside(program, namesakes)


def test_a_class_of_the_program_may_derive_from_both(run_beside, namesakes):
    program = """
from picows_aio import exceptions as ours
import websockets.exceptions as theirs
class Ours(ours.ConnectionClosed, theirs.ConnectionClosed): pass
class Theirs(theirs.ConcurrencyError, ours.ConcurrencyError): pass
assert isinstance(Ours(None, None), theirs.ConnectionClosed)
assert isinstance(Theirs(), ours.ConcurrencyError)
assert isinstance(Theirs(), theirs.ConcurrencyError)
"""
    run_beside(program, namesakes)


def test_a_broken_package_beside_ours_does_no_harm(run_beside, namesakes):
    namesakes.joinpath("websockets", "exceptions.py").write_text("raise RuntimeError('broken')")
    program = """
import websockets
from picows_aio.exceptions import ProtocolError, WebSocketException
assert isinstance(ProtocolError("x"), WebSocketException)
"""
    run_beside(program, namesakes)


def test_the_real_websockets_catches_every_exception_of_ours(run_beside):
    """In both orders of importing, and our texts stay as they are."""
    ask = [require_peer("websockets"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site_packages = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    check = """
ours.ProtocolError("x")
for name in theirs.__all__:
    assert issubclass(getattr(ours, name), getattr(theirs, name)), name
close = Close(1000, "")
for error, text in [
    (ours.ConnectionClosedOK(close, close, True), "received 1000 (OK); then sent 1000 (OK)"),
    (ours.PayloadTooBig(10, 5, 3), "frame with 10 bytes after reading 3 bytes exceeds limit of 8 bytes"),
    (ours.TooManyFragments(7), "fragmented message exceeds limit of 7 frames"),
    (ours.InvalidMessage("x"), "x"),
]:
    assert str(error) == text
    assert isinstance(error, theirs.WebSocketException)
"""
    imports = ["from picows_aio import exceptions as ours", "import websockets.exceptions as theirs"]
    for order in (imports, imports[::-1]):
        beside = f"sys.path.append({site_packages!r})"
        run_beside("\n".join([beside, *order, "from picows_aio.frames import Close", check]))


def test_websockets_is_never_imported_by_ours(run_beside, namesakes):
    program = """
from picows_aio.exceptions import ConnectionClosed, WebSocketException
ConnectionClosed(None, None)
print(WebSocketException.__mro__[1:-3], "websockets" in sys.modules)
"""
    assert run_beside(program, namesakes) == "(<class 'picows_aio.exceptions._Layout'>,) False\n"
