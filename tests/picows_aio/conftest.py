"""Fixtures for the tests of picows_aio."""

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.picows_aio import observe
from tests.picows_aio.pairs import open_pair
from tests.picows_aio.pushing import NARROW, NarrowPair
from tests.support import TlsContexts, require_peer

Compare = Callable[..., None]


@pytest.fixture(scope="session")
def compare() -> Iterator[Compare]:
    """`compare("str(Close(1000, ''))", ...)`: the expressions give or raise the same here and in `websockets`."""
    names = observe.make_names("picows_aio", ["proxies", "reconnect"])
    command = [require_peer("websockets"), observe.__file__, "websockets", "proxy", "client"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(*expressions: str) -> None:
            print(json.dumps(expressions), file=process.stdin, flush=True)
            theirs = json.loads(process.stdout.readline())
            ours = observe.evaluate(expressions, names)
            assert list(zip(expressions, ours, strict=True)) == list(zip(expressions, theirs, strict=True))

        yield run


@pytest.fixture(params=["client", "server", "tls"])
def narrow_pair(request: pytest.FixtureRequest, tls_contexts: TlsContexts) -> NarrowPair:
    """`async with narrow_pair(**settings) as (connection, peer)`, with little room in the kernel between them."""

    def open_it(**settings: Any) -> Any:
        if request.param == "tls":
            return open_pair("client", tls=tls_contexts, **NARROW, **settings)
        return open_pair(request.param, **NARROW, **settings)

    return open_it
