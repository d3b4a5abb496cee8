from collections.abc import Generator
from typing import Any, final

@final
class Waiter:
    def __await__(self) -> Generator[Any, Any]: ...
