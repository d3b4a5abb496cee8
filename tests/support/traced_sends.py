"""Sends in ways whose system calls are to be counted; `strace` writes them down, marks between them say what is what.

Runs in a process of its own: `traced_sends.py ROOT asyncio|uvloop`. A mark is a write to descriptor 1.
"""

import asyncio
import os
import socket
import sys

sys.path.insert(0, sys.argv[1])

from picows import WSListener, WSMsgType, broadcast, ws_create_server
from tests.support.raw_peer import upgrade_fields
from tests.support.wire import BINARY, encode_frame, encode_head, new_key

COUNT = 100


class Listener(WSListener):
    """Echoes; in a cork when it is told to."""

    is_corking = False
    echoed = 0

    def on_ws_connected(self, transport):
        self.transport = transport

    def on_ws_frame(self, transport, frame):
        if self.is_corking:
            with transport.cork():
                transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())
        else:
            transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())
        self.echoed += 1


async def connect(**options):
    """A server's listener, and the blocking socket of its client."""
    listener = Listener()
    server = await ws_create_server(lambda request: listener, "127.0.0.1", 0, **options)
    sock = socket.create_connection(server.sockets[0].getsockname())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    head = encode_head("GET / HTTP/1.1", [("Host", "localhost"), *upgrade_fields(new_key())])
    await asyncio.get_running_loop().run_in_executor(None, lambda: (sock.sendall(head), sock.recv(4096)))
    server.close()
    return listener, sock


def mark(name, listener=None):
    """Write a line that the trace shows: what follows belongs to `name`, on this descriptor."""
    fd = -1 if listener is None else listener.transport.get_extra_info("socket").fileno()
    os.write(1, f"mark {name} {fd}\n".encode())


async def echo(name, listener, sock):
    """The client writes many frames with one call; what the server needs to answer."""
    listener.echoed = 0
    sock.sendall(b"".join(encode_frame(BINARY, b"x" * 64, key=b"abcd") for _ in range(COUNT)))
    mark(name, listener)
    while listener.echoed < COUNT:
        await asyncio.sleep(0)
    mark("end")


async def main():
    """All that is to be counted."""
    plain, first = await connect()
    coalescing, second = await connect(coalesce=True)
    for name, listener in (("direct", plain), ("coalesced", coalescing)):
        mark(name, listener)
        for _ in range(COUNT):
            listener.transport.send(WSMsgType.BINARY, b"x" * 64)
        while listener.transport.get_write_buffer_size() > 0:
            await asyncio.sleep(0)
        mark("end")
    mark("corked", plain)
    with plain.transport.cork():
        for _ in range(COUNT):
            plain.transport.send(WSMsgType.BINARY, b"x" * 64)
    mark("end")
    mark("large", plain)
    plain.transport.send(WSMsgType.BINARY, bytes(100_000))
    mark("end")
    mark("broadcast", plain)
    broadcast([plain.transport, coalescing.transport], WSMsgType.BINARY, bytes(100_000))
    mark("end")
    await echo("echo", plain, first)
    plain.is_corking = True
    await echo("echo corked", plain, first)
    await echo("echo coalesced", coalescing, second)
    for listener, sock in ((plain, first), (coalescing, second)):
        listener.transport.disconnect(graceful=False)
        sock.close()


if sys.argv[2] == "uvloop":
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
