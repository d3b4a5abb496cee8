"""Finds lines of hot Cython functions that call the interpreter, by the scores of Cython's annotation.

A function is hot when its signature ends with the comment ``# hot``. Not counted are `raise` statements, and lines that
end with ``# hot: `` and the reason why they must call it: the user's callback, an object that is made once.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

MAX_SCORE = 2  # one macro of the C API or one call into a Cython helper; 5 and more is a call of the interpreter
_MARKER = re.compile(r"\S.*:\s*# hot$")
_EXCUSED = re.compile(r"# hot: \w")
_SCORE = re.compile(r'<pre class="cython line score-(\d+)"[^>]*>.?<span class="">(\d+)</span>')


def check(path: Path) -> list[str]:
    """A message for each line that scores too high in the functions of `path` that are marked ``# hot``."""
    source = path.read_text().splitlines()
    hot = hot_lines(source)
    if not hot:
        return []
    scores = annotate(path)
    return [
        f"{path.parent.name}/{path.name}:{number}: score {scores[number]}: {source[number - 1].strip()}"
        for number in sorted(hot)
        if scores.get(number, 0) > MAX_SCORE
    ]


def annotate(path: Path) -> dict[int, int]:
    """Score of each line, from 1, that has C code."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, path.stem + ".c")
        command = [sys.executable, "-m", "cython", "-a", path.relative_to(path.parent.parent), "-o", output]
        subprocess.run(command, cwd=path.parent.parent, check=True)
        html = output.with_suffix(".html").read_text()
    return {int(number): int(score) for score, number in _SCORE.findall(html)}


def hot_lines(source: list[str]) -> set[int]:
    """Numbers of the lines in the bodies of hot functions, but for `raise` statements and excused lines."""
    found: set[int] = set()
    for number, line in enumerate(source, 1):
        if _MARKER.search(line):
            found.update(_body(source, number))
    return found


def _body(source: list[str], signature_end: int) -> list[int]:
    indent = _indent(source[signature_end - 1])
    lines: list[int] = []
    open_brackets = 0  # of a raise statement under way
    for number, line in enumerate(source[signature_end:], signature_end + 1):
        if line.strip() and _indent(line) <= indent:
            break
        if open_brackets or line.lstrip().startswith("raise"):
            open_brackets += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
        elif not _EXCUSED.search(line):
            lines.append(number)
    return lines


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
