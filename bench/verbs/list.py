"""`list`: the criteria, read without running them."""

import textwrap
from collections.abc import Sequence

import criteria
from bench.errors import UserError
from criteria import CriterionError


def main(arguments: list[str]) -> int:
    """Print every criterion with its formula, source, options and defaults; with --matrix, what is defined."""
    if arguments == ["--matrix"]:
        return _print_matrix()
    if arguments:
        raise UserError("list takes no arguments but --matrix")
    for name in criteria.available():
        try:
            description = criteria.describe(name)
        except CriterionError as error:
            print(f"{name}\n    broken: {error}")
            continue
        facts = description.facts
        print(f"{name}\n    {description.formula}")
        print(textwrap.indent(facts["SOURCE"], "    ") if facts["SOURCE"] else "    (names no source)")
        defaults = [f"{key.lower()}={facts[key]}" for key in ("GRANULARITY", "SCOPE", "SCHEDULE", "WHEN")]
        options = [f"option {key}={value}" for key, value in description.options.items()]
        print(f"    {', '.join([*defaults, *options])}")
    return 0


def _print_matrix() -> int:
    from bench import matrix  # here: the plain list stays quick without the configuration's libraries

    grids, reasons = matrix.matrix()
    for grid in grids:
        print(f"{grid.title}: + is defined, a number says why not")
        width = max(map(len, grid.rows))
        for groups in _by_first_part(grid.columns):
            print(f"\n{'':{width}}  {'  '.join(name for _, name in groups)}")
            for criterion, marks in grid.rows.items():
                print(f"{criterion:{width}}  {'  '.join(f'{marks[at]:{len(name)}}' for at, name in groups)}".rstrip())
        print()
    for number, reason in enumerate(reasons, start=1):
        print(f"{number:2}  {reason}")
    return 0


def _by_first_part(columns: Sequence[str]) -> list[list[tuple[int, str]]]:
    """Return the numbered columns cut into lines that fit a terminal, each granularity or time whole."""
    firsts = list(dict.fromkeys(name.split(":")[0] for name in columns))
    cut = {first: number // 2 for number, first in enumerate(firsts)}
    lines: dict[int, list[tuple[int, str]]] = {}
    for at, name in enumerate(columns):
        lines.setdefault(cut[name.split(":")[0]], []).append((at, name))
    return list(lines.values())
