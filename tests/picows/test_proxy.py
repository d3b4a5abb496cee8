"""Proxies: what goes over the wire, and what a proxy may answer. Real ones are in `tests/interop`."""

import asyncio
import base64
import contextlib
import ipaddress
import socket
import ssl
import traceback

import pytest
from python_socks import ProxyError

from picows import WSHandshakeError, ws_connect
from picows.proxy import parse_proxy_url
from tests.support import TEXT, RawPeer, RawServer, listen
from tests.support.recorder import Recorder

OK = b"HTTP/1.1 200 Connection established\r\n\r\n"
SOCKS5_OK = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
SOCKS4_OK = b"\x00\x5a\x00\x00\x00\x00\x00\x00"
PASSWORD = "pa55w0rd"
TARGET = "ws://name.invalid:81/chat"  # a name that only the proxy can resolve (RFC 6761 section 6.4)

pytestmark = pytest.mark.links("plain")


def proxy_url(proxy: RawServer, scheme: str = "http", user_info: str = "") -> str:
    return f"{scheme}://{user_info}127.0.0.1:{proxy.port}"


async def start(proxy: RawServer, url: str = TARGET, scheme: str = "http", user_info: str = "", **options):
    """A `ws_connect` under way and the proxy's end of its connection."""
    options["proxy"] = proxy_url(proxy, scheme, user_info)
    connecting = asyncio.create_task(ws_connect(Recorder, url, **options))
    try:
        return connecting, await proxy.accept(upgrade=False)
    except BaseException:
        connecting.cancel()
        raise


async def finish(connecting: asyncio.Task, peer: RawPeer) -> None:
    """The tunnel stands: the peer turns into the server, and a message passes."""
    head = await peer.accept_upgrade()
    assert head.one("Host") == "name.invalid:81"
    transport, listener = await connecting
    peer.write_frame(TEXT, "through")
    assert (await listener.next_frame()).payload == b"through"
    transport.disconnect(graceful=False)
    await transport.wait_disconnected()


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "user_info"),
    [
        ("http://proxy.test", "http", "proxy.test", 80, None),
        ("HTTP://Proxy.Test:3128/", "http", "proxy.test", 3128, None),
        ("https://proxy.test", "https", "proxy.test", 443, None),
        ("socks4://proxy.test", "socks4", "proxy.test", 1080, None),
        ("socks5://u:80@proxy.test", "socks5", "proxy.test", 1080, ("u", "80")),
        ("socks5h://u%40x:p%3A%2F@[::1]", "socks5h", "::1", 1080, ("u@x", "p:/")),
        ("socks4a://u:ignored@[::1]:9", "socks4a", "::1", 9, ("u", "ignored")),
        ("http://\u00fc:\u20ac@b\u00fccher.test", "http", "xn--bcher-kva.test", 80, ("\u00fc", "\u20ac")),
    ],
)
def test_proxy_url(url, scheme, host, port, user_info):
    parsed = parse_proxy_url(url)
    assert (parsed.scheme, parsed.host, parsed.port, parsed.user_info) == (scheme, host, port, user_info)
    assert parsed.is_secure is (scheme == "https")
    assert parsed.url == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"ftp://u:{PASSWORD}@proxy.test", "scheme 'ftp' is none of http, https, socks4"),
        (f"u:{PASSWORD}@proxy.test:80", "scheme"),
        ("", "scheme ''"),
        (f"http://u:{PASSWORD}@", "no host"),
        (f"http://u:{PASSWORD}@proxy.test:99999", "port '99999'"),
        (f"http://u:{PASSWORD}@proxy.test/#x", "fragment"),
        (f"http://:{PASSWORD}@proxy.test", "a password but no user"),
        (f"socks5://{'u' * 256}:{PASSWORD}@proxy.test", "SOCKS user must be 1 to 255 ASCII"),
        (f"socks5://u:{PASSWORD}{'p' * 256}@proxy.test", "SOCKS password must be 1 to 255 ASCII"),
        (f"socks5://u:{PASSWORD}\u20ac@proxy.test", "SOCKS password must be 1 to 255 ASCII"),
        ("socks5://u@proxy.test", "SOCKS password must be 1 to 255 ASCII"),
        (f"socks4://:{PASSWORD}@proxy.test", "SOCKS user must be 1 to 255 ASCII"),
    ],
)
async def test_bad_proxy_url_is_refused_without_showing_its_password(url, words):
    with pytest.raises(ValueError, match=words) as caught:
        await ws_connect(Recorder, TARGET, proxy=url)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


async def test_proxy_must_be_a_url():
    with pytest.raises(TypeError, match="proxy must be a URL as a str or None, not bytes"):
        await ws_connect(Recorder, TARGET, proxy=b"http://proxy.test")


@pytest.mark.parametrize("conflict", [{"path": "/tmp/x"}, {"host": "x"}, {"port": 1}])
async def test_proxy_conflicts_with_another_place_to_connect(conflict):
    (name,) = conflict
    with pytest.raises(
        ValueError, match=f"{'path' if name == 'path' else 'host and port'} cannot be combined with proxy"
    ):
        await ws_connect(Recorder, TARGET, proxy="http://proxy.test", **conflict)


class TestHttp:
    """RFC 9110 section 9.3.6."""

    async def test_connect_names_the_server_and_leaves_resolving_to_the_proxy(self):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy)
            head = await peer.read_http_head()
            assert head.start_line == "CONNECT name.invalid:81 HTTP/1.1"
            assert head.one("Host") == "name.invalid:81"
            assert head.all("Proxy-Authorization") == []
            peer.write_bytes(OK)
            await finish(connecting, peer)

    async def test_ipv6_addresses_stand_in_brackets_without_their_zone(self):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, "ws://[fe80::1%25eth0]/")
            assert (await peer.read_http_head()).start_line == "CONNECT [fe80::1]:80 HTTP/1.1"
            peer.reset()
            with pytest.raises(ProxyError):
                await connecting

    async def test_credentials_are_sent_as_utf8(self):
        """RFC 7617 section 2.1."""
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, user_info="u%C3%BC:p%40%E2%82%AC@")
            value = (await peer.read_http_head()).one("Proxy-Authorization")
            assert base64.b64decode(value.removeprefix("Basic ")) == "u\u00fc:p@\u20ac".encode()
            peer.write_bytes(OK)
            upgrade = await peer.accept_upgrade()
            assert upgrade.all("Proxy-Authorization") == upgrade.all("Authorization") == []
            (await connecting)[0].disconnect(graceful=False)

    @pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
    async def test_the_reply_may_come_in_pieces(self, line_end):
        reply = line_end.join([b"HTTP/1.0 200 OK", b"Via: x", b"Content-Length: 5", b"", b""])
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy)
            await peer.read_http_head()
            peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for octet in reply:
                peer.write_bytes(bytes([octet]))
                await asyncio.sleep(0)
            await finish(connecting, peer)

    @pytest.mark.parametrize(
        ("reply", "words", "code"),
        [
            (b"HTTP/1.1 403 Forbidden\r\n\r\nno", "403 Forbidden", 403),
            (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407 Proxy .*user:password@ in the proxy URL", 407),
            (b"HTTP/1.1 502\r\n\r\n", "502", 502),
            (b"HTTP/1.1 200x OK\r\n\r\n", "status code", None),
            (b"HTTP/1.1\r\n\r\n", "status line", None),
            (b"SSH-2.0-OpenSSH", "not HTTP", None),
            (b"\x05\xff\x00\x00\x00", "not HTTP", None),
            (b"HTTP/1.1 200 OK\r\n", "closed the connection", None),
            (b"", "closed the connection", None),
            (b"HTTP/1.1 500 \x1b[2J\xff\r\n\r\n", r"500 \\x1b\[2J", 500),
            (b"HTTP/1.1 500 " + b"x" * 1000 + b"\r\n\r\n", "x{190}", 500),
        ],
    )
    async def test_a_refusal_says_what_the_proxy_said(self, reply, words, code):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy)
            await peer.read_http_head()
            peer.write_bytes(reply)
            peer.half_close()
            with pytest.raises(ProxyError, match=words) as caught:
                await connecting
            await peer.read_eof()
            assert f"proxy {proxy_url(proxy)} did not open a tunnel to name.invalid:81: " in str(caught.value)
        assert caught.value.error_code == code
        assert len(str(caught.value)) < 400

    async def test_an_endless_reply(self):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy)
            await peer.read_http_head()
            peer.write_bytes(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000)
            with pytest.raises(ProxyError, match="longer than 65536 bytes"):
                await connecting
            await peer.read_eof()

    async def test_bytes_that_the_server_cannot_have_sent(self):
        """Before the client's first byte there is nothing to answer: it would become part of the handshake."""
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy)
            await peer.read_http_head()
            peer.write_bytes(OK + b"HTTP/1.1 101 Switching Protocols\r\n")
            with pytest.raises(ProxyError, match="34 bytes after its reply"):
                await connecting
            await peer.read_eof()

    async def test_no_password_in_any_error(self):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, user_info=f"user:{PASSWORD}@")
            await peer.read_http_head()
            peer.write_bytes(b"HTTP/1.1 407 Wrong\r\n\r\n")
            with pytest.raises(ProxyError, match="407 Wrong") as caught:
                await connecting
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert PASSWORD not in shown
        assert base64.b64encode(f"user:{PASSWORD}".encode()).decode() not in shown
        assert "in the proxy URL" not in shown  # they were there

    @pytest.mark.parametrize("reply", [b"HTTP/1.1 407 Wrong\r\nProxy-Authenticate: Basic\r\n\r\n", b"HTTP/1.1 2"])
    async def test_the_answer_goes_with_the_error(self, reply):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy)
            await peer.read_http_head()
            peer.write_bytes(reply)
            peer.half_close()
            with pytest.raises(ProxyError) as caught:
                await connecting
        assert caught.value.reply == reply

    async def test_the_name_in_the_certificate_of_the_proxy(self, tls_contexts):
        async with asyncio.timeout(5), listen(tls_contexts.server) as proxy:
            options = {"proxy_ssl_context": tls_contexts.client, "proxy_server_hostname": "other.invalid"}
            connecting = asyncio.create_task(ws_connect(Recorder, TARGET, proxy=proxy_url(proxy, "https"), **options))
            with contextlib.suppress(ssl.SSLError, ConnectionError, EOFError):
                await proxy.accept(upgrade=False)
            with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.invalid"):
                await connecting

    async def test_keywords_for_tls_with_a_proxy_without_tls(self):
        with pytest.raises(ValueError, match="proxy_server_hostname: only meaningful with an https:// proxy"):
            await ws_connect(Recorder, TARGET, proxy="http://127.0.0.1:1", proxy_server_hostname="x")

    async def test_no_password_in_the_log(self, caplog):
        """Neither the proxy's nor the server's, at the most talkative level."""
        caplog.set_level(1)
        async with asyncio.timeout(5), listen() as proxy:
            target = TARGET.replace("//", f"//user:{PASSWORD}@")
            connecting, peer = await start(proxy, target, user_info=f"user:{PASSWORD}@")
            await peer.read_http_head()
            peer.write_bytes(OK)
            await finish(connecting, peer)
        assert "picows.client" in {record.name for record in caplog.records}
        assert PASSWORD not in caplog.text
        assert base64.b64encode(f"user:{PASSWORD}".encode()).decode() not in caplog.text

    async def test_an_upgrade_through_it_fails_like_any_other(self):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy)
            await peer.read_http_head()
            peer.write_bytes(OK)
            await peer.read_http_head()
            peer.write_bytes(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            with pytest.raises(WSHandshakeError) as caught:
                await connecting
            assert caught.value.response.status == 403
            await peer.read_eof()

    async def test_a_redirect_goes_through_the_proxy_again(self):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, first = await start(proxy)
            await first.read_http_head()
            first.write_bytes(OK)
            await first.read_http_head()
            first.write_bytes(b"HTTP/1.1 302 Found\r\nLocation: ws://other.invalid/\r\nContent-Length: 0\r\n\r\n")
            second = await proxy.accept(upgrade=False)
            assert first.sock.recv(1) == b""
            assert (await second.read_http_head()).start_line == "CONNECT other.invalid:80 HTTP/1.1"
            second.reset()
            with pytest.raises(ProxyError, match=r"other\.invalid:80"):
                await connecting


class TestSocks:
    """RFC 1928 and 1929; SOCKS4 and its extension 4a by their de facto descriptions."""

    @pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
    async def test_socks5_sends_the_name(self, scheme):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, scheme=scheme)
            assert await peer.read_bytes(3) == b"\x05\x01\x00"
            peer.write_bytes(b"\x05\x00")
            assert await peer.read_bytes(19) == b"\x05\x01\x00\x03\x0cname.invalid\x00\x51"
            peer.write_bytes(SOCKS5_OK)
            await finish(connecting, peer)

    @pytest.mark.parametrize("host", ["127.0.0.2", "[::2]"])
    async def test_socks5_sends_an_address_as_one(self, host):
        address = ipaddress.ip_address(host.strip("[]"))
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, f"ws://{host}/", "socks5")
            await peer.read_bytes(3)
            peer.write_bytes(b"\x05\x00")
            kind = b"\x01" if address.version == 4 else b"\x04"
            assert (
                await peer.read_bytes(6 + len(address.packed)) == b"\x05\x01\x00" + kind + address.packed + b"\x00\x50"
            )
            peer.reset()
            with pytest.raises(ProxyError):
                await connecting

    async def test_socks5_credentials(self):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, scheme="socks5", user_info=f"user:{PASSWORD}@")
            assert await peer.read_bytes(4) == b"\x05\x02\x00\x02"
            peer.write_bytes(b"\x05\x02")
            assert await peer.read_bytes(15) == b"\x01\x04user\x08" + PASSWORD.encode()
            peer.write_bytes(b"\x01\x00")
            await peer.read_bytes(19)
            peer.write_bytes(SOCKS5_OK)
            await finish(connecting, peer)

    @pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
    async def test_socks4_sends_the_name_and_the_user(self, scheme):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, scheme=scheme, user_info="user@")
            expected = b"\x04\x01\x00\x51\x00\x00\x00\x01user\x00name.invalid\x00"
            assert await peer.read_bytes(len(expected)) == expected
            peer.write_bytes(SOCKS4_OK)
            await finish(connecting, peer)

    async def test_socks4_has_no_ipv6(self):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, "ws://[::2]/", "socks4")
            with pytest.raises(ProxyError, match=r"cannot connect to \[::2\]: SOCKS4 has no IPv6 addresses"):
                await connecting
            await peer.read_eof()

    @pytest.mark.parametrize(
        ("replies", "words"),
        [
            ([(3, b"\x05\xff")], "No acceptable authentication methods"),
            ([(3, b"\x05\x02")], "Unexpected SOCKS authentication method"),
            ([(3, b"HTTP/1.1 400 Bad\r\n")], "Unexpected SOCKS version"),
            (
                [(3, b"\x05\x00"), (19, b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00")],
                "Connection refused by destination",
            ),
            ([(3, b"\x05\x00"), (19, b"\x05\x02\x00")], "not allowed by ruleset"),
            ([(3, b"\x05\x00"), (19, b"\x05\x00\x00")], "closed the connection"),
            ([(3, b"")], "closed the connection"),
        ],
    )
    async def test_socks5_refusals(self, replies, words):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, scheme="socks5")
            for size, reply in replies:
                await peer.read_bytes(size)
                peer.write_bytes(reply)
            peer.half_close()
            with pytest.raises(
                ProxyError, match=f"^proxy socks5://.* did not open a tunnel to name.invalid:81: .*{words}"
            ):
                await connecting
            await peer.read_eof()

    async def test_wrong_password(self):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, scheme="socks5", user_info=f"user:{PASSWORD}@")
            await peer.read_bytes(4)
            peer.write_bytes(b"\x05\x02")
            await peer.read_bytes(15)
            peer.write_bytes(b"\x01\x01")
            with pytest.raises(ProxyError, match="Username and password authentication failure") as caught:
                await connecting
        assert PASSWORD not in "".join(traceback.format_exception(caught.value))

    async def test_socks4_refusal(self):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, scheme="socks4")
            await peer.read_bytes(22)
            peer.write_bytes(b"\x00\x5b\x00\x00\x00\x00\x00\x00")
            with pytest.raises(ProxyError, match="rejected or failed"):
                await connecting
            await peer.read_eof()


class TestConnecting:
    async def test_a_proxy_that_is_not_there(self):
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionRefusedError) as caught:
                await ws_connect(Recorder, TARGET, proxy=f"http://u:{PASSWORD}@127.0.0.1:{port}")
        assert caught.value.__notes__ == [f"while connecting to proxy http://127.0.0.1:{port}"]
        assert PASSWORD not in "".join(traceback.format_exception(caught.value))

    @pytest.mark.parametrize("use_aiofastnet", [None, True])
    async def test_a_silent_proxy_meets_the_deadline(self, use_aiofastnet):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, websocket_handshake_timeout=0.1, use_aiofastnet=use_aiofastnet)
            with pytest.raises(asyncio.TimeoutError, match=r"ws://name.invalid:81 did not complete .* within 0.1 s"):
                await connecting
            await peer.read_http_head()
            await peer.read_eof()

    async def test_keywords_of_create_connection_are_for_the_way_to_the_proxy(self):
        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, local_addr=("127.0.0.3", 0))
            assert peer.sock.getpeername()[0] == "127.0.0.3"
            await peer.read_http_head()
            peer.write_bytes(OK)
            await finish(connecting, peer)

    async def test_keywords_of_tls_need_tls(self):
        async with asyncio.timeout(5), listen() as proxy:
            with pytest.raises(ValueError, match="server_hostname, ssl_handshake_timeout: only meaningful with wss://"):
                await ws_connect(Recorder, TARGET, proxy=proxy_url(proxy), server_hostname="x", ssl_handshake_timeout=1)

    async def test_the_socket_factory_is_asked_for_the_way_to_the_proxy(self):
        asked = []

        async def connected(endpoint):
            asked.append((endpoint.scheme, endpoint.host, endpoint.port))
            sock = socket.socket()
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", endpoint.port))
            return sock

        async with asyncio.timeout(5), listen() as proxy:
            connecting, peer = await start(proxy, scheme="socks5", socket_factory=connected)
            await peer.read_bytes(3)
            peer.write_bytes(b"\x05\x00")
            await peer.read_bytes(19)
            peer.write_bytes(SOCKS5_OK)
            await finish(connecting, peer)
            assert asked == [("socks5", "127.0.0.1", proxy.port)]

    async def test_a_certificate_of_the_proxy_that_is_not_trusted(self, tls_contexts):
        async with asyncio.timeout(5), listen(tls_contexts.server) as proxy:
            accepting = asyncio.create_task(proxy.accept(upgrade=False))
            with pytest.raises(ssl.SSLCertVerificationError) as caught:
                await ws_connect(Recorder, TARGET, proxy=f"https://localhost:{proxy.port}")
            assert caught.value.__notes__ == [f"while connecting to proxy https://localhost:{proxy.port}"]
            with contextlib.suppress(ssl.SSLError):
                await accepting

    async def test_the_https_proxy_gets_connect_inside_tls(self, tls_contexts):
        async with asyncio.timeout(5), listen(tls_contexts.server) as proxy:
            connecting, peer = await start(proxy, scheme="https", proxy_ssl_context=tls_contexts.client)
            assert (await peer.read_http_head()).start_line == "CONNECT name.invalid:81 HTTP/1.1"
            peer.write_bytes(OK)
            await finish(connecting, peer)
