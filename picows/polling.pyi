import asyncio

from typing_extensions import disjoint_base

from picows.delivery import DeliveringProtocol
from picows.options import PICOWS_DEBUG_LL as PICOWS_DEBUG_LL
from picows.options import ConnectionOptions

@disjoint_base
class PollingProtocol(DeliveringProtocol):
    def __init__(
        self, loop: asyncio.AbstractEventLoop, options: ConnectionOptions, *, is_client_side: bool
    ) -> None: ...
