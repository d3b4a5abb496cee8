"""Shows how to compile a Cython program against picows: builds echo_client_cython.pyx in a new folder and runs it.

Usage: run_echo_client.py [URL]   (default: an embedded echo server; needs Cython, setuptools and a C compiler)
"""

import asyncio
import contextlib
import importlib
import sys
import tempfile
from pathlib import Path

import setuptools
from Cython.Build import cythonize

import picows
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

SOURCE = Path(__file__).with_name("echo_client_cython.pyx")
PICOWS_PARENT = Path(picows.__file__).parent.parent  # where cimport finds picows/__init__.pxd
MESSAGE, ROUNDS = bytes(256), 5000


class EchoListener(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame)


def build(folder: str) -> None:
    extension = setuptools.Extension(SOURCE.stem, [str(SOURCE)])
    modules = cythonize([extension], build_dir=folder, include_path=[str(PICOWS_PARENT)], quiet=True)
    with contextlib.chdir(folder):  # away from any pyproject.toml
        setuptools.setup(name=SOURCE.stem, ext_modules=modules, script_args=["--quiet", "build_ext", "--inplace"])


async def main(url: str | None) -> None:
    client = importlib.import_module(SOURCE.stem)
    server = await ws_create_server(lambda request: EchoListener(), "127.0.0.1", 0)
    async with asyncio.timeout(60), server:
        url = url or f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        echoes, seconds = await client.talk(url, MESSAGE, ROUNDS)
        print(f"{echoes} echoes of {len(MESSAGE)} bytes took {seconds:.3f} seconds: {echoes / seconds:.0f} a second.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as build_folder:
        build(build_folder)
        sys.path.insert(0, build_folder)
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
