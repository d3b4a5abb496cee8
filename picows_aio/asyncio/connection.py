"""What clients and servers have in common, under the import path of `websockets.asyncio.connection`."""

from picows_aio.broadcasting import broadcast
from picows_aio.connection import Connection

__all__ = ["Connection", "broadcast"]
