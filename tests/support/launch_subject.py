"""Runs a server of picows until its standard input ends. One argument: a JSON object with the settings of `Settings`.

Prints its port, then a JSON value for each line on its standard input: see `Subject.commands`.
"""

import asyncio
import contextvars
import gc
import json
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server


@dataclass(frozen=True)
class Settings:
    """What a test may choose."""

    loop: str = "asyncio"
    take: str = "nothing"
    """What listeners do with frames: "nothing", keep the "frame", a "view" or a "slice" of it, or "echo" it."""
    take_size: int | None = None
    """Only frames with a payload of so many bytes; None: every frame."""
    descriptor_limit: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """More keywords of `ws_create_server`."""


TAKE: dict[str, Callable[[WSFrame], Any]] = {
    "frame": lambda frame: frame,
    "view": memoryview,
    "slice": lambda frame: memoryview(frame)[1:-1],
}


class Subject:
    """The listeners' common state."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.kept: list[Any] = []
        self.transports: set[WSTransport] = set()
        self.connected = 0
        self.commands: dict[str, Callable[[], Any]] = {
            "kept": lambda: len(self.kept),
            "connections": lambda: len(self.transports),
            "connected": lambda: self.connected,
            "bytes_received": lambda: sum(transport.stats().bytes_received for transport in self.transports),
            "tasks": lambda: len(asyncio.all_tasks()),
            "collect": gc.collect,
            "objects": _count_objects,
        }


def _count_objects() -> int:
    """Objects but for timers and their contexts: asyncio keeps up to a hundred that were cancelled in its heap."""
    return sum(not isinstance(thing, asyncio.TimerHandle | contextvars.Context) for thing in gc.get_objects())


class Listener(WSListener):
    """Does with frames what the settings say."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.take = TAKE.get(subject.settings.take)

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Count."""
        self.subject.connected += 1
        self.subject.transports.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take it, or leave it."""
        if self.subject.settings.take_size not in (None, frame.payload_size):
            return
        if self.take is not None:
            self.subject.kept.append(self.take(frame))
        elif self.subject.settings.take == "echo" and frame.msg_type != WSMsgType.CLOSE:
            transport.send(frame.msg_type, frame, fin=frame.fin)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Forget the transport."""
        self.subject.transports.discard(transport)


async def main(settings: Settings) -> None:
    """Serve until the standard input ends."""
    subject = Subject(settings)
    server = await ws_create_server(lambda request: Listener(subject), "127.0.0.1", 0, **settings.options)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    if settings.descriptor_limit is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (settings.descriptor_limit, settings.descriptor_limit))
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await commands.readline():
        print(json.dumps(subject.commands[line.decode().strip()]()), flush=True)


if __name__ == "__main__":
    settings = Settings(**json.loads(sys.argv[1]))
    if settings.loop == "uvloop":
        import uvloop

        uvloop.run(main(settings))
    else:
        asyncio.run(main(settings))
