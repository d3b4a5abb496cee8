"""A picows server in a process of its own, watched from outside: its memory, descriptors, CPU time and log.

Everything blocks: tests that use it are no coroutines. Linux only, for /proc.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support.raw_peer import upgrade_fields
from tests.support.wire import encode_head, new_key

_ROOT = Path(__file__).parents[2]
_TIMEOUT = 30.0  # seconds, for whatever a test waits for
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc, which only Linux has")


class Subject:
    """The process; `settings` are those of `launch_subject.Settings`."""

    def __init__(self, **settings: Any) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.launch_subject", json.dumps(settings)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.port = int(self._read_line())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._process, self._log:
            self._process.stdin.close()
            try:
                self._process.wait(_TIMEOUT)
            finally:
                self._process.kill()

    def ask(self, command: str) -> Any:
        """The answer to one of `launch_subject.Subject.commands`."""
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return json.loads(self._read_line())

    def wait_until(self, command: str, expected: Any) -> None:
        """Ask until the answer is the expected one."""
        deadline = time.monotonic() + _TIMEOUT
        while (answer := self.ask(command)) != expected:
            assert time.monotonic() < deadline, f"{command} is {answer}, not {expected}"

    def resident_size(self) -> int:
        """Bytes of memory that are resident now."""
        return int(self._proc("statm").split()[1]) * _PAGE_SIZE

    def descriptors(self) -> int:
        """How many descriptors are open."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def cpu_seconds(self) -> float:
        """CPU time used until now."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log_lines(self) -> list[str]:
        """What it wrote to its standard error."""
        self._log.seek(0)
        return self._log.read().splitlines()

    def open_tcp(self) -> socket.socket:
        """A connection without any HTTP."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=_TIMEOUT)

    def open_websocket(self) -> socket.socket:
        """A connection after the opening handshake."""
        sock = self.open_tcp()
        try:
            sock.sendall(encode_head("GET / HTTP/1.1", [("Host", "localhost"), *upgrade_fields(new_key())]))
            response = b""
            while not response.endswith(b"\r\n\r\n"):
                data = sock.recv(4096)
                assert data, f"end of stream after {response!r}"
                response += data
            assert response.startswith(b"HTTP/1.1 101 "), response
        except BaseException:
            sock.close()
            raise
        return sock

    @contextmanager
    def websockets(self, count: int) -> Iterator[list[socket.socket]]:
        """So many connections at once."""
        with descriptors_for(count):
            socks: list[socket.socket] = []
            try:
                socks.extend(self.open_websocket() for _ in range(count))
                yield socks
            finally:
                for sock in socks:
                    sock.close()

    def _read_line(self) -> str:
        line = self._process.stdout.readline()
        assert line, "the process ended:\n" + "\n".join(self.log_lines())
        return line

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self._process.pid}/{name}").read_text()


@contextmanager
def descriptors_for(count: int) -> Iterator[None]:
    """Let this process open so many more descriptors."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """So many bytes; EOFError when the stream ends first."""
    data = bytearray()
    while len(data) < size:
        received = sock.recv(size - len(data))
        if not received:
            raise EOFError(f"end of stream after {len(data)} of {size} bytes")
        data += received
    return bytes(data)
