"""Ultra-fast WebSocket client and server for asyncio: synchronous callbacks over zero-copy frames."""

from picows.broadcast import WSBroadcastResult, broadcast
from picows.client import ws_connect
from picows.closing import WSCloseHandshake, WSCloseInfo
from picows.enums import WSAutoPingStrategy, WSCloseCode, WSMsgType
from picows.errors import (
    WSError,
    WSHandshakeError,
    WSInvalidHeaderError,
    WSInvalidMessageError,
    WSInvalidStatusError,
    WSInvalidUpgradeError,
    WSInvalidURL,
    WSProtocolError,
)
from picows.frame import WSFrame
from picows.handshake import Refusal, ServerHandshakePolicy, check_upgrade_request
from picows.http11 import HeadLimits
from picows.http_message import WSUpgradeRequest, WSUpgradeResponse
from picows.listener import WSListener
from picows.opening import WSUpgradeResponseWithListener
from picows.options import PICOWS_DEBUG_LL
from picows.server import ws_create_server
from picows.transport import WSTransport, WSTransportStats
from picows.url import WSParsedURL
from picows.version import __version__

__all__ = [
    "PICOWS_DEBUG_LL",
    "HeadLimits",
    "Refusal",
    "ServerHandshakePolicy",
    "WSAutoPingStrategy",
    "WSBroadcastResult",
    "WSCloseCode",
    "WSCloseHandshake",
    "WSCloseInfo",
    "WSError",
    "WSFrame",
    "WSHandshakeError",
    "WSInvalidHeaderError",
    "WSInvalidMessageError",
    "WSInvalidStatusError",
    "WSInvalidURL",
    "WSInvalidUpgradeError",
    "WSListener",
    "WSMsgType",
    "WSParsedURL",
    "WSProtocolError",
    "WSTransport",
    "WSTransportStats",
    "WSUpgradeRequest",
    "WSUpgradeResponse",
    "WSUpgradeResponseWithListener",
    "__version__",
    "broadcast",
    "check_upgrade_request",
    "ws_connect",
    "ws_create_server",
]
