"""Every public name of websockets: which of them are here, and the package in the place of the other."""

import ast
import importlib
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import picows_aio
from picows_aio.compat import NAMES, Name
from tests.support import require_peer

ROOT = Path(__file__).resolve().parents[2]


def resolve(row: Name) -> object:
    """Import what a row of the table names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if row.name == "*":
            return importlib.import_module(row.path)
        value: object = importlib.import_module(".".join(filter(None, ["picows_aio", row.module])))
        for name in row.name.split("."):
            value = getattr(value, name)
        return value


@pytest.mark.parametrize("row", [row for row in NAMES if row.state != "absent"], ids=lambda row: row.path)
def test_what_is_offered_imports(row):
    assert resolve(row) is not None


@pytest.mark.parametrize("row", [row for row in NAMES if row.state == "absent"], ids=lambda row: row.path)
def test_what_is_absent_says_what_to_use(row):
    with pytest.raises(ImportError if row.name == "*" else AttributeError):
        resolve(row)
    assert row.note.startswith("use ")


def test_every_name_is_in_the_table_once():
    assert len({(row.module, row.name) for row in NAMES}) == len(NAMES)
    assert all(row.note for row in NAMES if row.state == "better")
    assert not any(row.note for row in NAMES if row.state == "same")


WALK = """
import importlib, json, pkgutil, warnings
import websockets
warnings.simplefilter("ignore")
modules = ["websockets", *(module.name for module in pkgutil.walk_packages(websockets.__path__, "websockets."))]
modules = [name for name in modules if not name.startswith(("websockets.__main__", "websockets.trio"))]
public = {name: importlib.import_module(name) for name in modules}
print(json.dumps({name.partition(".")[2]: getattr(module, "__all__", None) or [] for name, module in public.items()}))
"""


def test_the_table_knows_every_module_and_name_of_websockets():
    """Of the version whose interface this is: what its modules list in `__all__`."""
    walk = [require_peer("websockets"), "-W", "ignore", "-c", WALK]
    theirs = json.loads(subprocess.run(walk, capture_output=True, text=True, check=True).stdout)
    known = {(row.module, row.name) for row in NAMES}
    # A module that is absent takes those below it along.
    absent = tuple(f"{row.module}." for row in NAMES if row.name == "*")
    listed = {(module, name) for module, names in theirs.items() for name in names}
    listed = {(module, name) for module, name in listed if not f"{module}.".startswith(absent)}
    assert len(listed) > 150
    assert sorted(listed - known) == []


def run(program: str, *paths: Path) -> str:
    """Output of a program that finds our packages, and before them those in these folders."""
    start = f"import sys; sys.path[:0] = {[*map(str, paths), str(ROOT)]!r}\n"
    command = [sys.executable, "-W", "error", "-c", start + program]
    done = subprocess.run(command, cwd=paths[0] if paths else ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("option", [[], ["--rst"]])
def test_the_table_is_printed(option):
    command = [sys.executable, "-W", "error", "-m", "picows_aio.compat", *option]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(row.path in printed and row.note in printed for row in NAMES)
    assert printed.count("picows_aio.asyncio.client.connect") == 1


def test_the_other_name_gives_our_package():
    program = """
import picows_aio
from picows_aio.compat import install
install()
install()
import websockets
assert websockets.__version__ == "17.4"
assert websockets.connect is picows_aio.connect
assert set(websockets.__all__) == set(picows_aio.__all__)
assert set(websockets.__all__) <= set(dir(websockets))
from websockets import ConnectionClosed, Headers
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed as same
from websockets.extensions.base import Extension
from websockets.version import version
import websockets.frames
assert connect is picows_aio.connect
assert ConnectionClosed is same is picows_aio.ConnectionClosed
assert (version, websockets.version.version) == ("17.4", "17.4")
assert websockets.frames is picows_aio.frames
assert websockets.typing is picows_aio.typing
assert picows_aio.frames.__spec__.name == picows_aio.frames.__name__ == "picows_aio.frames"
assert [base.__module__ for base in type(ConnectionClosed(None, None)).__mro__[:2]] == ["picows_aio.exceptions"] * 2
for name in ("nothing", "ClientProtocol"):
    assert not hasattr(websockets, name)
"""
    run(program)


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("sync", "an event loop of its own"),
        ("sync.client", "an event loop of its own"),
        ("trio.server", "websockets.trio"),
        ("legacy", "picows_aio.connect"),
        ("legacy.client", "picows_aio.connect"),
    ],
)
@pytest.mark.parametrize("package", ["picows_aio", "websockets"])
def test_importing_what_is_not_offered_says_what_to_use(package, module, advice):
    program = f"""
from picows_aio.compat import install
install()
try:
    import {package}.{module}
except ImportError as exc:
    print(exc)
"""
    assert advice in run(program)


def test_other_modules_are_not_found_under_the_other_name():
    program = """
import importlib.util
from picows_aio.compat import install
install()
assert importlib.util.find_spec("websockets.nothing") is None
assert importlib.util.find_spec("websockets_of_others") is None
for name, expected in (("streams", "sans-I/O is not offered"), ("nothing", "No module named 'websockets.nothing'")):
    try:
        importlib.import_module(f"websockets.{name}")
    except ModuleNotFoundError as exc:
        assert expected in str(exc), exc
    else:
        raise AssertionError(name)
"""
    run(program)


@pytest.fixture
def other_websockets(tmp_path):
    """A folder with another package `websockets`."""
    package = tmp_path / "other" / "websockets"
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text("__version__ = 'real'")
    package.joinpath("exceptions.py").write_text("class WebSocketException(Exception): pass")
    return package.parent


def test_a_package_that_is_imported_already_is_not_replaced(other_websockets):
    program = """
import websockets.exceptions
from picows_aio.compat import install
try:
    install()
except RuntimeError as exc:
    print(exc)
import websockets
assert websockets.__version__ == "real"
"""
    message = run(program, other_websockets)
    assert message.startswith(f"websockets is already imported, from {other_websockets / 'websockets'}")
    assert "call picows_aio.compat.install() before" in message


def test_the_other_package_comes_back(other_websockets):
    program = """
from picows_aio.compat import install, uninstall
uninstall()
install()
import websockets.asyncio.client
uninstall()
uninstall()
import websockets
assert websockets.__version__ == "real"
from picows_aio.exceptions import WebSocketException, ProtocolError
import websockets.exceptions
assert isinstance(ProtocolError("x"), websockets.exceptions.WebSocketException)
"""
    run(program, other_websockets)


def test_only_ours_is_linked_while_it_stands_in_for_the_other(other_websockets):
    program = """
from picows_aio.compat import install
install()
import websockets
from picows_aio.exceptions import ProtocolError
assert isinstance(ProtocolError("x"), websockets.WebSocketException)
assert "other" not in repr(ProtocolError.__mro__)
assert [base.__module__ for base in ProtocolError.__mro__[:3]] == ["picows_aio.exceptions"] * 3
"""
    run(program, other_websockets)


def imports_for_type_checkers() -> dict[str, str]:
    """Names that the package imports for type checkers, each with its module."""
    tree = ast.parse(Path(picows_aio.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    statements = [statement for statement in block.body if isinstance(statement, ast.ImportFrom)]
    return {alias.name: str(statement.module) for statement in statements for alias in statement.names}


def test_type_checkers_see_the_names_that_are_there():
    assert sorted([*imports_for_type_checkers(), "__version__"]) == sorted(picows_aio.__all__)
    assert set(picows_aio.__all__) <= set(dir(picows_aio))


@pytest.mark.parametrize(("name", "module"), imports_for_type_checkers().items())
def test_type_checkers_see_the_objects_that_are_there(name, module):
    assert getattr(picows_aio, name) is getattr(importlib.import_module(module), name)


def test_names_are_imported_when_they_are_used():
    program = """
import picows_aio
before = {name for name in sys.modules if name.startswith("picows_aio.")}
picows_aio.ConnectionClosed
after = {name for name in sys.modules if name.startswith("picows_aio.")}
print(before, after)
assert picows_aio.exceptions.ConnectionClosed is picows_aio.ConnectionClosed
assert picows_aio.headers.build_host("h", 80, False) == "h"
"""
    assert run(program) == "set() {'picows_aio.exceptions'}\n"


def test_a_deprecated_name_warns_each_time():
    for _ in range(2):
        with pytest.warns(DeprecationWarning, match="use InvalidStatus"):
            assert picows_aio.InvalidStatusCode is picows_aio.InvalidStatus


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'picows_aio' has no attribute 'nothing'$"):
        picows_aio.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="ClientProtocol is not offered; use"):
        picows_aio.ClientProtocol  # noqa: B018


REFUSED = """
try:
    import picows_aio
except ImportError as exc:
    print(exc)
"""


def test_a_core_of_another_distribution_is_refused(tmp_path):
    other = tmp_path / "picows"
    other.mkdir()
    other.joinpath("__init__.py").write_text("from picows.version import __version__")
    other.joinpath("version.py").write_text("__version__ = '2.3.1'")
    message = run(REFUSED, tmp_path)
    assert f"the package picows in {other} belongs to another distribution" in message
    assert "pip uninstall -y picows && pip install --force-reinstall --no-deps picows-aio" in message


def test_the_core_from_pypi_is_refused(tmp_path):
    """The real one, which overwrites our files when it is installed after them."""
    tmp_path.joinpath("picows_aio").symlink_to(ROOT / "picows_aio")
    command = [require_peer("picows"), "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{REFUSED}"]
    message = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "pip uninstall -y picows" in message


def test_the_other_package_can_be_looked_at():
    program = """
import inspect, json, picows_aio.compat
picows_aio.compat.install()
import websockets
members = dict(inspect.getmembers(websockets))
assert members["connect"] is picows_aio.connect
assert members["exceptions"] is websockets.exceptions is picows_aio.exceptions
assert {name for name in members if not name.startswith("__")} == {
    row.name for row in picows_aio.compat.NAMES if not row.module and row.state != "absent" and row.name[:2] != "__"
} - {"InvalidStatusCode", "WebSocketProtocolError"} | set(picows_aio.__all__) - {"__version__"} | {
    row.module.partition(".")[0] for row in picows_aio.compat.NAMES if row.module and row.state != "absent"
}
for foreign in ("picows", "importlib", "compat", "admission", "sys"):
    assert not hasattr(websockets, foreign), foreign
print(repr(websockets), websockets.__file__ == picows_aio.__file__)
"""
    assert run(program) == "<module 'websockets' (picows_aio)> True\n"
