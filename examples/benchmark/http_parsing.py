"""Time it takes to read and answer one upgrade request, with our reader and with the parsers of others.

The variants run in turn, in short rounds, so that a busy machine slows all of them. A row is the median of the
rounds, its ratio to ours, and the spread (10th to 90th percentile). It shows CPU time of parsing alone: no socket, no
event loop, and for the variant on httptools no check of the size of lines, which ours includes.

    pip install httptools h11 && python examples/benchmark/http_parsing.py
"""

import platform
import statistics
import time

import h11
import httptools
from multidict import CIMultiDict

from picows.handshake import check_upgrade_request, encode_response, switching_protocols
from picows.http11 import HeadLimits, RequestReader, WSUpgradeRequest

REQUEST = (
    b"GET /chat?room=1 HTTP/1.1\r\n"
    b"Host: server.example.com:8080\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"Accept: */*\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Origin: http://server.example.com\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\n\r\n"
)
LIMITS = HeadLimits()


class HttptoolsEvents:
    """Collects what httptools reports, as the reader of a handshake would have to."""

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[str, str]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode("latin-1"), value.decode("latin-1")))


def read_with_picows() -> WSUpgradeRequest:
    request = RequestReader(LIMITS).feed(REQUEST)
    assert request is not None
    return request


def read_with_httptools() -> WSUpgradeRequest:
    events = HttptoolsEvents()
    parser = httptools.HttpRequestParser(events)
    try:
        parser.feed_data(REQUEST)
    except httptools.HttpParserUpgrade:
        version = b"HTTP/" + parser.get_http_version().encode()
    return WSUpgradeRequest(parser.get_method(), events.url, version, CIMultiDict(events.fields))


def read_with_h11() -> WSUpgradeRequest:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(REQUEST)
    event = connection.next_event()
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers.raw_items()]
    return WSUpgradeRequest(event.method, event.target, b"HTTP/" + event.http_version, CIMultiDict(fields))


def open_with_picows() -> bytes:
    request = read_with_picows()
    assert check_upgrade_request(request) is None
    return encode_response(switching_protocols(request))


VARIANTS = [read_with_picows, read_with_httptools, read_with_h11, open_with_picows]


def time_rounds(rounds: int = 300, size: int = 100) -> dict[str, list[float]]:
    """Microseconds per call of each variant, for each round."""
    times: dict[str, list[float]] = {variant.__name__: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant in VARIANTS:
            start = time.perf_counter()
            for _ in range(size):
                variant()
            times[variant.__name__].append((time.perf_counter() - start) / size * 1e6)
    return times


def main() -> None:
    expected = list(read_with_picows().headers.items())
    assert expected == list(read_with_httptools().headers.items()) == list(read_with_h11().headers.items())
    times = time_rounds()
    base = statistics.median(times["read_with_picows"])
    print(
        f"{len(REQUEST)} bytes, {len(expected)} headers; {platform.python_implementation()} {platform.python_version()}"
    )
    for name, values in times.items():
        tenths = statistics.quantiles(values, n=10)
        median = statistics.median(values)
        print(f"{name:20} {median:6.1f} us  x{median / base:4.1f}  ({tenths[0]:.1f} to {tenths[-1]:.1f})")


if __name__ == "__main__":
    main()
