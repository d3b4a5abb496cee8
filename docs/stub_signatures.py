"""Signatures of compiled functions, with the types that only their stubs know.

Sphinx reads the docstrings of the compiled modules, which have no annotations. The stubs beside them have: what they
declare replaces the bare signature.
"""

import ast
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

PACKAGES = [Path(__file__).resolve().parent.parent / name for name in ("picows", "picows_aio")]
Signature = tuple[str, str | None]  # arguments in parentheses, and what is returned


def bound_of(value: ast.expr) -> ast.expr:
    """What a reader is told of an alias: of a type variable, its bound."""
    bounds = [keyword.value for keyword in getattr(value, "keywords", []) if keyword.arg == "bound"]
    return bounds[0] if bounds else value


def read_stub(path: Path) -> dict[str, Signature]:
    """The signatures of one stub, by name: `function` or `Class.method`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    aliases = {
        node.targets[0].id: bound_of(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.startswith("_")
    }

    class ReplaceAliases(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return aliases.get(node.id, node)

    signatures = {}
    bodies = {"": tree.body} | {f"{node.name}.": node.body for node in tree.body if isinstance(node, ast.ClassDef)}
    for prefix, body in bodies.items():
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                function = ReplaceAliases().visit(node)
                function.args.args = [argument for argument in function.args.args if argument.arg != "self"]
                returns = ast.unparse(function.returns) if function.returns else None
                signatures[prefix + function.name] = (f"({ast.unparse(function.args)})", returns)
    return signatures


STUBS = {
    (package.name, name): signature
    for package in PACKAGES
    for path in sorted(package.glob("[!_]*.pyi"))
    for name, signature in read_stub(path).items()
}


def add_types(_app: Sphinx, what: str, name: str, thing: Any, *_event: Any) -> Signature | None:
    """Handle autodoc-process-signature, for functions that a stub declares."""
    package, *path = name.split(".")
    if what == "method":
        # What is inherited has the name of the class it is declared in.
        declared = getattr(thing, "__qualname__", "")
        return STUBS.get((package, ".".join(path[-2:]))) or STUBS.get((package, declared))
    return STUBS.get((package, path[-1])) if what == "function" else None


def setup(app: Sphinx) -> dict[str, bool]:
    # After sphinx-autodoc-typehints, which finds no annotations and would leave the bare signature.
    app.connect("autodoc-process-signature", add_types, priority=1000)
    return {"parallel_read_safe": True}
