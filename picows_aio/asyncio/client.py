"""Clients, under the import path of `websockets.asyncio.client`."""

from picows_aio.client import ClientConnection, backoff, connect, process_exception, unix_connect

__all__ = ["ClientConnection", "backoff", "connect", "process_exception", "unix_connect"]
