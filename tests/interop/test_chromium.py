"""A browser loads a page from our server and talks to it."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from picows import WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener
from tests.interop.conftest import PROGRAMS
from tests.interop.peers.conversation import CLIENT_CLOSE, MESSAGES, SERVER_CLOSE
from tests.support import require_peer
from tests.support.recorder import Echo, Recorder

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
]


class Closer(Recorder):
    """Closes as soon as it is connected."""

    def on_ws_connected(self, transport):
        super().on_ws_connected(transport)
        transport.send_close(SERVER_CLOSE[0], SERVER_CLOSE[1].encode())


class Site:
    """A listener factory that serves the page and the three WebSockets it opens."""

    def __init__(self) -> None:
        self.listeners = {b"/echo": Echo(), b"/close": Closer(), b"/report": Recorder()}
        self.requests: dict[bytes, WSUpgradeRequest] = {}

    def __call__(self, request: WSUpgradeRequest):
        self.requests[request.path] = request
        if request.path == b"/":
            content = {"Content-Type": "text/html; charset=utf-8"}
            page = PROGRAMS.joinpath("page.html").read_bytes()
            return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(page, content), None)
        if request.path == b"/echo":
            chosen = WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": "echo"})
            return WSUpgradeResponseWithListener(chosen, self.listeners[b"/echo"])
        return self.listeners.get(request.path)


@contextlib.asynccontextmanager
async def browse(url: str, profile: Path) -> AsyncIterator[None]:
    """Chromium on `url`, with all its processes gone at the end."""
    program = require_peer("chromium")
    with profile.with_suffix(".log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, *FLAGS, f"--user-data-dir={profile}", url, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


@pytest.mark.links("plain", "tls")
async def test_a_page_converses_with_our_server(serve, tmp_path):
    site = Site()
    async with asyncio.timeout(60), serve(site) as endpoint:
        async with browse(endpoint.url.replace("ws", "http", 1), tmp_path / "profile"):
            report = json.loads((await site.listeners[b"/report"].next_frame()).payload)
        await asyncio.gather(*(listener.disconnected.wait() for listener in site.listeners.values()))
    report["here"].pop("reason")  # of our answer, which need not repeat the browser's
    assert report["here"] == {
        "echoed": len(MESSAGES),
        "protocol": "echo",
        "extensions": "",
        "code": CLIENT_CLOSE[0],
        "wasClean": True,
    }
    received = site.listeners[b"/echo"].transport.close_handshake.recv
    assert (received.code, received.reason) == CLIENT_CLOSE
    assert report["there"] == {"code": SERVER_CLOSE[0], "reason": SERVER_CLOSE[1], "wasClean": True}
    assert "permessage-deflate" in site.requests[b"/echo"].headers["Sec-WebSocket-Extensions"]
