"""What a reader must know beside the numbers, in sentences."""

import textwrap

import pandas as pd

from bench.cell import CONTROLS
from bench.report.frame import WHOLE, Results, measures
from bench.report.panels import Panel

TOLERANCE = 1e-3
"""Rounding to whole weights stays below this; more is worth a word."""

LEFT = "Layers left dense (not scored, or not divisible)"
LEFT_WHOLE = "Layers that keep all outputs (they lose only inputs whose source was removed)"


def legend(results: Results, best: str) -> list[str]:
    """Return what holds for all panels; `best` says how the best of a column is marked."""
    shown = " or ".join({"top1": "accuracy", "r2": "R²"}[name] for name in measures(results.frame))
    lines = [
        f"Mean ± sample standard deviation over seeds of the {shown} after all training; "
        f"{best}: best of its column as shown, among criteria with all seeds.",
        "epochs: of training behind the final weights. dense: not pruned. dense_longer: the same, trained for the "
        "fine-tuning epochs more.",
    ]
    return [*lines, *origin(results)]


def origin(results: Results) -> list[str]:
    """Return where the recipes come from, what was changed for this run, and which records are left out."""
    lines = [f"Recipe {name}: {source.rstrip('.')}." for name, source in results.plan["recipes"].items()]
    lines += changed(results)
    if results.outside:
        which = ", ".join(f"{criterion} {count}" for criterion, count in results.outside.items())
        lines.append(f"Left out: {sum(results.outside.values())} records outside this plan ({which}).")
    return lines


def changed(results: Results) -> list[str]:
    """Return what the command line made other than the experiment's file says, in one line; nothing where nothing."""
    arguments = results.plan["changed"]
    return [f"Changed for this run: {', '.join(arguments)}."] if arguments else []


def notes(panel: Panel) -> list[str]:
    """Return what holds for one panel: its seeds, what is missing or failed, and what is not as planned."""
    facts = (_missing, _failed, _off_target, of_weights, _left_dense, _sliced, _untuned, _converged, _mixed)
    return [seeds(panel.cells), *(line for fact in facts if (line := fact(panel)))]


def seeds(cells: pd.DataFrame) -> str:
    """Return over what the means of planned cells are taken."""
    planned = sorted(cells["seed"].unique())
    if len(planned) == 1:
        return f"One seed ({planned[0]}), hence no spread."
    return f"{len(planned)} seeds ({', '.join(map(str, planned))})."


def _missing(panel: Panel) -> str:
    count = int(panel.cells["status"].eq("missing").sum())
    return f"{count} of {len(panel.cells)} cells {'is' if count == 1 else 'are'} missing." if count else ""


def _failed(panel: Panel) -> str:
    failed = panel.cells[panel.cells["status"] == "failed"]
    if failed.empty:
        return ""
    first = failed.iloc[0]
    reason = textwrap.shorten(str(first["reason"]), 200, placeholder=" ...").rstrip(".")
    where = f"{first['row']}{_at(first['sparsity_target'])}, seed {first['seed']}"
    return f"{len(failed)} of {len(panel.cells)} cells failed; the first ({where}): {reason}."


def _off_target(panel: Panel) -> str:
    cells = panel.cells[panel.cells["status"] == "ok"]
    of_weights = cells["target_kind"].isna() | (cells["target_kind"] == "weights")
    off = cells[of_weights & ((cells["sparsity"] - cells["sparsity_target"]).abs() > TOLERANCE)]
    cases = [f"{row}{_at(target)} reached {100 * reached:.4g} %" for row, target, reached in _first_of_each(off)]
    return f"Sparsity off its target: {'; '.join(cases)}." if cases else ""


def of_weights(panel: Panel) -> str:
    """Return what share of the weights is gone, where the targets are shares of something else."""
    cells = panel.cells[(panel.cells["status"] == "ok") & ~panel.cells["target_kind"].isin([None, "weights"])]
    kinds = sorted(cells["target_kind"].dropna().unique())
    if not kinds:
        return ""
    spans = (100 * cells["sparsity"]).groupby(cells["sparsity_target"]).agg(["min", "max"])
    reached = [
        f"{low:.3g} %{_at(target)}" if round(low, 1) == round(high, 1) else f"{low:.3g} to {high:.3g} %{_at(target)}"
        for target, low, high in spans.itertuples()
    ]
    return f"Targets are shares of {' or '.join(kinds)}; weights removed: {', '.join(reached)}."


def _left_dense(panel: Panel) -> str:
    """Name the layers that nothing is removed from; whole filters elsewhere take their inputs along."""
    cells = panel.cells[~panel.cells["criterion"].isin(CONTROLS)].drop_duplicates("row")
    named = cells[cells["left_dense"].notna()]
    lines = []
    for whole, own in named.groupby(named["granularity"].str.contains(WHOLE), sort=False):
        by_layers = own.groupby("left_dense", sort=False)["row"].agg(", ".join)
        everyone = len(by_layers) == 1 and len(own) == len(cells)
        rows = [str(layers) if everyone else f"{layers} ({who})" for layers, who in by_layers.items()]
        lines.append(f"{LEFT_WHOLE if whole else LEFT}: {'; '.join(rows)}.")
    return " ".join(lines)


def _first_of_each(cells: pd.DataFrame) -> list[tuple[str, float, float]]:
    first = cells.drop_duplicates(["row", "sparsity_target"])
    return list(zip(first["row"], first["sparsity_target"], first["sparsity"], strict=True))


def _sliced(panel: Panel) -> str:
    """Say what falling rates mean for steps that share the fine-tuning among them."""
    iterative = panel.cells["schedule"].astype(str).str.contains("iterative")
    falling = panel.cells["finetune"].astype(str).str.contains("rewound|cosine")
    if not (iterative & falling & panel.cells["when"].eq("trained")).any():
        return ""
    return "Iterative: each step takes the next part of the fine-tuning, the last cut that of the lowest rates."


def _untuned(panel: Panel) -> str:
    """Say which rows are not fine-tuned where others are: only where `when` is under study."""
    pruned = panel.cells[~panel.cells["control"]]
    untuned = pruned["finetune"].isna()
    if untuned.all() or not untuned.any():
        return ""
    return f"Trained by the recipe alone, after pruning: {', '.join(pruned.loc[untuned, 'row'].unique())}."


def _converged(panel: Panel) -> str:
    stops = panel.table["sparsity_target"].isna().any()
    return "converged: pruned until accuracy fell, with the mean sparsity reached." if stops else ""


def _mixed(panel: Panel) -> str:
    """Say where rows come from different machines; inside a mean that is refused (tabulate)."""
    cells = panel.cells[panel.cells["status"] == "ok"]
    mixed = [f"{c} ({'; '.join(map(str, cells[c].unique()))})" for c in ("cpu", "gpu") if cells[c].nunique() > 1]
    return f"The rows were made on different machines: {', '.join(mixed)}." if mixed else ""


def _at(sparsity: float) -> str:
    return "" if pd.isna(sparsity) else f" at {100 * sparsity:.10g} %"
