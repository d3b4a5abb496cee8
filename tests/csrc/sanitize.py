"""The C code, and the modules built on it, under the address and undefined behaviour sanitizers.

``python tests/csrc/sanitize.py [--seconds N] [--seed N] [--only c|python] [TEST ...]``

First the fuzz target and the check of platform.h, as plain programs: N seconds of mutated input, every block exactly
as large as its content. Then a copy of the project is built with the sanitizers and the named test files run on it
(by default those of the codec, the parser and kept frames). Needs GCC; $CC names another one, or, with ``--only c``,
clang. libFuzzer runs the same target:

    python tests/csrc/seed_corpus.py corpus
    clang -g -O1 -fsanitize=fuzzer,address,undefined -Ipicows/csrc tests/csrc/fuzz_stream.c picows/csrc/mask.c -o fuzz
    ./fuzz corpus
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import seed_corpus

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CSRC = ROOT / "picows" / "csrc"

COMPILER = os.environ.get("CC", "gcc").split()
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"]
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Werror"]
PROGRAMS = {
    "fuzz_main": [HERE / "fuzz_main.c", HERE / "fuzz_stream.c", CSRC / "mask.c"],
    "check_platform": [HERE / "check_platform.c"],
}
DEFAULT_TESTS = [
    *("mask", "frame_header", "frame_rules", "utf8", "entropy", "frame", "parser", "zero_copy", "upgrade_request")
]
# Generated, or of no use to a build; a compiled module of the checkout must not be taken for one of the copy.
LEFT_BEHIND = ["*.so", "*.pyd", "*.o", "*.egg-info", "__pycache__", "build", "dist", "docs", ".?*"]


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> None:
    """Show a command (its beginning, when it is long) and run it; its failure ends everything."""
    print("+", *command[:16], *(["..."] if len(command) > 16 else []), flush=True)
    status = subprocess.run(command, cwd=cwd, env=os.environ | environment, check=False).returncode
    if status:
        sys.exit(f"failed with status {status}")


def check_c(folder: Path, seconds: int, seed: int) -> None:
    for name, sources in PROGRAMS.items():
        run(*COMPILER, "-std=gnu11", "-O1", *WARNINGS, *SANITIZERS, f"-I{CSRC}", *sources, "-o", folder / name)
    run(folder / "check_platform")
    run(folder / "fuzz_main", str(seconds), str(seed), *seed_corpus.write(folder / "corpus"))


def compiler_file(name: str) -> str:
    command = [*COMPILER, f"-print-file-name={name}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def check_python(folder: Path, tests: list[str]) -> None:
    copy = folder / "project"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    flags = " ".join(SANITIZERS)
    build = "import setuptools; setuptools.setup()"
    run(sys.executable, "-c", build, "-q", "build_ext", "--inplace", cwd=copy, CFLAGS=f"-O1 {flags}", LDFLAGS=flags)
    run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--capture=sys", *tests),
        cwd=copy,
        # The interpreter is not built with the sanitizers, so their libraries must be there before it starts.
        LD_PRELOAD=f"{compiler_file('libasan.so')} {compiler_file('libubsan.so')}",
        # The interpreter keeps memory until it exits; its small-object allocator would hide ours from the sanitizer.
        ASAN_OPTIONS="detect_leaks=0:abort_on_error=0",
        UBSAN_OPTIONS="print_stacktrace=1",
        PYTHONMALLOC="malloc",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=20, help="how long to fuzz (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="repeats the inputs of an earlier run (default: 1)")
    parser.add_argument("--only", choices=["c", "python"], help="one of the two halves")
    parser.add_argument("tests", nargs="*", help="test files, relative to the project")
    arguments = parser.parse_args()
    tests = arguments.tests or [f"tests/picows/test_{name}.py" for name in DEFAULT_TESTS]
    with tempfile.TemporaryDirectory(prefix="sanitize-") as name:
        if arguments.only != "python":
            check_c(Path(name), arguments.seconds, arguments.seed)
        if arguments.only != "c":
            check_python(Path(name), tests)
    print("sanitizers: nothing found")


if __name__ == "__main__":
    main()
