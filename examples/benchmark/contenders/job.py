"""What the programs of all contenders share: the job that run.py gives, and the conversation with it.

The job is JSON on the command line. Each line "run N" on standard input is answered with a line of JSON on standard
output; the end of the input ends the program.
"""

import asyncio
import itertools
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LISTEN_BACKLOG = 1024  # connections
BROADCAST_SEND_BUFFER = 65536  # bytes: readers that stopped are full after a few messages


@dataclass(frozen=True)
class Job:
    """One contender's part in one case.

    Attributes:
        role: What to do: a name in the program's table of roles.
        loop: "asyncio" or "uvloop".
        port: Where the native server listens; 0 for a server.
        size: Payload of a message, in bytes.
        connections: How many connections to make, or to expect.
        certificate: File to verify a TLS server with; "": plain TCP.
        messages: File of messages to send in turn, with permessage-deflate; "": one message of `size`, uncompressed.
        mode: A way to do it, of those the program knows.
        keywords: Settings of the library.
    """

    role: str
    loop: str
    port: int = 0
    size: int = 0
    connections: int = 1
    certificate: str = ""
    messages: str = ""
    mode: str = ""
    keywords: dict[str, Any] = field(default_factory=dict)

    def url(self, path: str) -> str:
        return f"{'wss' if self.certificate else 'ws'}://127.0.0.1:{self.port}{path}"

    def ssl_context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.certificate) if self.certificate else None

    def payloads(self) -> Iterator[bytes]:
        """Messages without end."""
        if not self.messages:
            return itertools.repeat(bytes(self.size))
        data, messages = Path(self.messages).read_bytes(), []
        while data:
            end = 4 + int.from_bytes(data[:4], "little")
            messages.append(data[4:end])
            data = data[end:]
        return itertools.cycle(messages)

    def listening_socket(self) -> socket.socket:
        """A free port of the loopback interface; connections inherit its send buffer.

        The protocol is named because asyncio switches Nagle's algorithm off only where it is; `serve(host, port)` names
        it too.
        """
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        sock.listen(LISTEN_BACKLOG)
        if self.role == "broadcast":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BROADCAST_SEND_BUFFER)
        return sock


def say(**fields: Any) -> None:
    """Answer run.py."""
    print(json.dumps(fields), flush=True)


def say_done(operations: int, started: float) -> None:
    """Answer that a run is complete; `started` is a time of the performance counter."""
    seconds = time.perf_counter() - started
    say(operations=operations, seconds=seconds)


async def runs(**ready: Any) -> AsyncIterator[int]:
    """Say that the contender is ready; then the count of each run that is asked for."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say(ready=True, **ready)
    async for line in reader:
        yield int(line.split()[1])


def main(roles: Mapping[str, Callable[[Job], Awaitable[None]]]) -> None:
    """Do the job of the command line; a role that is not in the table is answered with "skip"."""
    job = Job(**json.loads(sys.argv[1]))
    if job.role not in roles:
        say(skip=f"{Path(sys.argv[0]).name} does not know {job.role}")
        return

    async def play() -> None:
        await roles[job.role](job)
        os._exit(0)  # servers would take their leave of each client

    if job.loop == "uvloop":
        import uvloop

        uvloop.run(play())
    else:
        asyncio.run(play())
