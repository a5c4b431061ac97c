"""Numbers that cannot be: outside their range, between two counts, or at odds with each other."""

import math
from datetime import UTC, datetime, timedelta

from bench.audit.evidence import Entry, Evidence, Row
from bench.audit.findings import Findings
from bench.axes import NM, Block, Regrow, Weight
from bench.cell import Cell

ENVIRONMENT = "device cpu precision threads torch numerics recipe_hash dataset_hash started".split()
SIZES = "sparsity params params_dense flops flops_dense collapsed_layers epochs_total".split()
SCORED = "score_samples score_batch score_mode".split()
PERCENT = ("top1", "top5", "top1_dense", "top1_pruned", "top1_pruned_bn")
TEST_SAMPLES = {
    "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22": 360,
    "c58f30108f718f92721af3b95e74349a": 10_000,
    "eb9058c3a382ffc7106e4002c42a8d85": 10_000,
    "90528d7ca1a48142e341f4ef8d21d0de": 10_000,
}
"""Hash of a dataset -> samples of its test set: digits, CIFAR-10, CIFAR-100, Tiny ImageNet."""
INSTANT_S = 1e-5
"""Scoring a network, or training it for an epoch, takes longer: the first few operations do."""
EDITED = "the number was edited, or comes from another net"


def check(evidence: Evidence, findings: Findings) -> None:
    """Look at every record by itself."""
    for entry in evidence.entries:
        if entry.ok:
            _check_complete(entry, findings)
            _check_time(entry, findings)
            for what in (*_impossible_accuracies(entry), *_impossible_sizes(entry), *_impossible_times(entry)):
                findings.problem(entry, what, EDITED)
        elif entry.columns.get("status") != "failed":
            findings.problem(entry, f"its status is {entry.columns.get('status')!r}", "it is ok or failed")
        elif not entry.columns.get("reason"):
            findings.problem(entry, "it has failed without a reason", "a failure that nobody can explain")
        findings.checked["records"] += 1


def _check_complete(entry: Entry, findings: Findings) -> None:
    needed = [*ENVIRONMENT, *SIZES, *([] if entry.control else SCORED)]
    needed += ["train_s", *(["finetune_s"] if entry.columns.get("finetune") else [])]
    needed += ["gpu"] if entry.columns.get("device") == "cuda" else []
    missing = [name for name in needed if entry.columns.get(name) is None]
    measured = any(entry.columns.get(name) is not None for name in ("top1", "r2"))
    if not measured and entry.columns.get("epochs_total"):
        missing.append("top1 or r2")
    if missing:
        findings.problem(entry, f"it lacks {', '.join(missing)}", "what made it is not known")


def _check_time(entry: Entry, findings: Findings) -> None:
    try:
        started = datetime.fromisoformat(str(entry.columns["started"]))
        late = started > datetime.now(UTC) + timedelta(days=1)
    except (ValueError, TypeError):
        late = True
    if late:
        findings.problem(entry, f"started is {entry.columns['started']!r}", "no time at which it can have been made")


def _impossible_accuracies(entry: Entry) -> list[str]:
    row = entry.columns
    found = [f"{n} is {row[n]!r}, no percentage" for n in PERCENT if row.get(n) is not None and not 0 <= row[n] <= 100]
    if samples := TEST_SAMPLES.get(str(row.get("dataset_hash"))):
        for name in PERCENT:
            hits = (row.get(name) or 0) * samples / 100
            if abs(hits - round(hits)) > 1e-6:
                found.append(f"{name} is {row[name]!r}, no whole number of the {samples} test samples")
    if row.get("top5") is not None and row["top5"] < row["top1"]:
        found.append(f"top5 is {row['top5']!r}, below top1 {row['top1']!r}")
    loss = row.get("loss")
    if loss is not None and not (math.isfinite(loss) and loss >= 0):
        found.append(f"loss is {loss!r}")
    # What is classified wrongly has a probability of at most a half.
    least = (1 - (row["top1"] or 0) / 100) * math.log(2) if row.get("top1") is not None else 0
    if loss is not None and _is_likelihood(entry.cell) and loss < least * (1 - 1e-6):
        found.append(f"loss is {loss!r}: with top1 {row['top1']!r} it is at least {least:.4f}")
    if row["criterion"] == "dense":
        found += [
            f"{name} is {row[name]!r}, but {name}_dense {row[f'{name}_dense']!r} of the same net"
            for name in ("top1", "r2")
            if row.get(name) != row.get(f"{name}_dense")
        ]
    return found


def _impossible_times(entry: Entry) -> list[str]:
    row, cell = entry.columns, entry.cell
    least = dict.fromkeys(("train_s", "finetune_s", "score_s"), 0.0)
    if cell is not None:
        # A rewound net keeps the time of its last round.
        least["train_s"] = INSTANT_S * cell.recipe.epochs * (1 - (cell.rewind_to or 0))
        least["finetune_s"] = INSTANT_S * (cell.finetune_epochs or 0)
        least["score_s"] = INSTANT_S
    return [
        f"{name} is {row[name]!r}, no time that this takes"
        for name, seconds in least.items()
        if row.get(name) is not None and not seconds <= row[name] < math.inf
    ]


def _is_likelihood(cell: Cell | None) -> bool:
    return cell is not None and cell.recipe.loss in ("cross_entropy", "bce")


def _impossible_sizes(entry: Entry) -> list[str]:
    row, found = entry.columns, list[str]()
    if not 0 <= row["sparsity"] <= 1:
        return [f"sparsity is {row['sparsity']!r}"]
    effective = row.get("sparsity_effective")
    if effective is not None and effective < row["sparsity"] - 1e-9:
        found.append(f"sparsity_effective {effective!r} is below sparsity {row['sparsity']!r}")
    for name in ("params", "flops"):
        dense = row[f"{name}_dense"]
        if row[name] > dense or (entry.control and row[name] != dense):
            found.append(f"{name} is {row[name]}, {name}_dense {dense}")
    if entry.control and row["sparsity"]:
        found.append(f"sparsity is {row['sparsity']!r} in a net that is not pruned")
    return found + (_impossible_layers(entry) if entry.layers else [])


def _impossible_layers(entry: Entry) -> list[str]:
    row, layers = entry.columns, entry.layers or []
    kept, total = sum(layer["kept"] for layer in layers), sum(layer["total"] for layer in layers)
    found = []
    if row["sparsity"] != 1 - kept / total:
        found.append(f"sparsity is {row['sparsity']!r}, its layers keep {kept} of {total} weights")
    empty = sum(layer["kept"] == 0 for layer in layers)
    if row["collapsed_layers"] != empty:
        found.append(f"collapsed_layers is {row['collapsed_layers']}, {empty} layers are empty")
    if entry.cell is not None and not entry.control:
        found += _off_target(entry.cell, layers, str(row.get("left_dense") or ""))
    return found


def _off_target(cell: Cell, layers: list[Row], left_dense: str) -> list[str]:
    """Return where single weights, N of M or blocks were not removed in the number that the target asks for."""
    if cell.sparsity is None or cell.scope is None or not isinstance(cell.granularity, Weight | Block):
        return _off_pattern(cell, layers, left_dense)
    unit = cell.granularity.rows * cell.granularity.cols if isinstance(cell.granularity, Block) else 1
    each = cell.scope.name in ("layer", "row") or (isinstance(cell.schedule, Regrow) and cell.scope.name == "global")
    if not each:
        layers = [{"kept": sum(row["kept"] for row in layers), "total": sum(row["total"] for row in layers)}]
    elif cell.scope.min_keep is not None:
        return []
    whole = left_dense.split(", ") if each else []
    return [
        f"{row['total'] - row['kept']} of {row['total']} weights{_of(row)} are gone, {cell.sparsity} asks for "
        f"{cell.sparsity * row['total']:.6g}"
        for row in layers
        if row.get("name") not in whole
        and abs(row["total"] - row["kept"] - min(cell.sparsity * row["total"], row["total"] - cell.min_keep)) > unit / 2
    ]


def _off_pattern(cell: Cell, layers: list[Row], left_dense: str) -> list[str]:
    if not isinstance(cell.granularity, NM):
        return []
    share = cell.granularity.n / cell.granularity.m
    return [
        f"{row['kept']} of {row['total']} weights{_of(row)} are kept, no {cell.granularity.n}:{cell.granularity.m}"
        for row in layers
        if row["name"] not in left_dense.split(", ") and row["kept"] != share * row["total"]
    ]


def _of(row: Row) -> str:
    return f" of {row['name']}" if "name" in row else ""
