"""A user's mistake, said in one line."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What is wrong, where, and what to do: shown as one line (`debug=true` shows the traceback)."""


def near_misses(name: str, known: Iterable[str]) -> str:
    """Return `did you mean A or B? ` for the known names close to `name`, followed by all known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}known: {', '.join(names)}"
