import asyncio

from typing_extensions import disjoint_base

from picows.options import PICOWS_DEBUG_LL as PICOWS_DEBUG_LL
from picows.options import ConnectionOptions
from picows.transport import TransportOwner

@disjoint_base
class EndingProtocol(TransportOwner):
    def __init__(
        self, loop: asyncio.AbstractEventLoop, options: ConnectionOptions, *, is_client_side: bool
    ) -> None: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def options(self) -> ConnectionOptions: ...
    @property
    def is_client_side(self) -> bool: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...
