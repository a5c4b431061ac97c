"""What a plan says beside its cells: the titles and sources that tables show, what is under study, what is claimed."""

import contextlib
from functools import cache

from bench import config
from bench.audit.evidence import Evidence, Table
from bench.audit.findings import Findings
from bench.errors import UserError
from bench.report.places import published
from bench.schema import Settings

SHOWN = {"titles": ("dataset", "title"), "recipes": ("recipe", "source")}
"""Key of a plan -> group of the configuration, and the field of it that tables show."""


def check(evidence: Evidence, findings: Findings) -> None:
    """Compare each plan with the configurations of its records and with its experiment's file."""
    strict = evidence.root in published(evidence.root)
    for table in evidence.tables:
        _check_shown(table, findings)
        _check_stated(table, strict, findings)


def _check_shown(table: Table, findings: Findings) -> None:
    """Titles and sources are no part of an id: a later run may have reworded them, and then conf has them, too."""
    cells = [entry.cell for entry in table.entries.values() if entry.cell is not None]
    for key, (group, field) in SHOWN.items():
        told, names = table.plan[key], {row[group] for row in table.rows}
        if {*told} != names:
            what = f"{key} names {', '.join(sorted(told)) or 'nothing'}, its cells have {', '.join(sorted(names))}"
            findings.problem(table.where, what, "tables would name what was not run")
        for name, text in told.items():
            own = {getattr(getattr(cell, group), field) for cell in cells if getattr(cell, group).name == name}
            if text in own or text == _reworded(group, name, field):
                continue
            if own and f"{group}.{field}" not in _changed(table):
                what = f"{field} of {group} {name} is {text!r}, its records say {' and '.join(map(repr, sorted(own)))}"
                findings.problem(table.where, what, "tables would show what was not run")
            else:
                findings.unchecked["titles of data and sources of recipes that no record holds"] += 1


def _check_stated(table: Table, strict: bool, findings: Findings) -> None:
    """Compare what is under study, and claimed, with the file of the experiment.

    strict: what is published must agree. Plans of runs stay where they are when somebody edits the file for a next run.
    """
    name, claims = table.plan["experiment"], table.plan.get("claims", [])
    if claims:
        findings.unchecked["claims: when they were written down"] += len(claims)
    file = _here("experiment", name)
    if file is None:
        findings.unchecked[f"vary and claims of a plan whose experiment {name!r} has no file here"] += 1
        return
    stated = {"vary": [*file.vary], "claims": [claim.model_dump() for claim in file.claims]}
    for key, value in stated.items():
        if table.plan.get(key, []) == value:
            continue
        if key in _changed(table):
            findings.unchecked[f"{key} that the command line gave"] += 1
        elif strict:
            why = "stated before a run: the plan, or the file, was changed after it"
            findings.problem(table.where, f"its {key} is not that of conf/experiment/{name}.yaml", why)
        else:
            what = f"{key} of {table.where}: conf/experiment/{name}.yaml has another, of a later day or forged"
            findings.unchecked[what] += 1


def _changed(table: Table) -> set[str]:
    """Return the keys that the command line gave otherwise than the experiment's file; every table says them."""
    return {argument.partition("=")[0].lstrip("+") for argument in table.plan["changed"]}


def _reworded(group: str, name: str, field: str) -> str | None:
    """Return the title or source that the configuration has today, None where it has no file of this name."""
    here = _here(group, name)
    return None if here is None else str(getattr(getattr(here.choices[0], group), field))


@cache
def _here(group: str, name: str) -> Settings | None:
    """Return the settings that a file of the configuration gives, None where there is no such file."""
    with contextlib.suppress(UserError):
        return config.load([f"{group}={name}", "dataset.root=DIR"])
    return None
