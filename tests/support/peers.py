"""Where the programs live that the interoperability tests talk to; `.ci/dev.py peers` puts them there."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREPARE = "python .ci/dev.py peers"
_PEERS_DIR = ROOT / ".peers"
_BIN = Path("Scripts" if os.name == "nt" else "bin")
_PYTHON_PEERS = {
    "websockets": "python",
    "aiohttp": "python",
    "picows": "picows",
    "pproxy": "proxies",
    "proxy.py": "proxies",
    "gql": "websockets_users",
    "pygls": "websockets_users",
}
_MODULES = {"proxy.py": "proxy"}


def require_peer(name: str) -> Path:
    """Path of the program that runs a peer.

    Args:
        name: "websockets", "aiohttp", "picows" (the one from PyPI), "pproxy", "proxy.py", "gql" or "pygls": an
            interpreter that can import it. "ws": Node, with the package found from `.peers/node`. "chromium": the
            browser.

    Skips the test with the command that prepares the peers as the reason when it is missing; under REQUIRE_PEERS=1
    the test fails instead, so that a run which promises interoperability cannot pass without it.
    """
    path = _find(name)
    if path is None:
        message = f"peer {name!r} is missing: {PREPARE}"
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return path


def node_modules() -> Path:
    """Folder to run Node in, so that it finds the npm packages of the peers."""
    return _PEERS_DIR / "node"


def _find(name: str) -> Path | None:
    if name == "chromium":
        return _which("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    if name == "ws":
        return _which("node", "nodejs") if (node_modules() / "node_modules" / "ws").is_dir() else None
    python = _PEERS_DIR / _PYTHON_PEERS[name] / _BIN / "python"
    probe = [str(python), "-c", f"import {_MODULES.get(name, name)}"]
    if not python.exists() or subprocess.run(probe, capture_output=True, cwd=_PEERS_DIR, check=False).returncode:
        return None
    return python


def _which(*names: str) -> Path | None:
    return next((Path(found) for name in names if (found := shutil.which(name))), None)
