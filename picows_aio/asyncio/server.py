"""Servers, under the import path of `websockets.asyncio.server`."""

from picows_aio.auth import basic_auth
from picows_aio.broadcasting import broadcast
from picows_aio.server import Server, ServerConnection, serve, unix_serve

__all__ = ["Server", "ServerConnection", "basic_auth", "broadcast", "serve", "unix_serve"]
