"""Sphinx configuration; `.ci/dev.py docs` builds with it."""

import doctest
import sys
import warnings
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parent))

import picows

if list(Path(picows.__file__).parent.glob("*.pyi")):
    # autodoc would read the stub beside an extension module, and a stub has no docstrings.
    raise RuntimeError("build the documentation with `python .ci/dev.py docs`, from a copy without .pyi files")

# sphinx-autodoc-typehints 3.6 calls a function that Sphinx 9 deprecates.
warnings.filterwarnings("ignore", module="sphinx_autodoc_typehints")

project = "picows-aio"
author = "The picows-aio developers"
copyright = f"2026, {author}"
version = release = picows.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "name_table",
    "sphinx_autodoc_typehints",
    "stub_signatures",
]
exclude_patterns = ["_build", "design"]
default_role = "code"
suppress_warnings = ["config.cache"]  # a function among these settings cannot be pickled
html_theme = "alabaster"
toc_object_entries_show_parents = "hide"
html_theme_options = {"description": "WebSocket for asyncio", "fixed_sidebar": True, "page_width": "1160px"}

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
always_use_bars_union = True
typehints_document_rtype_none = False
napoleon_numpy_docstring = False
doctest_default_flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL

# The build uses no network, so there is no inventory of other packages' names to link to.
_OTHER_PACKAGES = (
    r"(asyncio|collections|contextlib|enum|http|logging|multidict|os|python_socks|re|socket|ssl|typing|werkzeug)\..*"
)
_BUILT_INS = r"[A-Za-z]*Error|Exception|Any|bool|bytearray|bytes|dict|float|int|list|memoryview|str|tuple"
_ABSTRACT = r"AbstractContextManager|Buffer|Ellipsis|Iterable"
_PRIVATE = r"picows_aio\.(Challenger|SupportsKeysAndGetItem|Session)"  # protocols in annotations, which nobody imports
_ITERATORS = r"(Batch|Frame|View)Iterator"  # what they yield is told where they are returned
nitpick_ignore_regex = [
    ("py:.*", _ITERATORS),
    ("py:.*", _OTHER_PACKAGES),
    ("py:.*", _BUILT_INS),
    ("py:.*", _ABSTRACT),
    ("py:.*", _PRIVATE),
]


def typehints_fixup_module_name(module: str) -> str:
    """Name every class as users import it, not by the module it is written in."""
    if module.startswith("picows_aio.extensions."):
        return "picows_aio.extensions"
    if module in ("picows_aio.connection", "picows_aio.uri"):
        return module.replace("picows_aio.connection", "picows_aio.asyncio.connection")
    package = module.partition(".")[0]
    return package if package in ("picows", "picows_aio") else module
