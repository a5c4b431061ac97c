"""Hash of a criterion's code: its file and every module from its own folder that it imports, also through others."""

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path


def fingerprint(path: Path) -> str:
    """Return 16 hex digits that change exactly when the criterion's own code changes."""
    digest = hashlib.sha256()
    for file in sorted(_closure(path)):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _closure(path: Path) -> set[Path]:
    found, todo = {path}, [path]
    while todo:
        new = _imported(todo.pop(), path.parent) - found
        found |= new
        todo += new
    return found


def _imported(file: Path, folder: Path) -> set[Path]:
    """Return the files below `folder` that `file` imports, as `helper`, `package.folder.helper` or `.helper`.

    Raises SyntaxError with the file's name.
    """
    names = _names(file.read_bytes(), file.relative_to(folder).parent.parts, str(file))
    paths = {path for name in names if name for path in _paths(name.split("."), folder)}
    candidates = (option for path in paths for option in (path.with_suffix(".py"), path / "__init__.py"))
    return {candidate for candidate in candidates if candidate.is_file()}


@lru_cache(maxsize=512)
def _names(code: bytes, package: tuple[str, ...], file: str) -> frozenset[str]:
    """Return the dotted names that a file's code imports; parsed once, since a plan asks again and again."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code, filename=file)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *((node.module,) if node.module else ())))
            names.update((base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)))
    return frozenset(names)


def _paths(parts: list[str], folder: Path) -> Iterator[Path]:
    """Yield where below `folder` the dotted name `parts` and the packages above it (they run too) may lie."""
    for start in range(len(parts)):
        if tuple(parts[:start]) == folder.parts[len(folder.parts) - start :]:
            yield from (folder.joinpath(*parts[start:end]) for end in range(start + 1, len(parts) + 1))
