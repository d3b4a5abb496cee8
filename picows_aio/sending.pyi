from collections.abc import AsyncIterable, Iterable
from typing import final

from typing_extensions import disjoint_base

from picows import WSMsgType, WSTransport
from picows_aio.awaitable import Operation
from picows_aio.deflate import SharedPayloads
from picows_aio.receiving import ReceivingEndpoint
from picows_aio.typing import BytesLike, DataLike

@disjoint_base
class SendingEndpoint(ReceivingEndpoint):
    async def send(
        self,
        message: DataLike | Iterable[DataLike] | AsyncIterable[DataLike],
        *,
        text: bool | None = None,
        compress: bool | None = None,
    ) -> None: ...
    @property
    def core_transport(self) -> WSTransport: ...
    def is_sending_fragments(self) -> bool: ...
    def send_nowait(self, opcode: WSMsgType, message: BytesLike) -> None: ...
    def send_shared(self, opcode: WSMsgType, message: bytes, shared: SharedPayloads) -> None: ...

@final
class SendOperation(Operation): ...
