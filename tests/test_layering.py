"""Modules import only from lower layers, so each can be understood, tested and replaced without those above it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = {
    "picows": [
        {"native", "enums", "version"},
        {"errors", "entropy", "recycling", "http_message", "http_body"},
        {"http11", "upgrade_headers", "url", "closing", "options", "buffer"},
        {"upgrade_request", "redirects", "frame", "output"},
        {"handshake"},
        {"transport", "parser"},
        {"listener", "broadcast", "socket_transport"},
        {"socket_server", "tls_transport"},
        {"socket_network", "tls_network"},
        {"keepalive", "network", "proxy", "deadlines", "ending"},
        {"delivery"},
        {"polling"},
        {"protocol", "route"},
        {"opening"},
        {"client", "server"},
        {"__init__", "_codec"},
        {"api", "picows"},
    ],
    "picows_aio": [
        {"typing", "protocol", "settings", "version", "arguments"},
        {"exceptions", "send_policy"},
        {"datastructures", "frames", "headers", "uri", "reconnect", "messages", "deflate_engines"},
        {
            "closed",
            "http11",
            "proxies",
            "assembly",
            "keepalive",
            "session",
            "deflate",
            "waiter",
            "pings",
            "connection_stats",
            "send_budget",
            "persistence",
        },
        {"extensions", "auth", "translation", "dialing", "stream_queue", "awaitable"},
        {"negotiation", "streaming"},
        {"endpoint", "stream_listener"},
        {"inbox"},
        {"reading", "merging"},
        {"receiving"},
        {"sending"},
        {"pushing"},
        {"connection"},
        {"admission", "lifecycle", "broadcast_report", "staleness", "outage", "server_totals"},
        {"client", "server", "broadcasting"},
        {"router", "metrics", "opener"},
        {"subscription"},
        {"__init__", "asyncio", "compat"},
        {"legacy", "sync", "trio"},
    ],
}
RANK = {
    package: {module: rank for rank, layer in enumerate(layers) for module in layer}
    for package, layers in LAYERS.items()
}
# What is below knows no event loop.
FIRST_WITH_ASYNCIO = {"picows": "transport", "picows_aio": "keepalive"}
# What picows_aio uses of picows, beside the names of the package itself: all of it documented.
PUBLIC_MODULES = {"enums", "frame", "listener", "transport", "url", "version"}

SOURCES = sorted(
    path
    for package in LAYERS
    for suffix in ("py", "pyx", "pxd")
    for folder in ("", "asyncio/", "extensions/")
    for path in ROOT.glob(f"{package}/{folder}*.{suffix}")
)
ASYNCIO = re.compile(r"^[ \t]*(?:from|import)[ \t]+asyncio\b", re.MULTILINE)
FOR_TYPES_ONLY = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", re.MULTILINE)


def name_of(path: Path) -> tuple[str, str]:
    """Package and module of a source file; the modules of a package inside are one."""
    package, *modules = path.relative_to(ROOT).with_suffix("").parts
    return package, modules[0]


def targets(path: Path, package: str) -> set[str]:
    """Modules of a package that a source file imports, at any depth of indentation, but for annotations."""
    source = FOR_TYPES_ONLY.sub("", path.read_text())
    found = set(re.findall(rf"^[ \t]*(?:from|cimport|import)[ \t]+{package}\.(\w+)", source, re.MULTILINE))
    from_package = rf"^[ \t]*(?:from[ \t]+{package}[ \t]+c?import|c?import[ \t]+{package})\b(.*)"
    for names in re.findall(from_package, source, re.MULTILINE):
        modules = set(re.findall(r"\w+", names)) & set(RANK[package])
        found |= modules or {"__init__"}
    return found - ({name_of(path)[1]} if name_of(path)[0] == package else set())


def rank_of(path: Path) -> int:
    """The layer of a source file."""
    package, module = name_of(path)
    return RANK[package][module]


def show(path: Path) -> str:
    """Name of a source file for the test's report."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=show)
def test_imports_only_point_down(path):
    package = name_of(path)[0]
    assert {target for target in targets(path, package) if RANK[package][target] >= rank_of(path)} == set()


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if rank_of(path) < RANK[name_of(path)[0]][FIRST_WITH_ASYNCIO[name_of(path)[0]]]],
    ids=show,
)
def test_the_lower_layers_do_not_know_asyncio(path):
    assert not ASYNCIO.search(path.read_text())


@pytest.mark.parametrize("package", LAYERS)
def test_every_layer_names_modules_that_exist(package):
    assert {name_of(path)[1] for path in SOURCES if name_of(path)[0] == package} == set(RANK[package])


@pytest.mark.parametrize("path", [path for path in SOURCES if name_of(path)[0] == "picows"], ids=show)
def test_the_core_does_not_know_what_is_built_on_it(path):
    assert targets(path, "picows_aio") == set()


@pytest.mark.parametrize("path", [path for path in SOURCES if name_of(path)[0] == "picows_aio"], ids=show)
def test_picows_aio_uses_what_picows_documents(path):
    assert targets(path, "picows") <= PUBLIC_MODULES | {"__init__"}


def test_the_c_code_does_not_know_python():
    sources = [*ROOT.glob("picows/csrc/*.h"), *ROOT.glob("picows/csrc/*.c")]
    assert sources
    assert [path.name for path in sources if "Python.h" in path.read_text()] == []
