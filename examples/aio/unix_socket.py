"""Shows a server and a client that talk over a Unix domain socket."""

import asyncio
import socket
import sys
import tempfile
from pathlib import Path

from picows_aio import ServerConnection, unix_connect, unix_serve


async def echo(websocket: ServerConnection) -> None:
    async for message in websocket:
        await websocket.send(message)


async def main(path: Path) -> None:
    # The URL still gives the Host header and the request path; nothing is resolved.
    async with unix_serve(echo, path), unix_connect(path, "ws://localhost/feed") as websocket:
        print(f"Connected to {websocket.remote_address}.")
        await websocket.send("no port was needed")
        print(f"The echo says {await websocket.recv()!r}.")


if __name__ == "__main__":
    if not hasattr(socket, "AF_UNIX"):
        sys.exit("This system has no Unix domain sockets.")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder) / "feed.sock"))
