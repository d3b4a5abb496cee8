"""Cancelling an operation at each of its steps, and looking for what it left behind."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from tests.support.leaks import open_sockets


def sockets_to(port: int) -> int:
    """How many IPv4 sockets of this process are connected to that port: the clients' ends."""
    count = 0
    for fd, target in open_sockets():
        if target.startswith("socket:"):
            with socket.socket(fileno=os.dup(fd)) as sock, contextlib.suppress(OSError):
                count += sock.family == socket.AF_INET and sock.getpeername()[1] == port
    return count


async def cancel_at_every_step(connect: Callable[[], Coroutine[Any, Any, tuple[Any, Any]]], port: int) -> int:
    """Cancel `connect()` after no turn of the loop, after one, after two, ... until it succeeds; how many it took.

    Raises:
        AssertionError: A cancelled call left a socket connected to `port`.
    """
    steps = 0
    while True:
        task = asyncio.create_task(connect())
        for _ in range(steps):
            await asyncio.sleep(0)
        succeeded = task.done()
        task.cancel()
        try:
            transport, _ = await task
        except asyncio.CancelledError:
            assert sockets_to(port) == 0, f"cancelled after {steps} turns of the loop"
        else:
            transport.disconnect(graceful=False)
            await transport.wait_disconnected()
        if succeeded:
            return steps
        steps += 1
