"""A server of picows_aio in a process of its own, whose memory a test can watch. Everything blocks."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.raw_peer import upgrade_fields
from tests.support.wire import encode_head, new_key

_ROOT = Path(__file__).parents[2]
_TIMEOUT = 30.0  # seconds
_STALLED = 0.5  # seconds in which the server takes nothing
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc, which only Linux has")


class Served:
    """One WebSocket to the server, and the server's memory."""

    def __init__(self, process: subprocess.Popen[str], sock: socket.socket) -> None:
        self._process = process
        self.sock = sock

    def resident_size(self) -> int:
        """Bytes of memory that are resident now."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * _PAGE_SIZE

    def read_line(self) -> str:
        """The next line that the server prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def send_until_it_stalls(self, data: bytes, times: int) -> int:
        """Send the data again and again until the server takes no more; how many bytes it took."""
        self.sock.settimeout(_STALLED)
        sent = 0
        with contextlib.suppress(TimeoutError):
            for _ in range(times):
                view = memoryview(data)
                while view:
                    count = self.sock.send(view)
                    view = view[count:]
                    sent += count
        self.sock.settimeout(_TIMEOUT)
        return sent

    def flood(self, data: bytes, times: int) -> tuple[bytes, int]:
        """Send the data so many times, or until the server ends TCP: what it answered, and its peak of memory."""
        answer, peak = bytearray(), 0
        with contextlib.suppress(ConnectionError):
            for _ in range(times):
                self.sock.sendall(data)
                peak = max(peak, self.resident_size())
                if select.select([self.sock], [], [], 0)[0]:
                    answer += self.sock.recv(65536)
        return bytes(answer), peak


@contextlib.contextmanager
def run_server(receives: str, loop: str = "asyncio", **options: Any) -> Iterator[Served]:
    """A server with a WebSocket to it; see `launch_server` for the arguments."""
    settings = json.dumps({"receives": receives, "loop": loop} | options)
    command = [sys.executable, "-m", "tests.picows_aio.launch_server", settings]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT) as sock:
                _upgrade(sock)
                yield Served(process, sock)
            process.stdin.close()
            process.wait(_TIMEOUT)
        finally:
            process.kill()


def _upgrade(sock: socket.socket) -> None:
    sock.sendall(encode_head("GET / HTTP/1.1", [("Host", "localhost"), *upgrade_fields(new_key())]))
    response = b""
    while not response.endswith(b"\r\n\r\n"):
        response += sock.recv(1)  # a frame may come with it
    assert response.startswith(b"HTTP/1.1 101 "), response
