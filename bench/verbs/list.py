"""`list`: the criteria, read without running them."""

import textwrap

import criteria
from bench.errors import UserError
from criteria import BrokenCriterionError


def main(arguments: list[str]) -> int:
    """Print every criterion with its formula, source, options and defaults that differ from the usual."""
    if arguments:
        raise UserError("list takes no arguments")
    for name in criteria.available():
        try:
            description = criteria.describe(name)
        except BrokenCriterionError as error:
            print(f"{name}\n    broken: {error}")
            continue
        facts = description.facts
        print(f"{name}\n    {description.formula}")
        print(textwrap.indent(facts["SOURCE"], "    ") if facts["SOURCE"] else "    (names no source)")
        defaults = [f"{key.lower()}={facts[key]}" for key in ("GRANULARITY", "SCOPE", "SCHEDULE", "WHEN")]
        options = [f"option {key}={value}" for key, value in description.options.items()]
        print(f"    {', '.join([*defaults, *options])}")
    return 0
