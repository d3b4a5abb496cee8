"""Runs a server of picows_aio until its standard input ends, and prints its port.

One argument: a JSON object with the way its handler receives, "nothing", "messages", "fragments", "closing" or into a
stream with the policy of that name, the name of a loop, and settings of `serve`.
"""

import asyncio
import dataclasses
import json
import operator
import sys
from collections.abc import Awaitable, Callable
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


def receive_into_stream(overflow: str) -> Callable[[ServerConnection], Awaitable[None]]:
    """Open a stream from which nobody takes; print its totals as JSON when the connection is closed."""
    key = {"key": operator.itemgetter(0)} if overflow == "latest" else {}

    async def handle(connection: ServerConnection) -> None:
        async with connection.stream(overflow=overflow, maxsize=100, replay=True, **key) as stream:  # type: ignore[arg-type]
            await connection.wait_closed()
            print(json.dumps(dataclasses.asdict(stream.stats())), flush=True)

    return handle


async def close(connection: ServerConnection) -> None:
    """Wait for the peer's CLOSE frame."""
    await connection.close()


HANDLERS = {
    "nothing": receive_nothing,
    "messages": receive_messages,
    "fragments": receive_fragments,
    "closing": close,
    **{
        overflow: receive_into_stream(overflow)
        for overflow in ("block", "drop_oldest", "drop_newest", "latest", "close")
    },
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
