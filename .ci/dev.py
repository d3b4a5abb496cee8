"""Everything a developer runs: ``python .ci/dev.py COMMAND... [-- ARGUMENTS of the last one]``.

build      compile the extension modules in place, only what changed
test       pytest in development mode
lint       ruff (lint and format) and cython-lint
types      mypy --strict, and the stubs against the compiled modules
hot        the Cython functions marked ``# hot`` stay off the interpreter
sanitize   the C code under the address and undefined behaviour sanitizers
docs       the documentation, without a warning
bench      the benchmark beside other libraries, of the package as it is built in place
peers      prepare under .peers/ what the interoperability tests talk to
autobahn   the Autobahn testsuite against the example servers and clients
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hot_lines
import peer_setup
import stale_files

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["picows", "picows_aio"]


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> None:
    """Show a command and run it; its failure ends everything."""
    print("+", *command, flush=True)
    # Tools call others of their environment by name: cython-lint calls pycodestyle.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    status = subprocess.run(command, cwd=cwd, env=os.environ | environment, check=False).returncode
    if status:
        sys.exit(status if status > 0 else 1)


def python(*arguments: str | Path, cwd: Path = ROOT, **environment: str) -> None:
    """Run the interpreter that runs this."""
    run(sys.executable, *arguments, cwd=cwd, **environment)


def build(*arguments: str) -> None:
    stale_files.remove(ROOT, PACKAGES)
    # setuptools warns that the tables of pyproject.toml which describe the modules are experimental.
    quietly = ("-W", "ignore::UserWarning")
    python(*quietly, "-c", "import setuptools; setuptools.setup()", "-q", "build_ext", "--inplace", *arguments)


def test(*arguments: str) -> None:
    python("-X", "dev", "-m", "pytest", *arguments)


def lint() -> None:
    python("-m", "ruff", "check", ".")
    python("-m", "ruff", "format", "--check", ".")
    sources = [path for package in PACKAGES for suffix in ("pyx", "pxd") for path in ROOT.glob(f"{package}/*.{suffix}")]
    python("-m", "cython_lint.cython_lint", *sorted(sources), *sorted(ROOT.glob("examples/**/*.pyx")))


def types() -> None:
    python("-m", "mypy")
    python("-m", "pytest", "-q", "tests/test_stubs.py")


def hot() -> None:
    slow = [
        line for package in PACKAGES for path in sorted(ROOT.glob(f"{package}/*.pyx")) for line in hot_lines.check(path)
    ]
    sys.exit("\n".join(slow)) if slow else print("hot functions: no line calls the interpreter")


def sanitize(*arguments: str) -> None:
    python("tests/csrc/sanitize.py", *arguments)


def docs() -> None:
    build()
    # autodoc prefers a .pyi to the compiled module beside it, and a stub has no docstrings.
    stage = ROOT / "build" / "docs"
    shutil.rmtree(stage, ignore_errors=True)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, stage / package, ignore=shutil.ignore_patterns("*.pyi", "*.c", "__pycache__"))
    for builder in ("html", "doctest"):
        options = ["-b", builder, "-n", "-W", "--keep-going", "-q", ROOT / "docs", ROOT / "docs" / "_build" / builder]
        # The module search path begins with the working directory, the staged packages, not this checkout.
        python("-m", "sphinx", *options, cwd=stage)
    python("-m", "pytest", "-q", "tests/test_docs.py", DOCS_HTML=str(ROOT / "docs" / "_build" / "html"))


def bench(*arguments: str) -> None:
    python("examples/benchmark/run.py", "--ours-python", sys.executable, *arguments)


def peers() -> None:
    peer_setup.prepare(ROOT / ".peers")


def autobahn(*arguments: str) -> None:
    """Arguments go to the suite's script, named by $AUTOBAHN; the default is --quick --strict."""
    script = Path(os.environ.get("AUTOBAHN") or ROOT.parent / "shared" / "conformance" / "autobahn.py").resolve()
    if not script.exists():
        print(f"Autobahn testsuite: not run, there is no {script} ($AUTOBAHN names it)")
        return
    options = arguments or ("--quick", "--strict")
    for folder in (ROOT / "examples", ROOT / "examples" / "aio"):
        for role, parameters in (("server", "{port}"), ("client", "{url} {agent}")):
            command = f"{sys.executable} {folder / f'autobahn_{role}.py'} {parameters}"
            python(script, role, "--command", command, *options, PYTHONPATH=str(ROOT))


COMMANDS: dict[str, Callable[..., None]] = {
    function.__name__: function for function in (build, test, lint, types, hot, sanitize, docs, bench, peers, autobahn)
}


def main(arguments: list[str]) -> None:
    names, extra = arguments, []
    if "--" in arguments:
        names, extra = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    if not names or not set(names) <= set(COMMANDS):
        sys.exit(__doc__)
    for name in names[:-1]:
        COMMANDS[name]()
    COMMANDS[names[-1]](*extra)


if __name__ == "__main__":
    main(sys.argv[1:])
