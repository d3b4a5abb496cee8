"""TLS contexts from a certificate authority that lives as long as the test run."""

import functools
import ssl
from dataclasses import dataclass

import trustme


@dataclass(frozen=True)
class TlsContexts:
    """A server's context and a client's that trusts it; `authority` issues more certificates."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    authority: trustme.CA


def make_tls_contexts(*identities: str) -> TlsContexts:
    """Contexts of a new authority for these host names and addresses (default: localhost in all its forms)."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*(identities or ("localhost", "127.0.0.1", "::1"))).configure_cert(server)
    client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    authority.configure_trust(client)
    return TlsContexts(server, client, authority)


@functools.cache
def shared_tls_contexts() -> TlsContexts:
    """The one pair that the `link` fixture uses; making keys takes longer than a handshake."""
    return make_tls_contexts()
