"""What every peer says, and how it tells the test about it: one JSON object a line on standard output.

A server first prints its port, then one line for each connection that ended; it stops when its standard input ends.
A client exchanges all messages, a fragmented one and a ping, closes, prints one line and stops.
"""

import asyncio
import json
import os
import ssl
import sys
from typing import Any

TEXTS = ["", "text", "žluťoučký kůň 🐎", "a" * 125, "b" * 126, "c" * 65536]
BINARIES = [bytes(n % 251 for n in range(size)) for size in (0, 1, 125, 126, 65535, 65536, 2**20)]
MESSAGES: list[str | bytes] = [*TEXTS, *BINARIES]
FRAGMENTS = ["in ", "", "three parts"]

CLIENT_CLOSE = (4000, "bye")
CLOSE_REQUEST = "please close"  # a server that receives this text closes with SERVER_CLOSE
SERVER_CLOSE = (4001, "as you wish")


def tell(**facts: Any) -> None:
    """Print one line for the test."""
    print(json.dumps(facts), flush=True)


def server_tls() -> ssl.SSLContext | None:
    """The context of a server with the certificate that the test made, None for a plain server."""
    if "PEER_CERTIFICATE" not in os.environ:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(os.environ["PEER_CERTIFICATE"])
    return context


def client_tls() -> ssl.SSLContext | None:
    """A context that trusts the test's authority, None for a plain client."""
    authority = os.environ.get("PEER_AUTHORITY")
    return ssl.create_default_context(cafile=authority) if authority else None


async def standard_input_ends() -> None:
    """Wait until the test wants a server to stop."""
    await asyncio.to_thread(sys.stdin.read)


def main(server: Any, client: Any) -> None:
    """Be the role that the command line asks for: `server`, or `client URL`."""
    role, *arguments = sys.argv[1:]
    asyncio.run({"server": server, "client": client}[role](*arguments))
