"""Functions in a user's own files, `path/to/file.py:function`: found and fingerprinted, not imported. No torch."""

from pathlib import Path

from bench.errors import UserError
from criteria._fingerprint import fingerprint

OWN = {"dataset": "reader", "model": "factory"}
"""Group of the configuration -> its field that names a function, `module:function` or `path/to/file.py:function`."""


def own_file(function: str, what: str) -> Path | None:
    """Return the file of `path/to/file.py:function`, None for `module:function`.

    what: one of OWN, for the UserError where the file is not there or no function is named.
    """
    role = OWN[what]
    source, colon, name = function.rpartition(":")
    example = f"path/to/{'net' if what == 'model' else 'data'}.py:{role}"
    if not colon or not name:
        raise UserError(f"{what} {function} names no {role}: write {example}")
    if not source.endswith(".py") and "/" not in source:
        return None
    path = Path(source).expanduser().resolve()
    if not path.is_file():
        raise UserError(f"{what} file {source} not found: give the path of a file as {example}")
    return path


def code_hash(path: Path | None, what: str) -> str:
    """Return a hash of a file and the modules that it imports from its own folder; "" for None.

    UserError where it is no Python or cannot be read.
    """
    try:
        return fingerprint(path) if path else ""
    except SyntaxError as error:
        raise UserError(f"{what} file {path}, line {error.lineno}: {error.msg}") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{what} file {path} cannot be read: {error}") from error
