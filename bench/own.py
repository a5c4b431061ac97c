"""A function in a user's own file, `path/to/file.py:function`: the factory of a model or the reader of a dataset."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.errors import UserError, near_misses, one_line
from bench.seeds import global_stream
from bench.source import OWN
from criteria._import import importable, line_of


@contextmanager
def function_of(path: Path, name: str, fingerprint: str, what: str) -> Iterator[Callable[..., Any]]:
    """Give a function of a file; the file's folder stays importable inside: it may import its helpers late.

    fingerprint: of the file's code; equal code is one module. what: "model" or "dataset", for the UserError where the
    file cannot be imported or has no such function.
    """
    with importable(path.parent):
        module = _run(path, f"{what}_{path.stem}_{fingerprint}", what)
        function = getattr(module, name, None)
        if not callable(function):
            known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise UserError(f"{what} file {path} has no {OWN[what]} {name!r}; {near_misses(name, known)}")
        yield function


def _run(path: Path, name: str, what: str) -> ModuleType:
    """Import a file under a name of its own."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses, pickle and inspect look a class's module up there
    try:
        with global_stream(0, "import"):
            spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(say(f"{what} file {path}", "cannot be imported", error, path)) from error
    return module


def say(what: str, went_wrong: str, error: Exception, path: Path) -> str:
    """Return one line: what went wrong, and in which line of the file `path`."""
    return f"{what}{line_of(error, path)} {went_wrong}: {one_line(error)}"
