"""`websockets`, with its C extension."""

import websockets.speedups  # noqa: F401 - there is no point in measuring without
from websockets import ConnectionClosed
from websockets.asyncio.client import connect
from websockets.asyncio.server import broadcast, serve
from websockets_api import Library

KEYWORDS = {"ping_interval": None, "max_size": None, "max_queue": None}

if __name__ == "__main__":
    Library(connect, serve, broadcast, ConnectionClosed, KEYWORDS).main()
