"""Which results a verb that only reads is asked for."""

from pathlib import Path

from bench.errors import UserError, near_misses

KEYS = ("out", "experiment", "debug")


def where(verb: str, arguments: list[str]) -> tuple[Path, str | None]:
    """Return (folder, experiment or None) of `out=DIR experiment=NAME`; UserError for anything else."""
    given = {"out": "results/runs"}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise UserError(f"{verb} takes KEY=VALUE: {argument!r}; known: {', '.join(sorted(KEYS))}")
        if key not in KEYS:
            raise UserError(f"{verb}: unknown key {key!r}; {near_misses(key, KEYS)}")
        given[key] = value
    if given["out"] in ("", "null"):
        raise UserError(f"out={given['out']} names no folder; give one, or leave it out")
    return Path(given["out"]), given.get("experiment")
