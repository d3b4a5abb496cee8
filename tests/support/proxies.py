"""Real proxies, each in a process of its own that ends with the test."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.peers import require_peer

_HERE = Path(__file__).parent


@contextlib.contextmanager
def run_pproxy(*uris: str) -> Iterator[list[int]]:
    """pproxy listening on URIs such as "socks5://127.0.0.1:0#user:password"; the port of each."""
    with _run("pproxy", "launch_pproxy.py", *uris) as process:
        yield [_read_port(process) for _ in uris]


@contextlib.contextmanager
def run_proxy_py(*arguments: str) -> Iterator[int]:
    """proxy.py with these arguments of its command line; its port."""
    with _run("proxy.py", "launch_proxy_py.py", *arguments) as process:
        yield _read_port(process)


@contextlib.contextmanager
def _run(peer: str, script: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [require_peer(peer), _HERE / script, *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        try:
            yield process
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                _kill(process)


def _kill(process: "subprocess.Popen[str]") -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)  # with its workers
    else:
        process.kill()


def _read_port(process: "subprocess.Popen[str]") -> int:
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the proxy did not start: {process.args}")
    return int(line)
