"""Evaluates expressions with the names of a package, and tells what came of them without naming the package.

The tests import it for our package. The interpreter that has the other one runs it as a program: each line of its
standard input is a JSON list of expressions, each line of its output the list of what came of them.
"""

import copy
import importlib
import json
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

MODULES = ["datastructures", "exceptions", "frames", "headers", "http11", "protocol", "typing", "uri"]
MODULES += ["extensions", "extensions.permessage_deflate"]


def make_names(package: str, other_modules: Iterable[str]) -> dict[str, Any]:
    """What expressions can name: everything public in these modules of the package, and some of the library."""
    names: dict[str, Any] = {"copy": copy, "pickle": pickle, "with_environment": with_environment}
    for module in (*MODULES, *other_modules):
        names.update(vars(importlib.import_module(f"{package}.{module}")))
    return names


def with_environment(variables: dict[str, str], function: Callable[..., Any], *args: Any) -> Any:
    """Call a function while the environment has these variables about proxies, and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with mock.patch.dict(os.environ, kept | variables, clear=True):
        return function(*args)


def evaluate(expressions: Iterable[str], names: dict[str, Any]) -> list[list[str]]:
    """What each expression gives or raises; ``(name := value)`` keeps a value for those after it."""
    names = dict(names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [_evaluate_one(expression, names) for expression in expressions]


def _evaluate_one(expression: str, names: dict[str, Any]) -> list[str]:
    try:
        return ["gives", repr(eval(expression, names))]
    except Exception as exc:
        return ["raises", type(exc).__name__, str(exc)]


def main(package: str, *other_modules: str) -> None:
    names = make_names(package, other_modules)
    for line in sys.stdin:
        print(json.dumps(evaluate(json.loads(line), names)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
