"""Ways to a server: proxies and their errors, the environment, and what contradicts what."""

import asyncio
import base64
import contextlib
import socket
import traceback

import pytest

from picows_aio import (
    InvalidProxy,
    InvalidProxyMessage,
    InvalidProxyStatus,
    ProxyError,
    connect,
)
from tests.picows_aio.sites import running
from tests.support import TEXT, RawPeer, listen

TARGET = "ws://name.invalid:81/chat"  # a name that only the proxy can resolve (RFC 6761 section 6.4)
PASSWORD = "pa55w0rd"
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"
SOCKS5_OK = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
SOCKS4_OK = b"\x00\x5a\x00\x00\x00\x00\x00\x00"


@pytest.fixture
def environment(monkeypatch):
    """Sets variables about proxies; no others are there."""
    for name in ("ws", "wss", "socks", "http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)
    return monkeypatch.setenv


@contextlib.asynccontextmanager
async def dialing(scheme="http", user_info="", uri=TARGET, **options):
    """A connection under way, and the proxy's end of it."""
    async with asyncio.timeout(10), listen() as proxy:
        options = {"proxy": f"{scheme}://{user_info}127.0.0.1:{proxy.port}"} | options
        opening = asyncio.create_task(connect(uri, **options).__aenter__())
        try:
            yield opening, await proxy.accept(upgrade=False)
        finally:
            opening.cancel()
            await asyncio.wait([opening])


async def finish(opening: asyncio.Task, peer: RawPeer) -> None:
    """The tunnel stands: the peer turns into the server, and a message passes."""
    head = await peer.accept_upgrade()
    assert (head.target, head.one("Host")) == ("/chat", "name.invalid:81")
    assert head.all("Proxy-Authorization") == []
    connection = await opening
    peer.write_frame(TEXT, "through")
    assert await connection.recv() == "through"
    connection.transport.abort()
    await connection.wait_closed()


# Tunnels


@pytest.mark.parametrize(("user_info", "credentials"), [("", None), (f"user:{PASSWORD}@", f"user:{PASSWORD}")])
async def test_a_tunnel_through_an_http_proxy(user_info, credentials):
    async with dialing(user_info=user_info) as (opening, peer):
        head = await peer.read_http_head()
        assert head.start_line == "CONNECT name.invalid:81 HTTP/1.1"
        assert head.one("Host") == "name.invalid:81"
        expected = ["Basic " + base64.b64encode(credentials.encode()).decode()] if credentials else []
        assert head.all("Proxy-Authorization") == expected
        peer.write_bytes(OK)
        await finish(opening, peer)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_a_tunnel_through_socks5(scheme):
    async with dialing(scheme, f"user:{PASSWORD}@") as (opening, peer):
        assert await peer.read_bytes(4) == b"\x05\x02\x00\x02"
        peer.write_bytes(b"\x05\x02")
        assert await peer.read_bytes(3 + 4 + len(PASSWORD)) == b"\x01\x04user\x08" + PASSWORD.encode()
        peer.write_bytes(b"\x01\x00")
        name = b"name.invalid"
        assert await peer.read_bytes(7 + len(name)) == b"\x05\x01\x00\x03\x0c" + name + b"\x00\x51"
        peer.write_bytes(SOCKS5_OK)
        await finish(opening, peer)


@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
async def test_a_tunnel_through_socks4(scheme):
    async with dialing(scheme) as (opening, peer):
        expected = b"\x04\x01\x00\x51\x00\x00\x00\x01\x00name.invalid\x00"
        assert await peer.read_bytes(len(expected)) == expected
        peer.write_bytes(SOCKS4_OK)
        await finish(opening, peer)


async def test_tls_with_the_proxy(tls_contexts):
    async with asyncio.timeout(10), listen(tls_contexts.server) as proxy:
        options = {"proxy": f"https://127.0.0.1:{proxy.port}", "proxy_ssl": tls_contexts.client}
        opening = asyncio.create_task(connect(TARGET, **options).__aenter__())
        peer = await proxy.accept(upgrade=False)
        assert (await peer.read_http_head()).start_line.startswith("CONNECT")
        peer.write_bytes(OK)
        await finish(opening, peer)


async def test_the_name_in_the_proxys_certificate(tls_contexts):
    async with asyncio.timeout(10), listen(tls_contexts.server) as proxy:
        options = {"proxy": f"https://127.0.0.1:{proxy.port}", "proxy_ssl": tls_contexts.client}
        opening = asyncio.create_task(connect(TARGET, proxy_server_hostname="other.invalid", **options).__aenter__())
        with contextlib.suppress(Exception):
            await proxy.accept(upgrade=False)
        with pytest.raises(OSError, match="Hostname mismatch"):
            await opening
        opening = asyncio.create_task(connect(TARGET, proxy_server_hostname="localhost", **options).__aenter__())
        peer = await proxy.accept(upgrade=False)
        await peer.read_http_head()
        peer.write_bytes(OK)
        await finish(opening, peer)


# What a proxy may answer


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n", InvalidProxyStatus, "HTTP 407"),
        (b"HTTP/1.1 302 X\r\nLocation: ws://x/\r\n\r\n", InvalidProxyStatus, "HTTP 302"),
        (b"garbage\r\n\r\n", InvalidProxyMessage, "did not receive a valid HTTP response from proxy"),
        (b"HTTP/1.1 200", InvalidProxyMessage, "did not receive a valid HTTP response from proxy"),
        (b"", InvalidProxyMessage, "did not receive a valid HTTP response from proxy"),
    ],
)
async def test_an_http_proxy_that_opens_no_tunnel(reply, kind, text):
    async with dialing(user_info=f"user:{PASSWORD}@") as (opening, peer):
        await peer.read_http_head()
        peer.write_bytes(reply)
        peer.half_close()
        with pytest.raises(kind, match=text) as caught:
            await opening
    assert isinstance(caught.value, ProxyError)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


async def test_the_proxys_response():
    async with dialing() as (opening, peer):
        await peer.read_http_head()
        peer.write_bytes(b"HTTP/1.1 407 Who Are You\r\nProxy-Authenticate: Basic\r\nproxy-authenticate: Digest\r\n\r\n")
        with pytest.raises(InvalidProxyStatus, match=r"^proxy rejected connection: HTTP 407$") as caught:
            await opening
    response = caught.value.response
    assert (response.status_code, response.reason_phrase, response.body) == (407, "Who Are You", b"")
    assert response.headers.get_all("Proxy-Authenticate") == ["Basic", "Digest"]


async def test_a_proxy_that_speaks_before_the_server_can():
    async with dialing() as (opening, peer):
        await peer.read_http_head()
        peer.write_bytes(OK + b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        with pytest.raises(ProxyError, match=r"^failed to connect to proxy$"):
            await opening


@pytest.mark.parametrize("scheme", ["socks5h", "socks4a"])
@pytest.mark.parametrize("reply", [b"", b"\x05\xff", b"garbage!"])
async def test_a_socks_proxy_that_opens_no_tunnel(scheme, reply):
    async with dialing(scheme) as (opening, peer):
        await peer.read_some()
        peer.write_bytes(reply)
        peer.half_close()
        with pytest.raises(ProxyError, match=r"^failed to connect to SOCKS proxy$") as caught:
            await opening
    assert f"{scheme}://127.0.0.1" in str(caught.value.__cause__)


@pytest.mark.parametrize("scheme", ["http", "socks5h", "socks4a"])
async def test_a_proxy_that_hangs(scheme):
    async with dialing(scheme, open_timeout=0.1) as (opening, _):
        with pytest.raises(TimeoutError, match="timed out during opening handshake"):
            await opening


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks4a"])
async def test_a_proxy_that_is_not_there(scheme):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await connect(TARGET, proxy=f"{scheme}://u:{PASSWORD}@127.0.0.1:{bound.getsockname()[1]}")


# Bad URLs


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://h", "ftp://h isn't a valid proxy: scheme ftp isn't supported"),
        ("h", "h isn't a valid proxy: scheme  isn't supported"),
        ("", " isn't a valid proxy: scheme  isn't supported"),
        ("http://", "http:// isn't a valid proxy: hostname isn't provided"),
        ("http://user@h", "http://***@h isn't a valid proxy: username provided without password"),
        ("http://h/path", "http://h/path isn't a valid proxy: path is meaningless"),
        ("http://h?query", "http://h?query isn't a valid proxy: query is meaningless"),
        ("http://h#fragment", "http://h#fragment isn't a valid proxy: fragment is meaningless"),
        (f"http://u:{PASSWORD}@h:x", "http://***@h:x isn't a valid proxy: host or port is invalid"),
        (f"http://u:{PASSWORD}@[h", "http://***@[h isn't a valid proxy: host or port is invalid"),
        (False, "False isn't a valid proxy: it is not a str"),
    ],
)
async def test_urls_that_are_no_proxys(url, text):
    with pytest.raises(InvalidProxy) as caught:
        await connect(TARGET, proxy=url)
    assert str(caught.value) == text
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


async def test_credentials_that_socks_cannot_carry():
    with pytest.raises(InvalidProxy, match="1 to 255 ASCII characters") as caught:
        await connect(TARGET, proxy=f"socks5://{'u' * 256}:{PASSWORD}@127.0.0.1:1")
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


# The environment


@pytest.mark.parametrize("variable", ["ws_proxy", "WS_PROXY", "https_proxy", "http_proxy"])
async def test_the_environment_names_a_proxy(variable, environment):
    async with asyncio.timeout(10), listen() as proxy:
        environment(variable, f"http://127.0.0.1:{proxy.port}")
        opening = asyncio.create_task(connect(TARGET).__aenter__())
        peer = await proxy.accept(upgrade=False)
        await peer.read_http_head()
        peer.write_bytes(OK)
        await finish(opening, peer)


async def test_socks_in_the_environment(environment):
    async with asyncio.timeout(10), listen() as proxy:
        environment("socks_proxy", f"http://127.0.0.1:{proxy.port}")
        opening = asyncio.create_task(connect(TARGET).__aenter__())
        peer = await proxy.accept(upgrade=False)
        assert await peer.read_bytes(3) == b"\x05\x01\x00"
        opening.cancel()
        await asyncio.wait([opening])


@pytest.mark.parametrize("way", ["None", "no_proxy", "host", "sock"])
async def test_ways_around_the_proxy_of_the_environment(way, environment):
    environment("ws_proxy", "http://127.0.0.1:1")
    async with running() as site:
        options = {"None": {"proxy": None}, "host": {"host": "127.0.0.1"}}.get(way, {})
        if way == "no_proxy":
            environment("no_proxy", "127.0.0.1")
        if way == "sock":
            options = {"sock": socket.create_connection(site.endpoint.address)}
        async with connect(site.url, **options) as connection:
            await connection.send("x")
            assert await connection.recv() == "x"


@pytest.mark.links("unix")
async def test_there_is_no_proxy_to_a_unix_socket(link, environment):
    environment("ws_proxy", "http://127.0.0.1:1")
    async with running(link=link) as site, connect("ws://localhost/", **site.options) as connection:
        assert connection.remote_address == site.endpoint.address


# What contradicts what


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"proxy": "http://h", "proxy_ssl": True}, ValueError, "proxy_ssl argument is incompatible with an http://"),
        ({"proxy": "https://h", "proxy_ssl": None}, ValueError, "proxy_ssl=None is incompatible with an https://"),
        ({"proxy": "http://h", "proxy_server_hostname": "x"}, ValueError, "proxy_server_hostname: only meaningful"),
        ({"proxy": None, "proxy_ssl": True}, TypeError, "proxy_ssl"),
        ({"proxy": "http://h", "host": "127.0.0.1"}, ValueError, "host and port cannot be combined with proxy"),
        ({"proxy": "http://h", "server_hostname": "x"}, ValueError, "server_hostname: only meaningful with wss://"),
    ],
)
async def test_arguments_that_contradict_each_other(options, kind, message):
    with pytest.raises(kind, match=message):
        await connect(TARGET, **options)
