"""Shows an echo client driven by a test server: it asks for the number of cases, runs each, and wants the report.

Usage: autobahn_client.py URL AGENT   (the URL of the Autobahn test suite's fuzzing server, a name for the report)
"""

import asyncio
import contextlib
import sys
from urllib.parse import quote

from picows_aio import ConnectionClosed, InvalidHandshake, connect


async def run(url: str) -> None:
    """Send every message back until the server closes."""
    async with connect(url, max_size=2**25, ping_interval=None) as websocket:
        async for message in websocket:
            await websocket.send(message)


async def main(url: str, agent: str) -> None:
    async with connect(f"{url}/getCaseCount") as websocket:
        count = int(await websocket.recv())
    for case in range(1, count + 1):
        # Many cases break the protocol on purpose.
        with contextlib.suppress(ConnectionClosed, InvalidHandshake):
            await run(f"{url}/runCase?case={case}&agent={quote(agent)}")
    async with connect(f"{url}/updateReports?agent={quote(agent)}") as websocket:
        await websocket.wait_closed()
    print(f"Ran {count} cases.")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
