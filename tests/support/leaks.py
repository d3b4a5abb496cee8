"""What a test may not leave behind: tasks, sockets, transports, futures, and errors that nobody looked at."""

import asyncio
import gc
import os
import socket
from collections.abc import Iterable
from typing import Any

_DESCRIPTORS = next((path for path in ("/proc/self/fd", "/dev/fd") if os.path.isdir(path)), None)
_SETTLE_TIMEOUT = 2.0  # seconds; our closing handshake gives a peer one second for its end of stream


def open_sockets() -> set[tuple[int, str]]:
    """Descriptors of sockets, pipes and pollers of this process, each with its identity in the kernel."""
    found = set()
    for name in os.listdir(_DESCRIPTORS) if _DESCRIPTORS else ():
        try:
            target = os.readlink(f"{_DESCRIPTORS}/{name}")
        except OSError:  # the descriptor of the listing itself
            continue
        if target.startswith(("socket:", "pipe:", "anon_inode:[eventpoll]")):
            found.add((int(name), target))
    return found


def describe_sockets(leaked: Iterable[tuple[int, str]]) -> str:
    """One line a descriptor, with both addresses where it is a socket."""
    return "\n".join(f"  fd {fd} {target} {_addresses(fd)}" for fd, target in sorted(leaked))


async def settle(before: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """Connections that are not in `before` and do not go away although the loop gets time to close them."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _SETTLE_TIMEOUT
    while (leaked := {entry for entry in open_sockets() - before if _is_connection(*entry)}) and loop.time() < deadline:
        await asyncio.sleep(0)
    return leaked


def other_tasks() -> list[str]:
    """Tasks of this loop that still run, but for the one that asks."""
    return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def pending_futures(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Futures of a closed loop that somebody keeps and nobody completed, among what is not frozen."""
    return [
        repr(thing)
        for thing in gc.get_objects()
        # type(), not isinstance(): the latter runs code of proxies and mocks.
        if issubclass(type(thing), asyncio.Future) and thing.get_loop() is loop and not thing.done()
    ]


class LoopErrors(list[dict[str, Any]]):
    """Contexts that reached the loop's exception handler. A test that expects some takes them out."""

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Be the exception handler of `loop`."""
        self.append(context)

    def describe(self) -> str:
        """The message and the exception of each."""
        return "\n".join(f"  {context.get('message')}: {context.get('exception')!r}" for context in self)


def _is_connection(fd: int, target: str) -> bool:
    # uvloop makes itself a socket pair each time it starts to run: that has a name at neither end.
    return target.startswith("socket:") and _addresses(fd) not in (None, ("", ""))


def _addresses(fd: int) -> tuple[object, object] | None:
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            return sock.getsockname(), _peer_name(sock)
    except OSError:
        return None


def _peer_name(sock: socket.socket) -> object:
    try:
        return sock.getpeername()
    except OSError:
        return None
