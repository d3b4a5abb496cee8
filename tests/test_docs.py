"""The built API reference says something about every public name; `.ci/dev.py docs` builds it and runs this."""

import enum
import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

import picows
import picows_aio

HTML = os.environ.get("DOCS_HTML")  # the folder that Sphinx wrote to
CONNECTION_MEMBERS = (
    *("recv", "recv_streaming", "send", "ping", "pong", "close", "wait_closed", "id", "logger", "state", "subprotocol"),
    *("transport", "local_address", "remote_address", "latency", "close_code", "close_reason", "request", "response"),
    *("stream", "frames", "views", "batches", "stats"),
)
STREAM_MEMBERS = ("recv", "aclose", "stats", "name", "received", "delivered", "dropped", "filtered", "high_water")
pytestmark = pytest.mark.skipif(not HTML, reason="needs the built documentation: python .ci/dev.py docs")


class Definitions(HTMLParser):
    """Collects what a page says about each name: the text of the <dd> that follows its <dt id=...>."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self._last_id = ""
        self._is_in_term = False
        self._open: list[str] = []  # names whose <dd> is open, the innermost last

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "dt":
            self._is_in_term = True
            self._last_id = dict(attrs).get("id") or ""
        elif tag == "dd":
            self._open.append(self._last_id)
            self._last_id = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "dt":
            self._is_in_term = False
        elif tag == "dd":
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._is_in_term and self._open:
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data


def public_names() -> list[str]:
    names = []
    for package in (picows, picows_aio):
        for name in package.__all__:
            path = f"{package.__name__}.{name}"
            names.append(path)
            value = getattr(package, name)
            if isinstance(value, type) and issubclass(value, enum.Enum):
                names += [f"{path}.{member.name}" for member in value]
            elif package is picows and isinstance(value, type):
                names += [f"{path}.{member}" for member in vars(value) if not member.startswith("_")]
    names += [f"picows_aio.asyncio.connection.Connection.{name}" for name in CONNECTION_MEMBERS]
    names += [f"picows_aio.Stream.{name}" for name in STREAM_MEMBERS]
    return [*names, "picows_aio.StreamListener.stream", "picows_aio.Merge.aclose", "picows_aio.metrics.ServerCollector"]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    texts: dict[str, str] = {}
    for page in sorted(Path(str(HTML)).glob("reference/**/*.html")):
        parser = Definitions()
        parser.feed(page.read_text(encoding="utf-8"))
        texts |= parser.texts
    return texts


@pytest.mark.parametrize("name", public_names())
def test_a_public_name_has_text(name: str, texts: dict[str, str]) -> None:
    text = texts.get(name, "").strip()
    assert len(text.split()) >= 3, f"the reference says about {name}: {text!r}"


def test_signatures_of_compiled_methods_have_types() -> None:
    page = Path(str(HTML), "reference", "transport.html").read_text(encoding="utf-8")
    start = page.index('id="picows.WSTransport.send"')
    signature = page[start : page.index("</dt>", start)]
    assert "WSMsgType" in signature
    assert "bool" in signature


def test_inherited_methods_have_types_too() -> None:
    page = Path(str(HTML), "reference", "aio", "connection.html").read_text(encoding="utf-8")
    start = page.index('id="picows_aio.asyncio.connection.Connection.stream"')
    assert "Hashable" in page[start : page.index("</dt>", start)]
