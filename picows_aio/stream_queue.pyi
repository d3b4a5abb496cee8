from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from picows_aio.typing import Data

@dataclass(frozen=True, slots=True)
class StreamStats:
    name: str
    overflow: str
    received: int
    delivered: int
    dropped: int
    filtered: int
    depth: int
    high_water: int
    received_bytes: int
    delivered_bytes: int
    dropped_bytes: int
    filtered_bytes: int
    depth_bytes: int
    oldest_age: float | None

@final
class StreamQueue:
    def __init__(
        self,
        name: str,
        overflow: str,
        maxsize: int,
        max_bytes: int,
        key: Callable[[Data], object] | None,
        filter: Callable[[Data], object] | None,
    ) -> None: ...
    @property
    def name(self) -> str: ...
    def policy(self) -> str: ...
    def depth(self) -> int: ...

def stats_of(queue: StreamQueue) -> StreamStats: ...
def check_stream_settings(
    maxsize: int, max_bytes: int, overflow: str, key: object, filter: object, name: str | None
) -> None: ...
