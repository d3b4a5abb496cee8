"""Modules import only from lower layers, so each can be understood, tested and replaced without those above it."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "picows"

LAYERS = [
    {"native", "enums", "version"},
    {"errors", "entropy", "http_message", "http_body"},
    {"http11", "upgrade_headers", "url", "closing", "options", "buffer"},
    {"handshake", "redirects", "frame", "output"},
    {"transport", "parser"},
    {"listener", "broadcast"},
    {"keepalive", "network", "proxy"},
    {"protocol", "route"},
    {"opening"},
    {"client", "server"},
    {"__init__", "_codec"},
    {"api", "picows"},
]
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
FIRST_WITH_ASYNCIO = RANK["transport"]

SOURCES = sorted(path for suffix in ("py", "pyx", "pxd") for path in PACKAGE.glob(f"*.{suffix}"))
IMPORT = re.compile(r"^[ \t]*(?:from|cimport|import)[ \t]+picows\.(\w+)", re.MULTILINE)
IMPORT_FROM_PACKAGE = re.compile(r"^[ \t]*(?:from[ \t]+picows[ \t]+c?import|c?import[ \t]+picows)\b(.*)", re.MULTILINE)
ASYNCIO = re.compile(r"^[ \t]*(?:from|import)[ \t]+asyncio\b", re.MULTILINE)
FOR_TYPES_ONLY = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", re.MULTILINE)


def targets(path: Path) -> set[str]:
    """Modules of picows that a source file imports, at any depth of indentation, but for annotations."""
    source = FOR_TYPES_ONLY.sub("", path.read_text())
    found = set(IMPORT.findall(source))
    for names in IMPORT_FROM_PACKAGE.findall(source):
        modules = set(re.findall(r"\w+", names)) & set(RANK)
        found |= modules or {"__init__"}
    return found - {path.stem}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_imports_only_point_down(path):
    assert {target for target in targets(path) if RANK[target] >= RANK[path.stem]} == set()


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if RANK[path.stem] < FIRST_WITH_ASYNCIO], ids=lambda p: p.name
)
def test_the_lower_layers_do_not_know_asyncio(path):
    assert not ASYNCIO.search(path.read_text())


def test_every_layer_names_modules_that_exist():
    assert {path.stem for path in SOURCES} == set(RANK)


def test_the_c_code_does_not_know_python():
    sources = [*PACKAGE.glob("csrc/*.h"), *PACKAGE.glob("csrc/*.c")]
    assert sources
    assert [path.name for path in sources if "Python.h" in path.read_text()] == []
