"""The directive `websockets-names`: what `python -m picows_aio.compat --rst` prints."""

import subprocess
import sys

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class WebsocketsNames(SphinxDirective):
    """Takes no arguments and has no content."""

    def run(self) -> list[nodes.Node]:
        command = [sys.executable, "-m", "picows_aio.compat", "--rst"]
        table = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
        return self.parse_text_to_nodes(table)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("websockets-names", WebsocketsNames)
    return {"parallel_read_safe": True}
