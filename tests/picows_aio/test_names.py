"""What `from picows_aio import ...` gives."""

import importlib
import pkgutil
import types

import picows_aio


def test_no_module_hides_a_public_name() -> None:
    """Importing a submodule puts it on the package, over whatever had its name."""
    modules = {module.name for module in pkgutil.iter_modules(picows_aio.__path__)}
    assert not modules & set(picows_aio.__all__)


def test_public_names_are_no_modules_whatever_was_imported_before() -> None:
    importlib.import_module("picows_aio.asyncio.server")
    for name in picows_aio.__all__:
        assert not isinstance(getattr(picows_aio, name), types.ModuleType), name
