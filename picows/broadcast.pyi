from collections.abc import Iterable
from typing import NamedTuple

from typing_extensions import Buffer

from picows.enums import WSMsgType
from picows.transport import WSTransport

class WSBroadcastResult(NamedTuple):
    sent: int
    skipped: tuple[WSTransport, ...]
    failed: tuple[tuple[WSTransport, Exception], ...]

def broadcast(
    transports: Iterable[WSTransport],
    msg_type: WSMsgType,
    message: str | Buffer,
    *,
    max_backlog: int | None = None,
) -> WSBroadcastResult: ...
