"""What `picows_aio` has of the public names of `websockets` 17.4, and a way to put it in that package's place.

``python -m picows_aio.compat`` prints the names; ``--rst`` prints them as a table for documentation.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Literal

__all__ = ["NAMES", "Name", "install", "uninstall"]

WEBSOCKETS_VERSION = "17.4"
"""The version of `websockets` whose interface this is, and that `install` shows."""


@dataclass(frozen=True)
class Name:
    """One public name of `websockets`.

    Attributes:
        module: Its module without the first part, for example "asyncio.client"; empty for the top level.
        name: The name; "*" stands for the whole module.
        state: Whether it is the same here, better, or absent.
        note: What is better, or what to use instead.
    """

    module: str
    name: str
    state: Literal["same", "better", "absent"]
    note: str = ""

    @property
    def path(self) -> str:
        """Where it is in `picows_aio`."""
        return ".".join(filter(None, ("picows_aio", self.module, self.name.replace("*", ""))))


_EXCEPTIONS = """
    ConcurrencyError ConnectionClosed ConnectionClosedError ConnectionClosedOK DuplicateParameter HeaderLineTooLong
    InvalidHandshake InvalidHeader InvalidHeaderFormat InvalidHeaderValue InvalidMessage InvalidMethod InvalidOrigin
    InvalidParameterName InvalidParameterValue InvalidProtocol InvalidProxy InvalidProxyMessage InvalidProxyStatus
    InvalidState InvalidStatus InvalidURI InvalidUpgrade NegotiationError PayloadTooBig ProtocolError ProxyError
    RequestLineTooLong SecurityError StatusLineTooLong TooManyFragments TooManyHeaders WebSocketException
    InvalidStatusCode WebSocketProtocolError
"""
_DEFLATE = """
    ClientPerMessageDeflateFactory PerMessageDeflate ServerPerMessageDeflateFactory enable_client_permessage_deflate
    enable_server_permessage_deflate
"""
_EXTENSION = "ClientExtensionFactory Extension ServerExtensionFactory"
_OPCODES = "BINARY CLOSE CONT PING PONG TEXT"

_PRESENT = {
    "": _EXCEPTIONS
    + """
    ClientConnection Close CloseCode Data ExtensionName ExtensionParameter Frame Headers HeadersLike LoggerLike
    MultipleValuesError Opcode Origin Request Response Router Server ServerConnection State StatusLike Subprotocol
    __version__ basic_auth broadcast connect route serve unix_connect unix_route unix_serve
    """,
    "asyncio.client": "ClientConnection backoff connect process_exception unix_connect",
    "asyncio.connection": "Connection broadcast",
    "asyncio.router": "Router route unix_route",
    "asyncio.server": "Server ServerConnection basic_auth broadcast serve unix_serve",
    "client": "ClientConnection backoff connect process_exception unix_connect",
    "datastructures": "Headers HeadersLike MultipleValuesError",
    "exceptions": _EXCEPTIONS,
    "extensions": _EXTENSION,
    "extensions.base": _EXTENSION,
    "extensions.permessage_deflate": _DEFLATE,
    "frames": f"""
    {_OPCODES} CLOSE_CODE_EXPLANATIONS CTRL_OPCODES Close CloseCode DATA_OPCODES EXTERNAL_CLOSE_CODES Frame
    OK_CLOSE_CODES Opcode
    """,
    "headers": """
    build_authorization_basic build_extension build_host build_subprotocol build_www_authenticate_basic
    parse_authorization_basic parse_connection parse_extension parse_subprotocol parse_upgrade validate_subprotocols
    """,
    "http11": "Request Response SERVER USER_AGENT",
    "protocol": "CLOSED CLOSING CONNECTING OPEN State",
    "server": "Server ServerConnection serve unix_serve",
    "typing": """
    BytesLike ConnectionOption Data DataLike ExtensionHeader ExtensionName ExtensionParameter LoggerLike Origin PathLike
    StatusLike Subprotocol UpgradeProtocol
    """,
    "uri": "WebSocketURI parse_uri",
    "version": "commit tag version",
}

_BETTER = {
    "Close": "log lines escape the control characters of a peer's reason",
    "Headers": "names must be tokens; None and bytes are TypeError",
    "InvalidProxy": "the text leaves out user and password",
    "InvalidStatusCode": "another name of InvalidStatus, so that catching it works",
    "InvalidURI": "the text leaves out user and password",
    "Request": "serialize() refuses line ends",
    "Response": "serialize() refuses line ends",
    "Server": "drain() closes connections one by one; close() does not wait for clients that have asked for nothing",
    "TooManyFragments": "has max_fragments, and survives pickling",
    "WebSocketURI": "its repr leaves out the password",
    "basic_auth": "checks its arguments when called, keeps them out of messages; repeated credentials are 401, not 500",
    "broadcast": "returns a report of who got the message; a policy decides about clients that do not keep up",
    "build_authorization_basic": "a colon in the user is ValueError",
    "build_extension": "refuses what is no token",
    "build_subprotocol": "refuses what is no token",
    "connect": "wrong arguments are refused at once; where reconnect_delays end, the last error is raised; socks4 and "
    "socks5 proxies resolve names; texts leave out passwords",
    "parse_uri": "every refusal is InvalidURI, also bad ports, brackets, IPv4 addresses and line ends",
    "serve": "wrong arguments are refused at once; timeouts and malformed requests are answered too; hooks that return "
    "something else are a 500; a client that goes away is a line at INFO, not an error of the handler",
}

_CONNECTION = "the connections of picows_aio, which have `protocol.state`; sans-I/O is not offered"
_LEGACY_CLIENT = "connect and ClientConnection"
_LEGACY_SERVER = "serve and ServerConnection"
_SANS_IO = dict.fromkeys(("ClientProtocol", "Protocol", "ServerProtocol", "Side"), _CONNECTION)
_LEGACY = {
    "AbortHandshake": "process_request, which returns a Response",
    "BasicAuthWebSocketServerProtocol": "basic_auth",
    "RedirectHandshake": "InvalidStatus, whose response has the Location",
    "WebSocketClientProtocol": _LEGACY_CLIENT,
    "WebSocketCommonProtocol": "Connection",
    "WebSocketServer": "Server",
    "WebSocketServerProtocol": _LEGACY_SERVER,
    "basic_auth_protocol_factory": "basic_auth",
}
_ABSENT: dict[str, dict[str, str]] = {
    "": {**_SANS_IO, **_LEGACY},
    "asyncio.messages": {"*": "recv() and recv_streaming() of a connection"},
    "auth": {name: _LEGACY[name] for name in ("BasicAuthWebSocketServerProtocol", "basic_auth_protocol_factory")},
    "cli": {"*": "another program, or `python -m websockets`"},
    "client": {"ClientProtocol": _CONNECTION, "WebSocketClientProtocol": _LEGACY_CLIENT},
    "exceptions": {name: _LEGACY[name] for name in ("AbortHandshake", "RedirectHandshake")},
    "frames": {"Frame.check": _CONNECTION, "Frame.parse": _CONNECTION, "Frame.serialize": _CONNECTION},
    "http11": {
        "Request.exception": "what connect and serve raise and log",
        "Request.parse": _CONNECTION,
        "Response.exception": "what connect and serve raise and log",
        "Response.parse": _CONNECTION,
    },
    "imports": {"*": "nothing: it is for websockets itself"},
    "legacy": {"*": "picows_aio.connect and picows_aio.serve"},
    "protocol": {"Protocol": _CONNECTION, "Side": _CONNECTION, "SEND_EOF": _CONNECTION},
    "proxy": {"*": "connect(proxy=...)"},
    "server": {"ServerProtocol": _CONNECTION, "WebSocketServer": "Server", "WebSocketServerProtocol": _LEGACY_SERVER},
    "speedups": {"*": "nothing: it is for websockets itself"},
    "streams": {"*": _CONNECTION},
    "sync": {"*": "picows_aio.asyncio in an event loop of its own"},
    "trio": {"*": "websockets.trio"},
    "utils": {"*": "nothing: it is for websockets itself"},
}


def _rows() -> Iterator[Name]:
    for module, names in _PRESENT.items():
        for name in names.split():
            yield Name(module, name, "better" if name in _BETTER else "same", _BETTER.get(name, ""))
    for module, absent in _ABSENT.items():
        for name, instead in absent.items():
            yield Name(module, name, "absent", f"use {instead}")


NAMES: Sequence[Name] = sorted(_rows(), key=lambda row: (row.module, row.name))
"""The public names of `websockets`, sorted."""


def explain_absence(name: str, module: str = "") -> str:
    """Say what to use instead of a name that is absent on purpose; empty for any other.

    Args:
        name: The name; "*" stands for the module.
        module: Its module without the first part.
    """
    instead = _ABSENT.get(module, {}).get(name)
    return f"{Name(module, name, 'absent').path} is not offered; use {instead}" if instead else ""


class _Finder(MetaPathFinder, Loader):
    """Finds `websockets` and its modules in `picows_aio`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "websockets":
            return ModuleSpec(fullname, self, origin="picows_aio", is_package=True)
        package, _, module = fullname.partition(".")
        if package != "websockets":
            return None
        if reason := explain_absence("*", module):
            raise ModuleNotFoundError(reason, name=fullname)
        found = importlib.util.find_spec(f"picows_aio.{module}")
        return found and ModuleSpec(fullname, self, is_package=found.submodule_search_locations is not None)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        if spec.name == "websockets":
            return _top_level()
        if spec.name == "websockets.version":
            return _version()
        module = importlib.import_module(spec.name.replace("websockets", "picows_aio", 1))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The module is the one of picows_aio, which the import system has just given the other name's specification.
        if module.__spec__ is not None and module.__spec__.loader_state is not None:
            module.__spec__ = module.__spec__.loader_state


def _top_level() -> ModuleType:
    package = importlib.import_module("picows_aio")
    modules = {module.partition(".")[0] for module in _PRESENT if module}

    def get(name: str) -> object:
        value = getattr(package, name)
        if not isinstance(value, ModuleType):
            return value
        if name not in modules:  # one that picows_aio uses itself
            raise AttributeError(f"module 'websockets' has no attribute {name!r}")
        return importlib.import_module(f"websockets.{name}")

    module = ModuleType("websockets", package.__doc__)
    names = {
        "__version__": WEBSOCKETS_VERSION,
        "__all__": package.__all__,
        "__getattr__": get,
        "__dir__": lambda: sorted({*vars(module), *package.__all__, *modules}),
    }
    vars(module).update(names)
    return module


def _version() -> ModuleType:
    module = ModuleType("websockets.version")
    vars(module).update(dict.fromkeys(("version", "tag", "commit"), WEBSOCKETS_VERSION))
    return module


def _websockets_modules() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "websockets"]


def install() -> None:
    """Make ``import websockets`` give this package, in the whole process, so that a library can be tried unchanged.

    Call it first in the program; calling it again changes nothing.

    Raises:
        RuntimeError: The program has imported `websockets` already.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if imported := _websockets_modules():
        raise RuntimeError(
            f"websockets is already imported, from {getattr(sys.modules[imported[0]], '__file__', None)}; "
            "call picows_aio.compat.install() before anything imports it"
        )
    sys.meta_path.insert(0, _Finder())


def uninstall() -> None:
    """Undo `install` for imports to come; modules that have imported names keep them."""
    finders = [finder for finder in sys.meta_path if isinstance(finder, _Finder)]
    for finder in finders:
        sys.meta_path.remove(finder)
    for name in _websockets_modules() if finders else ():
        del sys.modules[name]


def _print_table() -> None:
    width = max(len(row.path) for row in NAMES)
    for row in NAMES:
        print(f"{row.path:<{width}}  {row.state:<6}  {row.note}".rstrip())


def _print_rst() -> None:
    print(".. list-table::\n   :header-rows: 1\n\n   * - Name\n     - State\n     - Note")
    for row in NAMES:
        print(f"   * - ``{row.path}``\n     - {row.state}\n     - {row.note}".rstrip())


if __name__ == "__main__":
    _print_rst() if sys.argv[1:] == ["--rst"] else _print_table()
