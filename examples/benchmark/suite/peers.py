"""An environment for each library, so that none meets another's dependencies, or another package of its own name."""

import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
UVLOOP = "uvloop>=0.21"
REQUIREMENTS = {
    "ours": [f"{ROOT}[aiofastnet]", UVLOOP],
    "picows": ["picows==2.3.*", UVLOOP],
    "websockets": ["websockets==17.*", UVLOOP],
    "aiohttp": ["aiohttp==3.*", "aiohttp[speedups]", UVLOOP],
    "websocket-rs": ["websocket-rs", UVLOOP],
}
NEEDS_PYTHON = {"websocket-rs": (3, 12)}
DISTRIBUTIONS = {"ours": "picows-aio"}  # where the name is another
_SOURCES = ("*.py", "*.pyx", "*.pxd", "csrc/*.[ch]")


@dataclass(frozen=True)
class Environment:
    """An interpreter that has the library.

    Attributes:
        python: The interpreter.
        python_path: PYTHONPATH for it, or "".
    """

    python: Path
    python_path: str = ""

    def variables(self) -> dict[str, str]:
        """What differs from our own environment variables."""
        return {"PYTHONPATH": self.python_path, "PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1"}


def prepare(
    peers: Iterable[str], folder: Path, ours: Path | None, tell: Callable[[str], None]
) -> dict[str, Environment]:
    """Make the environments that are not there yet.

    Args:
        peers: Names in `REQUIREMENTS`.
        folder: Where the environments are.
        ours: An interpreter that has the dependencies of this package, to run this checkout, built in place; None:
            the package is built and installed.
        tell: Is told what is going on, and which peer cannot be had here.
    """
    found = {}
    for peer in peers:
        if peer == "ours" and ours is not None:
            found[peer] = Environment(ours, str(ROOT))
            continue
        if sys.version_info < (needed := NEEDS_PYTHON.get(peer, (3,))):
            tell(f"{peer} is left out, it needs Python {'.'.join(map(str, needed))}")
            continue
        try:
            found[peer] = Environment(_install(peer, folder / peer, tell))
        except subprocess.CalledProcessError as error:
            tell(f"{peer} is left out, it cannot be installed: {error.stderr.strip()}")
    return found


def versions(peer: str, environment: Environment) -> str:
    """The library and what it stands on."""
    name = DISTRIBUTIONS.get(peer, peer)
    program = (
        "import importlib.metadata as m, platform\n"
        "def v(n):\n try: return m.version(n)\n except m.PackageNotFoundError: return '(source tree)'\n"
        f"print({name!r}, v({name!r}) + ', uvloop', v('uvloop') + ', Python', platform.python_version())"
    )
    command = [str(environment.python), "-c", program]
    return subprocess.run(
        command, env=environment.variables(), capture_output=True, text=True, check=True
    ).stdout.strip()


def _install(peer: str, folder: Path, tell: Callable[[str], None]) -> Path:
    requirements = REQUIREMENTS[peer]
    python, stamp = folder / "bin/python", folder / "prepared.json"
    wanted = json.dumps([sys.version, requirements, _fingerprint() if peer == "ours" else ""])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    tell(f"installing {' '.join(requirements)}")
    venv.create(folder, clear=True, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    subprocess.run(pip, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    stamp.write_text(wanted)
    return python


def _fingerprint() -> str:
    """Changes with the sources of this package."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes())
    for package in ("picows", "picows_aio"):
        for pattern in _SOURCES:
            for path in sorted((ROOT / package).glob(pattern)):
                digest.update(path.read_bytes())
    return digest.hexdigest()
