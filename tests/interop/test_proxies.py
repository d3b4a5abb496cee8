"""Real proxies: pproxy (HTTP, SOCKS4, SOCKS5) and proxy.py (HTTP, also over TLS), with and without credentials."""

import asyncio

import pytest
from python_socks import ProxyError

from picows import WSMsgType, ws_connect
from tests.support.proxies import run_pproxy, run_proxy_py
from tests.support.recorder import Recorder

PASSWORD = "pa55w0rd"
URIS = {
    "http": "http://127.0.0.1:0",
    "http auth": f"http://127.0.0.1:0#user:{PASSWORD}",
    "socks4": "socks4://127.0.0.1:0",
    "socks5": "socks5://127.0.0.1:0",
    "socks5 auth": f"socks5://127.0.0.1:0#user:{PASSWORD}",
}


@pytest.fixture(scope="module")
def pproxy():
    with run_pproxy(*URIS.values()) as ports:
        yield dict(zip(URIS, ports, strict=True))


@pytest.fixture(scope="module")
def tls_files(tls_contexts, tmp_path_factory):
    """Arguments that give proxy.py a certificate."""
    folder = tmp_path_factory.mktemp("proxy")
    certificate = tls_contexts.authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for number, part in enumerate(certificate.cert_chain_pems):
        part.write_to_path(folder / "chain.pem", append=number > 0)
    return ["--key-file", str(folder / "key.pem"), "--cert-file", str(folder / "chain.pem")]


@pytest.fixture(scope="module")
def proxy_py():
    with run_proxy_py() as port:
        yield port


@pytest.fixture(scope="module")
def proxy_py_tls(tls_files):
    with run_proxy_py(*tls_files, "--basic-auth", f"user:{PASSWORD}") as port:
        yield port


async def converse(endpoint, connect, **options) -> None:
    """Messages of several sizes there and back through the proxy, then an orderly end."""
    async with connect(endpoint, **options) as (transport, listener):
        for size in (0, 1, 70_000, 3_000_000):
            message = bytes([size % 251]) * size
            transport.send(WSMsgType.BINARY, message)
            assert (await listener.next_frame()).payload == message
        transport.send_close()
        await listener.disconnected.wait()


@pytest.mark.links("plain", "tls")
@pytest.mark.parametrize("use_aiofastnet", [None, True])
class TestRealProxies:
    @pytest.mark.parametrize("kind", URIS)
    async def test_pproxy(self, kind, pproxy, server, connect, use_aiofastnet):
        scheme, _, auth = kind.partition(" ")
        user_info = f"user:{PASSWORD}@" if auth else ""
        proxy = f"{scheme}://{user_info}127.0.0.1:{pproxy[kind]}"
        async with asyncio.timeout(20):
            await converse(server, connect, proxy=proxy, use_aiofastnet=use_aiofastnet)

    async def test_proxy_py(self, proxy_py, server, connect, use_aiofastnet):
        async with asyncio.timeout(20):
            await converse(server, connect, proxy=f"http://localhost:{proxy_py}", use_aiofastnet=use_aiofastnet)

    async def test_https_proxy_with_credentials(self, proxy_py_tls, tls_contexts, server, connect, use_aiofastnet):
        """With the `tls` link this is TLS inside TLS."""
        options = {
            "proxy": f"https://user:{PASSWORD}@localhost:{proxy_py_tls}",
            "proxy_ssl_context": tls_contexts.client,
            "use_aiofastnet": use_aiofastnet,
        }
        async with asyncio.timeout(20):
            await converse(server, connect, **options)


@pytest.mark.links("plain")
@pytest.mark.parametrize("user_info", ["", "user:wrong@"])
async def test_real_proxies_refuse_bad_credentials(user_info, pproxy, proxy_py_tls, tls_contexts, server):
    proxies = {
        f"http://{user_info}127.0.0.1:{pproxy['http auth']}": None,
        f"socks5://{user_info}127.0.0.1:{pproxy['socks5 auth']}": None,
        f"https://{user_info}localhost:{proxy_py_tls}": 407,
    }
    async with asyncio.timeout(10):
        for proxy, code in proxies.items():
            with pytest.raises(ProxyError, match="did not open a tunnel") as caught:
                await ws_connect(Recorder, server.url, proxy=proxy, proxy_ssl_context=tls_contexts.client)
            assert code is None or caught.value.error_code == code
