from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from typing_extensions import disjoint_base

from picows_aio.awaitable import Operation
from picows_aio.connection import Connection
from picows_aio.exceptions import ConnectionClosed
from picows_aio.inbox import ReadOperation
from picows_aio.typing import Data

_C = TypeVar("_C", bound=Connection)

@disjoint_base
class MergedReader(ReadOperation): ...

@disjoint_base
class MergeState:
    def __init__(
        self, connections: Sequence[Connection], on_closed: Callable[[Any, ConnectionClosed], object] | None
    ) -> None: ...

@disjoint_base
class Merge(Generic[_C]):
    def __init__(
        self, connections: Sequence[_C], on_closed: Callable[[_C, ConnectionClosed], object] | None
    ) -> None: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, tuple[_C, Data]]: ...
    async def aclose(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

@disjoint_base
class MergeOperation(Operation): ...

def merge(*connections: _C, on_closed: Callable[[_C, ConnectionClosed], object] | None = None) -> Merge[_C]: ...
