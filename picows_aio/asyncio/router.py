"""Routing by path, under the import path of `websockets.asyncio.router`."""

from picows_aio.router import Router, route, unix_route

__all__ = ["Router", "route", "unix_route"]
