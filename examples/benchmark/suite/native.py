"""The C programs, compiled when their sources changed."""

import subprocess
from collections.abc import Callable
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "native"
FLAGS = ("-O3", "-std=c11", "-Wall", "-Wextra", "-Wconversion")
LIBRARIES = {"tls_echo": ("-lssl", "-lcrypto")}


def build(folder: Path, tell: Callable[[str], None]) -> dict[str, Path]:
    """Compile all programs into `folder`; one whose libraries are missing is told and left out."""
    folder.mkdir(parents=True, exist_ok=True)
    programs = {}
    headers = max(path.stat().st_mtime for path in SOURCES.glob("*.h"))
    for source in sorted(SOURCES.glob("*.c")):
        name, program = source.stem, folder / source.stem
        newest = max(headers, source.stat().st_mtime)
        if not program.exists() or program.stat().st_mtime < newest:
            command = ["cc", *FLAGS, str(source), "-o", str(program), *LIBRARIES.get(name, ())]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode and name in LIBRARIES:
                tell(f"{name} is left out, it needs {' '.join(LIBRARIES[name])} and their headers")
                continue
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
        programs[name] = program
    return programs


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, made by the openssl command."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if not certificate.exists():
        options = "-x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=benchmark -addext subjectAltName=IP:127.0.0.1"
        files = ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run(["openssl", "req", *options.split(), *files], capture_output=True, check=True)
    return certificate, key
