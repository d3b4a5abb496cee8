"""Redirects: which are followed, what goes along, and how programs take part in it."""

import asyncio
import contextlib
import socket

import pytest

from picows_aio import Headers, InvalidStatus, InvalidURI, Response, SecurityError, connect
from picows_aio.settings import MAX_REDIRECTS
from tests.picows_aio.sites import running


def redirect_to(location, status=302):
    """A process_request that redirects every request, or those for "/old" alone where there is a path to go to."""

    def process_request(connection, request):
        if location.startswith("/") and request.path != "/old":
            return None
        return Response(status, "Elsewhere", Headers([("Location", location), ("Content-Length", "0")]))

    return process_request


@contextlib.asynccontextmanager
async def two_sites(status=302, **options):
    """A site, and another one that redirects to it."""
    async with running(**options) as target, running(process_request=redirect_to(f"{target.url}/new", status)) as site:
        yield site, target


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_statuses_that_are_followed(status, link):
    async with running(link=link, process_request=redirect_to("/new?x=1", status)) as site:
        connecting = site.connect("/old")
        async with connecting as connection:
            assert connection.request.path == "/new?x=1"
        assert connecting.uri == f"{site.url}/new?x=1"
        async with connecting as connection:
            assert connection.request.path == "/new?x=1"


@pytest.mark.parametrize("status", [304, 305, 306, 399])
async def test_statuses_that_are_not(status):
    async with running(process_request=redirect_to("/new", status)) as site:
        with pytest.raises(InvalidStatus):
            await site.connect("/old")


@pytest.mark.parametrize("locations", [[], ["/a", "/b"]])
async def test_without_one_location_it_is_a_refusal(locations):
    headers = Headers([("Location", location) for location in locations])
    async with running(process_request=lambda *_: Response(302, "X", headers)) as site:
        with pytest.raises(InvalidStatus):
            await site.connect()


async def test_the_limit():
    asked = []

    def process_request(connection, request):
        asked.append(request.path)
        return Response(302, "X", Headers([("Location", f"{request.path}x")]))

    async with running(process_request=process_request) as site:
        with pytest.raises(SecurityError, match=rf"^more than {MAX_REDIRECTS} redirects$"):
            await site.connect("/")
    assert len(asked) == MAX_REDIRECTS == 10


@pytest.mark.parametrize(
    ("location", "kind"),
    [("http://h/", InvalidURI), ("ws://h/#f", InvalidURI), ("ws://h:x/", InvalidURI), ("ws://[", ValueError)],
)
async def test_locations_that_lead_nowhere(location, kind):
    async with running(process_request=redirect_to(location)) as site:
        with pytest.raises(kind):
            await site.connect()


async def test_it_never_leads_from_tls_to_plain_text(tls_contexts):
    redirect = redirect_to("ws://127.0.0.1/")
    async with running(ssl=tls_contexts.server, process_request=redirect) as site:
        url = f"wss://127.0.0.1:{site.endpoint.address[1]}/"
        with pytest.raises(SecurityError, match=r"cannot follow redirect to non-secure URI ws://127.0.0.1/"):
            await connect(url, proxy=None, ssl=tls_contexts.client)


async def test_it_may_lead_to_tls(tls_contexts):
    async with running(ssl=tls_contexts.server) as target:
        url = f"wss://127.0.0.1:{target.endpoint.address[1]}/"
        async with running(process_request=redirect_to(url)) as site:
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                await site.connect()
            with pytest.raises(ValueError, match="ssl=None is incompatible"):
                await site.connect(ssl=None)


SECRETS = {"Authorization": "Bearer x", "Cookie": "a=b", "Proxy-Authorization": "Basic x"}


@pytest.mark.parametrize("is_same_origin", [True, False])
async def test_secrets_stay_at_their_origin(is_same_origin):
    async with two_sites() as (site, target):
        connecting = (target if is_same_origin else site).connect("/old", additional_headers=SECRETS | {"X-Other": "1"})
        for _ in range(2):
            async with connecting as connection:
                sent = connection.request.headers
                assert connection.remote_address == target.endpoint.address
                assert sent["X-Other"] == "1"
                assert [name in sent for name in SECRETS] == [is_same_origin] * 3


async def test_user_and_password_stay_at_their_origin():
    async with two_sites() as (site, target):
        url = site.url.replace("//", "//user:pass@")
        async with connect(url, proxy=None) as connection:
            assert connection.remote_address == target.endpoint.address
            assert "Authorization" not in connection.request.headers
    async with running(process_request=redirect_to("/new")) as site:
        connection = await connect(site.url.replace("//", "//user:pass@") + "/old", proxy=None)
        assert connection.request.headers["Authorization"] == "Basic dXNlcjpwYXNz"
        await connection.close()


@pytest.mark.parametrize("keyword", ["host", "port"])
async def test_an_explicit_host_or_port_leads_to_one_place(keyword):
    async with two_sites() as (site, _):
        option = {"host": "127.0.0.1", "port": site.endpoint.address[1]}[keyword]
        with pytest.raises(
            ValueError, match=r"cannot follow cross-origin redirect to .* with an explicit host or port"
        ):
            await site.connect(**{keyword: option})
    async with running(process_request=redirect_to("/new")) as site:
        option = {"host": "127.0.0.1", "port": site.endpoint.address[1]}[keyword]
        async with site.connect("/old", **{keyword: option}) as connection:
            assert connection.request.path == "/new"


@pytest.mark.links("unix")
async def test_a_unix_socket_leads_to_one_place(link):
    async with running(link=link, process_request=redirect_to("ws://elsewhere.invalid/")) as site:
        with pytest.raises(ValueError, match=r"cannot follow cross-origin redirect to .* with a Unix socket"):
            await site.connect()


async def test_a_socket_can_be_used_once():
    async with running(process_request=redirect_to("/new")) as site:
        sock = socket.create_connection(site.endpoint.address)
        with pytest.raises(ValueError, match=r"cannot follow redirect to .* with a preexisting socket"):
            await site.connect("/old", sock=sock)
        assert sock.fileno() == -1


async def test_refusals_do_not_show_the_password():
    async with running(process_request=redirect_to("/new")) as site:
        sock = socket.create_connection(site.endpoint.address)
        with pytest.raises(ValueError, match="preexisting socket") as caught:
            await connect(site.url.replace("//", "//user:pa55w0rd@") + "/old", sock=sock)
        assert "pa55w0rd" not in str(caught.value)


async def test_the_deadline_is_one_for_all_requests():
    async def process_request(connection, request):
        await asyncio.sleep(0.05)
        return Response(302, "X", Headers([("Location", "/again")]))

    async with running(process_request=process_request) as site:
        with pytest.raises(TimeoutError, match="timed out during opening handshake"):
            await site.connect(open_timeout=0.2)


# Subclasses


class Following(connect):
    """Overrides `process_redirect` as a client library does: it asks first, and reads `uri`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def process_redirect(self, exc):
        self.seen.append((self.uri, type(exc)))
        decision = super().process_redirect(exc)
        if isinstance(decision, str) and not decision.endswith("new"):
            return ValueError("not there")
        return decision


async def test_process_redirect_can_be_overridden():
    async with two_sites() as (site, target):
        connecting = Following(f"{site.url}/old", proxy=None)
        async with connecting as connection:
            assert connection.remote_address == target.endpoint.address
        assert connecting.seen == [(f"{site.url}/old", InvalidStatus)]


async def test_process_redirect_may_refuse():
    async with running(process_request=redirect_to("/elsewhere")) as site:
        with pytest.raises(ValueError, match="not there") as caught:
            await Following(f"{site.url}/old", proxy=None)
        assert isinstance(caught.value.__cause__, InvalidStatus)


async def test_process_redirect_may_lead_anywhere():
    class Elsewhere(connect):
        def process_redirect(self, exc):
            return f"{target.url}/there" if exc.response.status_code == 401 else exc

    async with running() as target, running(process_request=lambda c, _: c.respond(401, "")) as site:
        connection = await Elsewhere(site.url, proxy=None)
        assert connection.request.path == "/there"
        await connection.close()


async def test_process_redirect_that_leads_nowhere():
    class Nowhere(connect):
        def process_redirect(self, exc):
            return "http://nope/"

    async with running(process_request=redirect_to("/x")) as site:
        with pytest.raises(InvalidURI, match="scheme isn't ws or wss"):
            await Nowhere(f"{site.url}/old", proxy=None)
