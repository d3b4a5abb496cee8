"""Removes built files that setuptools would go on using although their sources are gone or newer."""

import re
from collections.abc import Iterator
from pathlib import Path

BUILT = {".so", ".pyd", ".c", ".o", ".obj"}


def remove(root: Path, packages: list[str]) -> None:
    """Do that in the packages and under build/."""
    for package in packages:
        for path in built_files(root, package):
            if not any(root.joinpath(package).glob(f"{module_of(path)}.py*")):
                path.unlink()
        for source in root.glob(f"{package}/*.pyx"):
            remove_outdated(root, packages, source)


def remove_outdated(root: Path, packages: list[str], source: Path) -> None:
    """Remove a module older than something it cimports: setuptools compares it with its .pyx and `depends` only.

    The one under build/ is enough to have it made again; the one in the package serves until then.
    """
    newest = max(path.stat().st_mtime for path in dependencies(root, packages, source))
    for path in root.glob(f"build/*/{source.parent.name}/{source.stem}.*"):
        if path.suffix in {".so", ".pyd"} and path.stat().st_mtime < newest:
            path.unlink()


def built_files(root: Path, package: str) -> Iterator[Path]:
    """What was made for a package; a deleted module would still be imported, and installed from build/."""
    for folder in (root / package, *root.glob(f"build/*/{package}")):
        is_source_folder = folder.parent == root
        for path in folder.glob("*"):
            if path.is_file() and (path.suffix in BUILT or not is_source_folder):
                yield path


def dependencies(root: Path, packages: list[str], source: Path) -> set[Path]:
    """A module's source and every declaration it cimports, by itself or through others."""
    cimport = re.compile(rf"^from ({'|'.join(packages)})(?:\.(\w+))? cimport\b(.*)", re.MULTILINE)
    found: set[Path] = set()
    waiting = [source, source.with_suffix(".pxd")]
    while waiting:
        path = waiting.pop()
        if path in found or not path.exists():
            continue
        found.add(path)
        for package, module, names in cimport.findall(path.read_text()):
            modules = [module] if module else ["__init__", *re.findall(r"\w+", names)]
            waiting += [root / package / f"{name}.pxd" for name in modules]
    return found


def module_of(path: Path) -> str:
    """Name of the module that a built file belongs to."""
    return path.name.partition(".")[0]
