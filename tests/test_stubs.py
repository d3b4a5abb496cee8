"""The stubs tell what the compiled modules do, and a user's program type-checks against them."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STUBBED = sorted(path for package in ("picows", "picows_aio") for path in ROOT.glob(f"{package}/[!_]*.pyi"))

# Of Cython, not of ours; and a buffer says so to Python code only from 3.12 on (PEP 688).
ALLOWED = r"""
.*\.__pyx_capi__
.*\.__buffer__
"""


def check(*arguments: str | Path) -> str:
    """Output of a checker that found nothing; its complaints are the test's failure."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    return done.stdout


def test_stubs_agree_with_the_compiled_modules(tmp_path):
    allowed = tmp_path / "allowed"
    allowed.write_text(ALLOWED)
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in STUBBED]
    assert {"picows.transport", "picows_aio.connection"} <= set(modules)
    check("mypy.stubtest", "--concise", "--ignore-unused-allowlist", "--allowlist", allowed, *modules)


@pytest.mark.parametrize("package", ["picows", "picows_aio"])
def test_every_public_compiled_module_has_a_stub(package):
    names = importlib.import_module(package)
    # A module that is imported is public by the classes that programs meet, and by their bases.
    compiled = {
        base.__module__
        for name in names.__all__
        if isinstance(thing := getattr(names, name), type)
        for base in thing.__mro__
        if base.__module__.startswith(f"{package}.")
    }
    missing = {
        module
        for module in compiled
        if Path(sys.modules[module].__file__).suffix in {".so", ".pyd"}
        and not ROOT.joinpath(*module.split(".")).with_suffix(".pyi").exists()
    }
    assert compiled
    assert missing == set()


@pytest.mark.parametrize("program", ["typed_program.py", "typed_program_aio.py"])
def test_a_users_program_type_checks(program):
    assert "Success" in check("mypy", "--strict", "--config-file=", f"tests/{program}")


@pytest.mark.parametrize("package", ["picows", "picows_aio"])
def test_the_package_says_that_it_is_typed(package):
    assert (ROOT / package / "py.typed").exists()
