"""A user's mistake, said in one line."""

import difflib
import textwrap
from collections.abc import Iterable


class UserError(Exception):
    """What is wrong, where, and what to do: shown as one line (`debug=true` shows the traceback)."""


def one_line(error: BaseException, most: int = 300) -> str:
    """Return an error's kind and words in one line of at most so many characters."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", most, placeholder=" ...")


def near_misses(name: str, known: Iterable[str]) -> str:
    """Return `did you mean A or B? ` for the known names close to `name`, followed by all known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}known: {', '.join(names)}"
