"""Runs pproxy until its standard input ends. Arguments: URIs to listen on, with port 0; prints each one's port.

For the interpreter of the peer, which has pproxy; it imports nothing of ours.
"""

import asyncio
import os
import sys

import pproxy


async def main(uris: list[str]) -> None:
    """Serve every URI."""
    # An authtime of zero seconds: otherwise one client with a password lets in every other from its address.
    options = {"rserver": [pproxy.Connection("direct://")], "authtime": 0}
    servers = [await pproxy.Server(uri).start_server(options) for uri in uris]
    for server in servers:
        print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)  # an orderly end would wait for handlers that swallow their cancellation


asyncio.run(main(sys.argv[1:]))
