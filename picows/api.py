"""The functions of :mod:`picows`, for code that imports them from here."""

from picows.client import ws_connect
from picows.options import PICOWS_DEBUG_LL
from picows.server import ws_create_server

__all__ = ["PICOWS_DEBUG_LL", "ws_connect", "ws_create_server"]
