"""A plan is a full product: every criterion has the same seeds at every sparsity, and none is missing."""

from collections import defaultdict
from typing import Any

from bench.audit.evidence import CHOICE, Evidence, Row, Table
from bench.audit.findings import Findings
from bench.cell import CONTROLS, named

FREE = ("cell", "seed", "sparsity_target", "epochs_total")
"""What differs inside one row of a table."""
AXES = "criterion criterion_options granularity scope schedule when ablation target_kind score_mode".split()
"""What every dataset, model and recipe of a plan is combined with."""
HOLE = "a dropped failure or seed biases a mean"
Key = tuple[Any, ...]


def check(evidence: Evidence, findings: Findings) -> None:
    """Look for holes in each plan, for cells without a record, and for records that every plan leaves out."""
    for table in evidence.tables:
        _check_records(table, findings)
        _check_seeds(table, findings)
        _check_criteria(table, findings)
        _check_controls(table, findings)
    _check_left_out(evidence, findings)


def _check_records(table: Table, findings: Findings) -> None:
    missing = [row for row in table.rows if row["cell"] not in table.entries]
    if missing and table.plan.get("partial"):
        findings.unchecked[f"cells that {table.where}, published as partial, has no record of"] += len(missing)
    elif missing:
        what = (
            f"{len(missing)} of {len(table.rows)} cells have no record, first {named(missing[0])} {missing[0]['cell']}"
        )
        findings.problem(table.where, what, f"not run to its end, or taken out: {HOLE}; run it again")


def _check_seeds(table: Table, findings: Findings) -> None:
    groups: dict[Key, list[Row]] = defaultdict(list)
    for row in table.rows:
        if row["criterion"] not in CONTROLS:
            groups[_key(row, [name for name in row if name not in FREE])].append(row)
    seeds = sorted({row["seed"] for row in table.rows})
    targets = {row["sparsity_target"] for rows in groups.values() for row in rows if not _own_target(row)}
    for rows in groups.values():
        places = [(row["sparsity_target"], row["seed"]) for row in rows]
        own = {target for target, _ in places} if _own_target(rows[0]) else targets
        for target in sorted(own, key=str):
            lacking = [seed for seed in seeds if (target, seed) not in places]
            if lacking:
                what = f"{named(rows[0] | {'sparsity_target': target}).rpartition(' seed')[0]} lacks seed {lacking[0]}"
                findings.problem(table.where, f"{what} that other cells of the plan have", HOLE)
        for place in sorted({place for place in places if places.count(place) > 1}, key=str):
            one = next(row for row in rows if (row["sparsity_target"], row["seed"]) == place)
            findings.problem(table.where, f"{named(one)} has two cells", "better of two is not a measurement")


def _own_target(row: Row) -> bool:
    """Whether the sparsity is not the plan's: N:M has its own, a threshold and a schedule that stops reach theirs."""
    return row["sparsity_target"] is None or str(row["granularity"]).startswith("{name: nm")


def _check_criteria(table: Table, findings: Findings) -> None:
    """Each dataset, model and recipe must come with the same criteria and axes."""
    choices: dict[Key, set[Key]] = defaultdict(set)
    for row in table.rows:
        if row["criterion"] not in CONTROLS:
            choices[_key(row, CHOICE)].add(_key(row, AXES))
    every = set[Key]().union(*choices.values())
    for choice, held in choices.items():
        for lacking in sorted(every - held, key=str):
            shown = " ".join(str(part) for part in lacking if part not in (None, ""))
            findings.problem(
                table.where, f"{' '.join(choice[:3])} lacks {shown}, which other data or models have", HOLE
            )


def _check_controls(table: Table, findings: Findings) -> None:
    """Each choice and seed must have one dense row, and a dense_longer row for each way of fine-tuning."""
    tunings: dict[Key, set[Key]] = defaultdict(set)
    controls: dict[Key, list[Key]] = defaultdict(list)
    for row in table.rows:
        tuning = (row["finetune"], row["finetune_epochs"])
        if row["criterion"] in CONTROLS:
            controls[(*_key(row, CHOICE), row["seed"])].append((row["criterion"], *tuning))
        elif row["finetune"]:
            tunings[_key(row, CHOICE)].add(tuning)
    for *choice, seed in {(*_key(row, CHOICE), row["seed"]) for row in table.rows}:
        held = controls[(*choice, seed)]
        needed = {("dense", None, None), *(("dense_longer", *tuning) for tuning in tunings[tuple(choice)])}
        if not needed <= {*held} or len(held) != len({*held}):
            what = f"{' '.join(map(str, choice[:3]))} seed {seed} has the control rows {sorted(map(str, held))}"
            findings.problem(table.where, what, "every criterion is compared with one dense net of its seed")


def _check_left_out(evidence: Evidence, findings: Findings) -> None:
    """A record in no plan whose configuration a plan has, at other seeds or sparsities, was left out of a table."""
    planned = {row["cell"] for table in evidence.tables for row in table.rows}
    rows = [row for table in evidence.tables for row in table.rows if row["criterion"] not in CONTROLS]
    columns = [name for name in rows[0] if name not in FREE] if rows else []
    known = {_key(row, columns) for row in rows}
    for entry in evidence.entries:
        if entry.id in planned or not planned:
            continue
        if not entry.control and _key(entry.columns, columns) in known:
            what = "no plan holds it, but one has the same configuration at other seeds or sparsities"
            findings.problem(entry, what, "left out of every table? run with it, or remove its folder")
        else:
            findings.unchecked["records outside every plan, beyond their own numbers"] += 1


def _key(row: Row, names: Any) -> Key:
    return tuple(row.get(name) for name in names)
