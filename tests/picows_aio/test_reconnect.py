"""When and how soon to connect again."""

import itertools
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picows_aio import exceptions
from picows_aio.datastructures import Headers
from picows_aio.http11 import Response
from picows_aio.reconnect import backoff, jittered_backoff, process_exception


def caused_by(error, cause):
    error.__cause__ = cause
    return error


def answered(status):
    return exceptions.InvalidStatus(Response(status, "", Headers()))


@pytest.mark.parametrize(
    "error",
    [
        OSError("network is unreachable"),
        ConnectionRefusedError(),
        TimeoutError("timed out during opening handshake"),
        ssl.SSLError("x"),
        caused_by(exceptions.InvalidMessage("x"), EOFError()),
        *map(answered, (500, 502, 503, 504)),
    ],
    ids=repr,
)
def test_retried(error):
    assert process_exception(error) is None


@pytest.mark.parametrize(
    "error",
    [
        exceptions.InvalidMessage("x"),
        caused_by(exceptions.InvalidMessage("x"), ValueError()),
        exceptions.InvalidURI("ws://", "no host"),
        exceptions.SecurityError("x"),
        exceptions.ProxyError("x"),
        exceptions.InvalidProxyStatus(Response(503, "", Headers())),
        exceptions.InvalidHeader("Upgrade"),
        ValueError(),
        EOFError(),
        *map(answered, (200, 301, 400, 403, 404, 429, 501, 505)),
    ],
    ids=repr,
)
def test_fatal(error):
    assert process_exception(error) is error


def test_delays_are_those_users_know(compare):
    compare("(delays := backoff()) and next(delays) and ''", *["round(next(delays), 6)"] * 12)


def test_clients_of_a_server_that_restarts_do_not_come_back_at_once():
    firsts = {next(backoff()) for _ in range(100)}
    assert len(firsts) > 50
    assert all(0 <= delay <= 5 for delay in firsts)


def test_every_delay_of_a_subscription_is_random():
    """Not only the first: a fleet of clients would come back in step."""
    fleet = [list(itertools.islice(jittered_backoff(), 12)) for _ in range(100)]
    longest = itertools.islice(backoff(), 1, 12)
    for most, delays in zip(longest, list(zip(*fleet, strict=True))[1:], strict=True):
        assert len(set(delays)) > 90
        assert all(most / 2 <= delay <= most for delay in delays)
        assert min(delays) < 0.6 * most
        assert max(delays) > 0.9 * most


DELAYS = st.floats(0, 100)


@given(initial=DELAYS, least=DELAYS, most=DELAYS, factor=st.floats(1, 3))
def test_delays_grow_up_to_the_limit(initial, least, most, factor):
    first, *others = itertools.islice(backoff(initial, least, most, factor), 50)
    assert 0 <= first <= initial
    assert others[0] == min(least, most)
    assert others == sorted(others)
    assert others[-1] <= most
