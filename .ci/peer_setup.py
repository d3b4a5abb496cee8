"""Prepares what the interoperability tests talk to: Python, Node and browser peers, apart from our environment."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHON_PEERS = {
    "python": ["websockets==17.4", "aiohttp==3.14.5", "uvloop==0.23.0; platform_system != 'Windows'"],
    "picows": ["picows==2.3.1", "uvloop>=0.21"],
    "proxies": ["pproxy==2.7.9", "proxy.py==2.4.10"],
    # These import websockets, and get picows_aio, of this checkout, instead.
    "websockets_users": ["gql==4.4.0", "pygls==2.1.1", *PROJECT["dependencies"]],
}
NODE_PEERS = {"ws": "8.23.0"}
SYSTEM_PROGRAMS = {  # what to look for, and the Debian package that has it
    "node": (["node", "nodejs"], "nodejs"),
    "npm": (["npm"], "npm"),
    "chromium": (["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"], "chromium"),
    "strace": (["strace"], "strace"),
    "valgrind": (["valgrind"], "valgrind"),
}


def prepare(folder: Path) -> None:
    """Make or refresh everything under `folder`; quick when it is all there."""
    folder.mkdir(exist_ok=True)
    missing = install_programs()
    for name, requirements in PYTHON_PEERS.items():
        prepare_python(folder / name, requirements)
    if "npm" not in missing:
        prepare_node(folder / "node")
    if missing:
        packages = " ".join(SYSTEM_PROGRAMS[name][1] for name in missing)
        sys.exit(f"peers: missing {', '.join(missing)}; as root: apt-get install {packages}")
    print(f"peers: ready in {folder}")


def install_programs() -> list[str]:
    """Install the system's programs that are missing, when we may; the names of those still missing."""
    missing = missing_programs()
    if missing and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        packages = [SYSTEM_PROGRAMS[name][1] for name in missing]
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", "-q", *command], env=environment, stdin=subprocess.DEVNULL, check=False)
    return missing_programs()


def missing_programs() -> list[str]:
    return [name for name, (commands, _) in SYSTEM_PROGRAMS.items() if not any(map(shutil.which, commands))]


def prepare_python(folder: Path, requirements: list[str]) -> None:
    """A virtual environment with these packages, made again when the list or the interpreter changes."""
    stamp = folder / "prepared.json"
    wanted = json.dumps([sys.version, requirements])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    venv.create(folder, clear=True, with_pip=True)
    pip = [folder / ("Scripts" if os.name == "nt" else "bin") / "python", "-m", "pip"]
    subprocess.run([*pip, "install", "-q", "--disable-pip-version-check", *requirements], check=True)
    stamp.write_text(wanted)


def prepare_node(folder: Path) -> None:
    """An npm project with the packages."""
    stamp = folder / "prepared.json"
    wanted = json.dumps(NODE_PEERS)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    folder.mkdir(exist_ok=True)
    project = {"name": "peers", "private": True, "dependencies": NODE_PEERS}
    folder.joinpath("package.json").write_text(json.dumps(project))
    subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=folder, stdin=subprocess.DEVNULL, check=True)
    stamp.write_text(wanted)
