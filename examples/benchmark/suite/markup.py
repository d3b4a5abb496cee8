"""A document in Markdown, for those who ran the benchmark, and in reStructuredText, for the documentation."""

from collections.abc import Sequence
from dataclasses import dataclass, field

Row = Sequence[str]


@dataclass
class Document:
    """The same content in two languages, built from top to bottom."""

    markdown: list[str] = field(default_factory=list)
    rst: list[str] = field(default_factory=list)

    def heading(self, text: str, level: int) -> None:
        """Begin a part; level 1 is the title."""
        self.markdown += [f"{'#' * level} {text}", ""]
        self.rst += [text, {1: "=", 2: "-", 3: "~"}[level] * len(text), ""]

    def paragraph(self, text: str) -> None:
        self.markdown += [text, ""]
        self.rst += [text, ""]

    def table(self, headers: Row, rows: Sequence[Row]) -> None:
        """A table; without rows, nothing."""
        if not rows:
            return
        lines = [_markdown_row(headers), _markdown_row(["---"] * len(headers)), *map(_markdown_row, rows)]
        self.markdown += [*lines, ""]
        self.rst += [".. csv-table::", f"   :header: {_csv_row(headers)}", ""]
        self.rst += [f"   {_csv_row(row)}" for row in rows]
        self.rst += [""]

    def image(self, file: str, description: str) -> None:
        self.markdown += [f"![{description}]({file})", ""]
        self.rst += [f".. image:: {file}", f"   :alt: {description}", ""]


def _markdown_row(cells: Row) -> str:
    return f"| {' | '.join(cells)} |"


def _csv_row(cells: Row) -> str:
    escaped = (cell.replace("*", r"\*").replace('"', '""') for cell in cells)
    return ", ".join(f'"{cell}"' for cell in escaped)
