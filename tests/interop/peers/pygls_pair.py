"""The PyPI package `pygls`, server and client, which import `websockets`, with picows_aio in that package's place."""

import asyncio
import logging
import threading

import conversation

from picows_aio import compat

compat.install()

from lsprotocol import types  # noqa: E402 - after the installation, which is the subject
from pygls.lsp.client import LanguageClient  # noqa: E402
from pygls.lsp.server import LanguageServer  # noqa: E402

DOCUMENT = types.TextDocumentItem("file:///poem", "text", 1, "roses are red\n" * 5000)

server = LanguageServer("lines", "1.0")


@server.feature(types.TEXT_DOCUMENT_HOVER)
def show_line(ls: LanguageServer, params: types.HoverParams) -> types.Hover:
    """Answer with what stands in the line."""
    document = ls.workspace.get_text_document(params.text_document.uri)
    return types.Hover(f"{len(document.lines)} lines: {document.lines[params.position.line].strip()}")


class StartedHandler(logging.Handler):
    """Sets `started` when the server says that it serves."""

    started = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        if record.getMessage().startswith("Serving on"):
            self.started.set()


async def converse(port: int) -> None:
    client = LanguageClient("reader", "1.0")
    await client.start_ws("127.0.0.1", port)
    answer = await client.initialize_async(types.InitializeParams(types.ClientCapabilities()))
    client.initialized(types.InitializedParams())
    client.text_document_did_open(types.DidOpenTextDocumentParams(DOCUMENT))
    place = types.HoverParams(types.TextDocumentIdentifier(DOCUMENT.uri), types.Position(4999, 0))
    hover = await client.text_document_hover_async(place)
    conversation.tell(server=answer.server_info.name, hover=hover.contents, handler=type(server._server).__module__)
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()


logging.getLogger("pygls.server").setLevel(logging.INFO)
logging.getLogger("pygls.server").addHandler(StartedHandler())
thread = threading.Thread(target=server.start_ws, args=("127.0.0.1", 0))
thread.start()
StartedHandler.started.wait()
asyncio.run(converse(server._server.sockets[0].getsockname()[1]))
thread.join()
conversation.tell(ended=True)
