from collections.abc import Coroutine
from typing import Any, Self, final

from typing_extensions import disjoint_base

from picows import WSFrame
from picows_aio.inbox import ReadOperation
from picows_aio.typing import Data

@final
class RecvOperation(ReadOperation): ...

class NextOperation(ReadOperation): ...

@final
class FrameOperation(NextOperation): ...

@final
class ViewOperation(NextOperation): ...

@final
class BatchOperation(NextOperation): ...

@final
class FragmentOperation(ReadOperation): ...

@disjoint_base
class MessageIterator:
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, Any]: ...

@final
class FrameIterator(MessageIterator):
    def __anext__(self) -> Coroutine[Any, Any, WSFrame]: ...

@final
class ViewIterator(MessageIterator):
    def __anext__(self) -> Coroutine[Any, Any, memoryview]: ...

@final
class BatchIterator(MessageIterator):
    def __anext__(self) -> Coroutine[Any, Any, list[Data]]: ...
