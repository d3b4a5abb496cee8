from collections.abc import Callable

POOL_SIZE: int
random_bytes: Callable[[int], bytes]

def discard_pool() -> None: ...
