"""Parameters: every one of `websockets` is here, in its place and with its default; ours have no more positions."""

import asyncio
import inspect
import json
import subprocess
from unittest import mock

import pytest

import picows_aio.asyncio.client
import picows_aio.asyncio.server
import picows_aio.datastructures
import picows_aio.http11
from picows_aio.settings import SERVER, USER_AGENT
from tests.support import require_peer

CALLABLES = [
    "asyncio.client.connect",
    "asyncio.client.connect.process_redirect",
    "asyncio.client.unix_connect",
    "asyncio.client.backoff",
    "asyncio.client.process_exception",
    "asyncio.server.serve",
    "asyncio.server.unix_serve",
    "asyncio.server.broadcast",
    "asyncio.server.basic_auth",
    "asyncio.server.Server.close",
    "asyncio.server.Server.wait_closed",
    "asyncio.server.Server.serve_forever",
    "asyncio.server.ServerConnection.respond",
    "asyncio.client.ClientConnection.recv",
    "asyncio.client.ClientConnection.recv_streaming",
    "asyncio.client.ClientConnection.send",
    "asyncio.client.ClientConnection.close",
    "asyncio.client.ClientConnection.ping",
    "asyncio.client.ClientConnection.pong",
    "asyncio.client.ClientConnection.wait_closed",
    "datastructures.Headers.get_all",
    "http11.Request",
    "http11.Response",
]

PROGRAM = """
import importlib, inspect, json, sys

def find(path):
    for module, names in (("asyncio.client", 2), ("asyncio.server", 2), ("datastructures", 1), ("http11", 1)):
        if path.startswith(module + "."):
            thing = importlib.import_module("websockets." + module)
            for name in path[len(module) + 1:].split("."):
                thing = getattr(thing, name)
            return thing

def show(parameter):
    default = parameter.default
    plain = default is None or isinstance(default, (bool, int, float, str, bytes, tuple))
    return [parameter.name, parameter.kind.name, default is not parameter.empty, repr(default) if plain else None]

for path in json.loads(sys.argv[1]):
    print(json.dumps([show(parameter) for parameter in inspect.signature(find(path)).parameters.values()]))
"""


@pytest.fixture(scope="module")
def theirs():
    """Parameters of each callable of `websockets`: name, kind, whether there is a default, and the default if plain."""
    command = [require_peer("websockets"), "-c", PROGRAM, json.dumps(CALLABLES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return dict(zip(CALLABLES, map(json.loads, done.stdout.splitlines()), strict=True))


def find(path):
    thing = picows_aio
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


@pytest.mark.parametrize("path", CALLABLES)
def test_parameters(path, theirs):
    ours = inspect.signature(find(path)).parameters
    expected = [entry for entry in theirs[path] if not entry[0].startswith("_")]
    positional = [name for name, kind, *_ in expected if kind == "POSITIONAL_OR_KEYWORD"]
    assert [name for name, found in ours.items() if found.kind is found.POSITIONAL_OR_KEYWORD] == positional
    for name, kind, has_default, default in expected:
        if kind == "VAR_KEYWORD":
            assert any(found.kind is found.VAR_KEYWORD for found in ours.values())
            continue
        assert ours[name].kind.name == kind
        assert (ours[name].default is not inspect.Parameter.empty) is has_default
        if default is not None and "websockets/" not in default:
            assert repr(ours[name].default) == default


def test_the_texts_that_name_the_package():
    assert inspect.signature(picows_aio.connect).parameters["user_agent_header"].default == USER_AGENT
    assert inspect.signature(picows_aio.serve).parameters["server_header"].default == SERVER


@pytest.mark.parametrize("name", ["recv", "send", "ping", "pong", "close", "wait_closed"])
def test_methods_to_await_are_coroutine_functions(name):
    """Where some return an awaitable of our own."""
    method = getattr(picows_aio.ClientConnection, name)
    assert inspect.iscoroutinefunction(method)
    assert asyncio.iscoroutinefunction(method)
    assert not inspect.iscoroutinefunction(picows_aio.ClientConnection.stream)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mock.create_autospec(picows_aio.ClientConnection, instance=True),
        lambda: mock.create_autospec(picows_aio.ServerConnection, instance=True),
        lambda: mock.MagicMock(spec=picows_aio.ClientConnection),
        lambda: mock.AsyncMock(spec=picows_aio.ServerConnection),
    ],
)
async def test_what_stands_in_for_a_connection_can_be_awaited(make):
    connection = make()
    connection.recv.return_value = "hello"
    assert await connection.recv() == "hello"
    await connection.send("there")
    connection.send.assert_awaited_once_with("there")
