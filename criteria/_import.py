"""Imports a criterion's file: as a module of its package where it has one, else by its path, with its own helpers."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from criteria._registry import CriterionError, Description


def import_criterion(description: Description) -> ModuleType:
    """Import a criterion's file; its own folder may hold helper modules. Raises CriterionError in one line."""
    path = description.path
    try:
        if dotted := _dotted(path):
            return importlib.import_module(dotted)
        spec = importlib.util.spec_from_file_location(f"criterion_{path.stem}_{description.fingerprint}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses, pickle and inspect look a class's module up there
        with importable(path.parent):
            spec.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:
        raise failed(path, "imported", error) from error


def failed(path: Path, what: str, error: BaseException) -> CriterionError:
    """Return in one line that the criterion in a file cannot be imported, or made, and why."""
    message = f"criterion {path}{line_of(error, path)} cannot be {what}: {type(error).__name__}: {error}"
    return CriterionError(" ".join(message.split()))


def line_of(error: BaseException, path: Path) -> str:
    """Return `, line N`, the last line of the file `path` that the error passed through, or nothing."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def _dotted(path: Path) -> str | None:
    """Return the module's dotted name where Python finds its folder as a package, so that relative imports work."""
    top = path.parent
    while (top.parent / "__init__.py").is_file():
        top = top.parent
    init = top / "__init__.py"
    spec = importlib.util.find_spec(top.name) if init.is_file() and top.name.isidentifier() else None
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != init:
        return None
    return ".".join(path.relative_to(top.parent).with_suffix("").parts)


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let a plugin import helpers from its folder, without leaving them to plugins of other folders.

    The folder comes last in the search path, so that it cannot shadow an installed package.
    """
    search, before = sys.path.copy(), set(sys.modules)
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path[:] = search
        new = set(sys.modules) - before
        helpers = {name for name in new if "." not in name and _lies_in(sys.modules[name], folder)}
        for name in new:
            if name.partition(".")[0] in helpers:
                del sys.modules[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    """Whether a top-level module is a file of the folder or a package in it (a package below it may be installed)."""
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(Path(place).parent == folder for place in places if place)
