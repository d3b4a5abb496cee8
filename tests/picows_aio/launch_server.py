"""Runs a server of picows_aio until its standard input ends, and prints its port.

One argument: a JSON object with the way its handler receives, "nothing", "messages", "fragments" or "close", the
name of a loop, and settings of `serve`.
"""

import asyncio
import json
import sys
from typing import Any

from picows_aio import ServerConnection, serve


async def receive_nothing(connection: ServerConnection) -> None:
    """Let everything wait."""
    await connection.wait_closed()


async def receive_messages(connection: ServerConnection) -> None:
    """Take and drop."""
    async for _ in connection:
        pass


async def receive_fragments(connection: ServerConnection) -> None:
    """Begin to stream a message and stop after its first fragment."""
    stream = connection.recv_streaming()
    await anext(stream)
    await connection.wait_closed()


async def close(connection: ServerConnection) -> None:
    """Wait for the peer's CLOSE frame."""
    await connection.close()


HANDLERS = {
    "nothing": receive_nothing,
    "messages": receive_messages,
    "fragments": receive_fragments,
    "close": close,
}


async def run(receives: str, options: dict[str, Any]) -> None:
    """Serve until the standard input ends."""
    async with serve(HANDLERS[receives], "127.0.0.1", 0, compression=None, **options) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve as the argument says."""
    settings = json.loads(sys.argv[1])
    if settings.pop("loop") == "uvloop":
        import uvloop

        uvloop.run(run(settings.pop("receives"), settings))
    else:
        asyncio.run(run(settings.pop("receives"), settings))


if __name__ == "__main__":
    main()
