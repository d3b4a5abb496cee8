"""Every example runs as its reader would run it, and prints what it promises."""

import asyncio
import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
TIMEOUT = 60  # seconds; an example takes two at most, but this machine may have other things to do

# What each program prints: one regular expression a line.
OUTPUT = {
    "aio/authentication.py": [
        r"Accepted: hello alice\.",
        r"Refused: 401, Invalid credentials\.",
        r"Refused: 401, Missing credentials\.",
        r"Accepted: hello carol\.",
        r"Refused: 401, unknown token\.",
    ],
    "aio/both.py": [
        r"The server received 'hello'\.",
        r"One task ended, so both did\.",
        r"The client received \['tick 0', 'tick 1', 'tick 2'\]\.",
    ],
    "aio/broadcast.py": [
        r"20 listeners received \['/alice says hello', '/bob says hi'\]\.",
        r"All received the same: True\.",
    ],
    "aio/consumer.py": [
        r"The client sent 100 numbers\.",
        r"The server received numbers with the sum 5050; close code 1000\.",
        r"The client closed with 1000\.",
    ],
    "aio/fan_out.py": [
        r"The journal has every reading, in order: True\.",
        r"Alarms: 499, 999, 1499, 1999, 2499, 2999\.",
        r"The last reading on the display: 2999 ALARM\.",
        r"journal: 3000 taken, 0 dropped, 0 filtered\.",
        r"display: \d+ taken, [1-9]\d+ dropped, 0 filtered\.",
        r"alarms: 6 taken, 0 dropped, 2994 filtered\.",
    ],
    "aio/health_check.py": [
        r"GET /healthz: HTTP/1\.1 200 OK",
        r"GET /: HTTP/1\.1 426 Upgrade Required",
        r"The echo says 'still a WebSocket server'\.",
    ],
    "aio/merge_feeds.py": [
        *[r"/(busy|calm|broken) has ended: received (1000 \(OK\)|1011 \(internal error\) out of order); then sent .*\."]
        * 3,
        r"Received 5 from /broken, 2000 from /busy, 5 from /calm\.",
    ],
    "aio/order_book.py": [
        r"Of 20000 quotes [1-9]\d* were taken and [1-9]\d* replaced by newer ones\.",
        r"At most 5 quotes waited: one of each symbol\.",
        r"Quotes that were not the newest of their symbol when they were taken: 0\.",
        r"The last quote of every symbol was seen: True\.",
    ],
    "aio/producer.py": [
        r"The client received \['tick 0', 'tick 1', 'tick 2', 'tick 3', 'tick 4'\]\.",
        r"The server stops producing: received 1000 \(OK\) that is enough; then sent 1000 \(OK\) that is enough\.",
    ],
    "aio/prometheus_metrics.py": [
        r'picows_server_connections\{service="echo"\} 1\.0',
        *[r'picows_server_(messages|bytes)_waiting\{service="echo"\} 0\.0'] * 2,
        r'picows_server_reading_paused\{service="echo"\} 0\.0',
        r'picows_server_write_backlog_bytes\{service="echo"\} 0\.0',
        r'picows_server_latency_seconds\{service="echo"\} 0\.0',
        *[r'picows_server_push_(messages|bytes)_kept\{service="echo"\} 0\.0'] * 2,
        r'picows_server_frames_sent_total\{service="echo"\} \d+\.0',
        r'picows_server_frames_received_total\{service="echo"\} 100\.0',
        r'picows_server_bytes_sent_total\{service="echo"\} \d+\.0',
        r'picows_server_bytes_received_total\{service="echo"\} 790\.0',
        *[r'picows_server_pings_(sent|received)_total\{service="echo"\} 0\.0'] * 2,
        *[r'picows_server_push_[a-z_]+_total\{service="echo"\} 0\.0'] * 4,
        *[r'picows_server_stream_(messages|bytes)_waiting\{overflow="drop_oldest",service="echo"\} 0\.0'] * 2,
        r'picows_server_stream_messages_high_water\{overflow="drop_oldest",service="echo"\} 3\.0',
        r'picows_server_stream_oldest_age_seconds\{overflow="drop_oldest",service="echo"\} 0\.0',
        r'picows_server_stream_messages_received_total\{overflow="drop_oldest",service="echo"\} 100\.0',
        *[
            rf'picows_server_stream_messages_{word}_total\{{overflow="drop_oldest",service="echo"\}} [1-9]\d*\.0'
            for word in ("delivered", "dropped")
        ],
        r'picows_server_stream_messages_filtered_total\{overflow="drop_oldest",service="echo"\} 0\.0',
    ],
    "aio/push_latest.py": [
        r"/0: \d+ sent, \d+ replaced by newer ones, has the newest: True\.",
        r"/0\.003: \d+ sent, [1-9]\d+ replaced by newer ones, has the newest: True\.",
    ],
    "aio/reconnect.py": [
        r"Received 'news of connection 1'\.",
        r"The connection is lost: no close frame received or sent\.",
        r"Received 'news of connection 3'\.",
        r"The server saw 3 attempts\.",
    ],
    "aio/routing.py": [
        "/channel/news: this is the channel news",
        "/main: this is the channel main",
        r"/repeat/3: \['ho', 'ho', 'ho'\]",
        "/repeat/often: 404 Not Found",
    ],
    "aio/shutdown.py": [
        r"SIGTERM: closing 3 connections\.",
        *[r"A handler cleans up; its client got 1001\."] * 3,
        *[r"A client was told: received 1001 \(going away\) restart; then sent 1001 \(going away\) restart\."] * 3,
    ],
    "aio/stream_listener.py": [
        r"The client received \['HOW!', 'ARE!', 'YOU!'\]",
        r"The newest is YOU!",
        r"The server's stream has ended: 3 messages taken\.",
        r"Both streams have ended: \[\]\.",
        r"The newest replaced 2 messages\.",
    ],
    "aio/subscribe.py": [
        r"Connection 1 subscribes to 'EUR/USD'\.",
        *[rf"Received 'quote {index} of connection 1'\." for index in (1, 2, 3)],
        r"Something is missing: no close frame received or sent\.",
        r"Connection 2 subscribes to 'EUR/USD'\.",
        r"Received 'quote 1 of connection 2'\.",
        r"Something is missing: no data for 0\.5 s\.",
        r"Connection 3 subscribes to 'EUR/USD'\.",
        *[rf"Received 'quote {index} of connection 3'\." for index in (1, 2, 3)],
        r"There were 2 gaps; the subscription is open\.",
    ],
    "aio/tls.py": [r"Connected with TLSv1\.[23]\.", r"The echo says 'nobody else can read this'\."],
    "aio/unix_socket.py": [r"Connected to .*/feed\.sock\.", r"The echo says 'no port was needed'\."],
    "aio/zero_copy_frames.py": [
        r"The sum of 50000 samples is 26200000\.",
        r"Kept 10 arrays of channel 0; they begin with \[0, 100, 200, 300, 400, 500, 600, 700, 800, 900\]\.",
    ],
    "async_callbacks.py": [
        *(["Tasks start eagerly."] if sys.version_info >= (3, 12) else []),
        r"Asked for the squares of 1, 2, 3, 4, 5; the answers came in the order \[1, 3, 5, 2, 4\]\.",
    ],
    "async_iteration.py": [r"Iterated over 1000 messages in order; reading was paused [1-9]\d* times\."],
    "authentication.py": [
        "The server accepted alice.",
        "The client was refused: .*401.*",
        "The client was refused: .*401.*",
    ],
    "auto_ping.py": [
        "The server received 4 pings and answered 3 of them.",
        r"The client gave up after \d\.\d seconds and sent GOING_AWAY\.",
    ],
    "broadcast.py": [
        r"Round \d+: sent to 19 clients, 1 skipped \(over 500000 bytes waiting\)\.",
        r"1 clients received \d+ frames, the close frame among them\.",
        r"19 clients received \d+ frames, the close frame among them\.",
    ],
    "cork.py": [
        r"1000 frames sent one by one took \d+\.\d\d ms\.",
        r"1000 frames sent corked took \d+\.\d\d ms\.",
        r"The client received 2000 quotes in \d+ reads\.",
        r"Its totals: 2001 frames, \d+ bytes on the wire\.",
    ],
    "custom_response_and_health_check.py": [
        r"A health check answers 'HTTP/1\.1 200 OK' with the body 'healthy'\.",
        "A client with the right token is accepted by node-7.",
        r"A client without a token is refused: .*403.*, b'unknown token\\n'\.",
        r"A client at another path is refused: .*404.*\.",
    ],
    "echo_client.py": [
        r"Sent 5 characters: the echo is the same\.",
        r"Sent 0 characters: the echo is the same\.",
        r"Sent 10 characters: the echo is the same\.",
        r"Sent 3 bytes: the echo is the same\.",
        r"Sent 100000 bytes: the echo is the same\.",
        r"Closed by both sides: True\.",
    ],
    "echo_tls.py": [r"Connected with TLSv1\.[23]\.", r"The echo says 'nobody else can read this'\."],
    "exceptions.py": [
        "A URL of another scheme:",
        r"  Not connected: WSInvalidURL\.",
        "A server that does not answer:",
        r"  Not connected: TimeoutError\.",
        "A port without a server:",
        r"  Not connected: ConnectionRefusedError\.",
        "A path that the server does not know:",
        r"  Not connected: WSInvalidStatusError\.",
        "A callback that fails:",
        r"  The client closed with INTERNAL_ERROR\.",
        r"  Connected; wait_disconnected\(\) raised ValueError: invalid literal .*'not a number'\.",
        "A callback that fails, with disconnect_on_exception=False:",
        r"  The client closed with NO_INFO\.",
    ],
    "fragmented_messages.py": [
        r"The server received 10 bytes of TEXT in 1 frame\.",
        r"The server received 20 bytes of TEXT in 3 frames\.",
        r"The server received 100000 bytes of BINARY in 2 frames\.",
    ],
    "graceful_shutdown.py": [
        r"4 clients completed the closing handshake, 1 did not\.",
        r"The server ended after \d\.\d seconds; 0 clients are left\.",
        r"The clients were told \['GOING_AWAY', 'GOING_AWAY', 'GOING_AWAY', 'GOING_AWAY', 'GOING_AWAY'\]\.",
    ],
    "manual_pong.py": [
        r"The client received a ping with the payload b'one'\.",
        r"The client received a ping with the payload b'two'\.",
        r"The server received a pong with the payload b'one'\.",
        r"The server received a pong with the payload b'two'\.",
    ],
    "okx_roundtrip_time.py": [
        r"Attempt 1: 10 pings, mean \d{2,3}\.\d\d ms, worst \d+\.\d\d ms\.",
        r"Attempt 2: 10 pings, mean \d+\.\d\d ms, worst \d+\.\d\d ms\.",
        r"Connected within the threshold of 30 ms\.",
    ],
    "proxy.py": [
        r"The proxy opens a tunnel to 127\.0\.0\.1 for 'alice:secret'\.",
        r"The tunnel is open\.",
        r"The client received 'hello through the tunnel'\.",
    ],
    "quickstart.py": [
        r"picows_aio: connected \(HTTP 101\)\.",
        r"picows_aio: sent the text 'hello', received 'hello'\.",
        r"picows_aio: 2000 round trips took \d+\.\d{3} seconds\.",
        r"picows_aio: closed with code 1000\.",
        r"picows: connected \(HTTP 101\)\.",
        r"picows: 2000 round trips took \d+\.\d{3} seconds\.",
        r"picows: closed with code 1000\.",
    ],
    "reconnecting_client.py": [
        "Failed with WSInvalidStatusError: .*404.*",
        "Received 'something new'.",
        "Disconnected.",
        "Received 'something new'.",
        "Disconnected.",
        "Fourth attempt: the client is cancelled.",
    ],
    "redirects.py": [
        r"The server is asked for /old\.",
        r"The server is asked for /new\.",
        r"The client is connected to /new\.",
        r"The server is asked for /old\.",
        r"The client did not follow: .*308.*",
    ],
    "slow_client_backpressure.py": [r"2000 messages arrived; [1-9]\d* pauses, at most 2[01]\d{4} bytes waiting\."],
    "subprotocols.py": [
        r"The client offers chat\.v1, chat\.v2\.",
        r"The response names chat\.v2\.",
        r"The server says: we speak chat\.v2\.",
        r"The client offers chat\.v1\.",
        r"The response names chat\.v1\.",
        r"The server says: we speak chat\.v1\.",
        r"The client offers mqtt\.",
        r"The response names None\.",
        r"The server says: we speak no subprotocol\.",
    ],
    "threads.py": [
        r"Received 'this is thread 1'\.",
        r"Not allowed: .*thread.*",
        r"Received 'handed over by the main thread'\.",
        r"Received 'this is thread 2'\.",
        r"Not allowed: .*thread.*",
        r"Received 'handed over by the main thread'\.",
    ],
    "unix_socket.py": [r"Connected to .*/feed\.sock\.", r"The echo says 'no port was needed'\."],
    "user_specific_ping.py": [
        r"FixedTextListener received \{\"op\": \"price\", \"value\": 42\}",
        r"JsonListener received \{'op': 'pong'\}",
        r"JsonListener received \{'op': 'pong'\}",
        r"JsonListener received \{'op': 'pong'\}",
        r"JsonListener received \{'op': 'price', 'value': 42\}",
    ],
    "zero_copy.py": [
        r"Kept 5000 frames until after the connection ended: 5000 are intact\.",
        r"Kept 5000 views of their last four bytes: 5000 are intact\.",
        r"Kept a view of 1048576 bytes, read-only True: equal True\.",
    ],
}
SERVERS = {"aio/autobahn_server.py", "autobahn_server.py", "echo_server.py"}  # run until they are told to stop
DRIVEN = {"aio/autobahn_client.py", "autobahn_client.py"}  # need somebody to talk to


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / script), *arguments]


def assert_prints(command: list[str], expected: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=TIMEOUT, check=False)
    story = f"{result.stdout}\n{result.stderr}"
    assert result.returncode == 0, story
    assert result.stderr == "", story
    lines = result.stdout.splitlines()
    assert len(lines) == len(expected), story
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), f"{line!r} is not {pattern!r} in:\n{story}"


@contextlib.contextmanager
def running_server(script: str, last_words: str) -> Iterator[str]:
    """Run a server program, yield the URL it prints first, end it as Ctrl-C does and check what it printed last."""
    with subprocess.Popen(python(script, "0"), stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        announced = re.fullmatch(r"Listening on (ws://127\.0\.0\.1:\d+/)\n", process.stdout.readline())
        try:
            assert announced
            yield announced[1]
        finally:
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, rest) == (0, last_words)


@pytest.mark.parametrize("script", sorted(OUTPUT))
def test_the_example_prints_what_it_promises(script: str) -> None:
    assert_prints(python(script), OUTPUT[script])


def test_the_debug_log_tells_every_frame_of_the_named_connection() -> None:
    result = subprocess.run(python("debug_logs.py"), capture_output=True, encoding="utf-8", timeout=TIMEOUT, check=True)
    debug_lines = [line for line in result.stdout.splitlines() if line.startswith("picows.my_feed Level 9: ")]
    for what in (
        "upgrade request",
        "upgrade response",
        "send frame",
        "received WSFrame(TEXT",
        "send CLOSE",
        "disconnected",
    ):
        assert any(what in line for line in debug_lines), result.stdout
    assert "picows.server Level 9" not in result.stdout
    assert result.stderr == ""


def test_echo_server_and_client_are_two_programs_that_talk() -> None:
    with running_server("echo_server.py", "A client left; 5 frames were sent back.\nStopped.\n") as url:
        assert_prints(python("echo_client.py", url), OUTPUT["echo_client.py"])


@pytest.mark.parametrize("script", ["autobahn_server.py", "aio/autobahn_server.py"])
def test_autobahn_server_sends_back_whole_messages(script: str) -> None:
    with running_server(script, "Stopped.\n") as url:
        assert_prints(python("echo_client.py", url), OUTPUT["echo_client.py"])


class FuzzingListener(WSListener):
    """One connection of a test suite: sends frames as a case prescribes, and notes what comes back."""

    def __init__(self, path: str, log: list[str]) -> None:
        self._path = path
        self._log = log

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._log.append(self._path)
        if self._path == "/getCaseCount":
            transport.send(WSMsgType.TEXT, "2")
        elif "case=1" in self._path:
            transport.send(WSMsgType.TEXT, "in ", fin=False)
            transport.send_ping(b"?")
            transport.send(WSMsgType.CONTINUATION, "pieces")
        elif "case=2" in self._path:
            transport.send(WSMsgType.TEXT, b"\xff")
        if "case=" not in self._path:
            transport.send_close(WSCloseCode.OK)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self._log.append(f"text {frame.get_payload_as_utf8_text()}, fin {bool(frame.fin)}")
            transport.send_close(WSCloseCode.OK)
        elif frame.msg_type == WSMsgType.CLOSE and "case=" in self._path:
            self._log.append(f"close {frame.get_close_code():d}")


@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.parametrize("script", ["autobahn_client.py", "aio/autobahn_client.py"])
async def test_autobahn_client_runs_every_case_and_asks_for_the_report(script: str) -> None:
    log: list[str] = []

    def accept(request: WSUpgradeRequest) -> WSListener:
        return FuzzingListener(request.path.decode(), log)

    server = await ws_create_server(accept, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with asyncio.timeout(TIMEOUT), server:
        process = await asyncio.create_subprocess_exec(*python(script, url, "me & you"), stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
    assert (process.returncode, output) == (0, b"Ran 2 cases.\n")
    assert log == [
        "/getCaseCount",
        "/runCase?case=1&agent=me%20%26%20you",
        "text in pieces, fin True",
        "close 1000",
        "/runCase?case=2&agent=me%20%26%20you",
        "close 1007",
        "/updateReports?agent=me%20%26%20you",
    ]


def test_cython_client_compiles_against_the_installed_package_and_runs() -> None:
    expected = [r"5000 echoes of 256 bytes took \d+\.\d{3} seconds: \d+ a second\."]
    assert_prints([sys.executable, str(EXAMPLES / "cython" / "run_echo_client.py")], expected)


def test_the_round_trip_time_is_measured_against_any_url() -> None:
    expected = [r"Attempt 1: 10 pings, mean .* ms, worst .* ms\.", r"Connected within the threshold of 5000 ms\."]
    with running_server("echo_server.py", "A client left; 0 frames were sent back.\nStopped.\n") as url:
        assert_prints(python("okx_roundtrip_time.py", "--threshold", "5000", url), expected)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_tls_echo_works_with_a_certificate_from_openssl(tmp_path: Path) -> None:
    """Without trustme the example calls openssl; here the certificate it would make is given by name."""
    options = "-x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=example -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", "req", *options.split(), "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    files = [str(tmp_path / name) for name in ("cert.pem", "key.pem", "cert.pem")]
    for script in ("echo_tls.py", "aio/tls.py"):
        assert_prints(python(script, *files), OUTPUT[script])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def python_blocks(text: str, fence: str, end: str) -> list[str]:
    return [textwrap.dedent(block) for block in re.findall(rf"^{fence}\n(.*?)^{end}", text, re.DOTALL | re.MULTILINE)]


def test_the_programs_in_the_readme_run() -> None:
    blocks = python_blocks((ROOT / "README.md").read_text(encoding="utf-8"), "```python", "```")
    programs = [block for block in blocks if "asyncio.run" in block]
    assert ["from picows_aio" in program for program in programs] == [True, False]
    for program in programs:
        assert program.count("9001") == 2
        command = [sys.executable, "-X", "dev", "-c", program.replace("9001", str(free_port()))]
        assert_prints(command, ["The echo says hello"])


def test_the_client_of_the_tutorial_talks_to_the_server() -> None:
    tutorial = (ROOT / "docs" / "tutorial" / "echo.rst").read_text(encoding="utf-8")
    (program,) = python_blocks(tutorial, r"\.\. code-block:: python\n", r"(?=\S)")
    with running_server("echo_server.py", "A client left; 1 frames were sent back.\nStopped.\n") as url:
        program = program.replace("ws://127.0.0.1:9001/", url)
        assert_prints([sys.executable, "-X", "dev", "-c", program], ["The server says hello"])


def test_server_and_client_of_the_first_tutorial_talk() -> None:
    tutorial = (ROOT / "docs" / "tutorial" / "await.rst").read_text(encoding="utf-8")
    server, client = (
        program.replace("9001", "PORT") for program in python_blocks(tutorial, r"\.\. code-block:: python\n", r"(?=\S)")
    )
    # In one process, where the client can wait until the server listens.
    server = server.replace("PORT", "0").replace(
        "        await server.serve_forever()", "        await talk(server.sockets[0].getsockname()[1])"
    )
    definitions = client.replace("asyncio.run(main())", "").replace("async def main()", "async def talk(port: int)")
    program = definitions.replace('"ws://127.0.0.1:PORT/"', 'f"ws://127.0.0.1:{port}/"') + server
    assert_prints([sys.executable, "-X", "dev", "-c", program], ["The server says HELLO"])


def test_every_example_is_run_here() -> None:
    scripts = {
        path.relative_to(EXAMPLES).as_posix() for folder in (".", "aio") for path in (EXAMPLES / folder).glob("*.py")
    }
    assert scripts == OUTPUT.keys() | SERVERS | DRIVEN | {"debug_logs.py"}


@pytest.mark.parametrize(
    "path",
    sorted([*EXAMPLES.glob("*.py"), *EXAMPLES.glob("aio/*.py"), *EXAMPLES.glob("cython/*.py*")]),
    ids=lambda path: path.relative_to(EXAMPLES).as_posix(),
)
def test_an_example_is_short_and_says_first_what_it_shows(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 60
    assert re.match(r'(?:"""|# )Shows ', lines[0])
