"""A source distribution builds without git, and Cython programs build against what its wheel installs."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
NOT_SOURCES = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "*.so", "*.pyd")

CYTHON_USER = """
from picows.picows cimport WSFrame, WSListener, WSMsgType, WSTransport

cdef class Counter(WSListener):
    cdef readonly int frames

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        cdef char reply[16]  # the header goes in front of the message, 14 bytes at most
        reply[14] = b"o"
        reply[15] = b"k"
        if frame.msg_type == WSMsgType.TEXT:
            self.frames += 1
            transport.send_reuse_external_buffer(WSMsgType.BINARY, &reply[14], 2)
"""

CONVERSATION = """
import asyncio, pathlib, sys
import picows, cython_user
assert pathlib.Path(picows.__file__).is_relative_to(sys.prefix), picows.__file__

class Client(picows.WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type == picows.WSMsgType.BINARY:
            self.answer = frame.get_payload_as_bytes()
            transport.send_close()

async def main():
    counter = cython_user.Counter()
    async with asyncio.timeout(10), await picows.ws_create_server(lambda request: counter, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        transport, client = await picows.ws_connect(Client, url)
        transport.send(picows.WSMsgType.TEXT, b"question")
        await transport.wait_disconnected()
        print(client.answer.decode(), counter.frames)

asyncio.run(main())
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Output of a command that succeeded."""
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def call_build_backend(hook: str, source: Path, output: Path) -> Path:
    """Run a hook of PEP 517 with the tools that are installed here; the file it made."""
    program = f"import setuptools.build_meta as backend; print(backend.{hook}({str(output)!r}))"
    # Unoptimized, the C compiler takes a third of the time; what is shown here does not depend on it.
    name = run(sys.executable, "-W", "ignore", "-c", program, cwd=source, CFLAGS="-O0").splitlines()[-1]
    return output / name


@pytest.fixture(scope="module")
def source_distribution(tmp_path_factory) -> Path:
    """Made from a copy of the sources that git knows nothing of."""
    checkout = tmp_path_factory.mktemp("checkout") / "source"
    shutil.copytree(ROOT, checkout, ignore=NOT_SOURCES)
    for generated in checkout.glob("picows*/*.c"):
        generated.unlink()
    return call_build_backend("build_sdist", checkout, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(source_distribution, tmp_path_factory) -> Path:
    """Made from the unpacked source distribution."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(source_distribution) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return call_build_backend("build_wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """An interpreter with the wheel installed; dependencies and build tools come from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    packages = Path(paths["platlib"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # A folder named in a .pth file comes last on sys.path, and its own .pth files (our editable install) do not count.
    packages.joinpath("dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return Path(paths["scripts"]) / Path(sys.executable).name


def expected_files() -> set[str]:
    """What a Cython or a type checker needs of the packages."""
    patterns = ("*.pxd", "[!_]*.pyi", "py.typed", "csrc/*.h")
    found = {
        path
        for package in ("picows", "picows_aio")
        for pattern in patterns
        for path in ROOT.glob(f"{package}/{pattern}")
    }
    return {path.relative_to(ROOT).as_posix() for path in found}


def test_the_wheel_has_declarations_stubs_and_headers(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "picows/__init__.pxd" in expected_files()
    assert expected_files() - names == set()


def test_the_wheel_has_neither_sources_nor_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert [
        name for name in names if name.endswith((".pyx", ".c", ".html")) or name.startswith(("tests", "docs"))
    ] == []


def test_the_source_distribution_has_what_a_packager_needs(source_distribution):
    with tarfile.open(source_distribution) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "picows/csrc/mask.c", "picows/frame.pyx"} <= names
    assert not names & {path.relative_to(ROOT).as_posix() for path in ROOT.glob("picows/*.c")}


def test_the_example_in_cython_builds_and_runs(python):
    output = run(python, ROOT / "examples" / "cython" / "run_echo_client.py", cwd=python.parent)
    assert output.startswith("5000 echoes of 256 bytes")


def test_a_user_of_the_older_declarations_builds_and_runs(python, tmp_path):
    tmp_path.joinpath("cython_user.pyx").write_text(textwrap.dedent(CYTHON_USER))
    # setuptools first: Cython asks for distutils, which Python has no longer.
    compile_it = "import setuptools; from Cython.Build.Cythonize import main; main(['-i', 'cython_user.pyx'])"
    run(python, "-c", compile_it, cwd=tmp_path, CFLAGS="-O0")
    assert run(python, "-c", CONVERSATION, cwd=tmp_path) == "ok 1\n"
