"""How well each criterion knows what removing a unit does to the loss: correlations, tables, scatter plots."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from scipy import stats

from bench import store
from bench.report import grid, render
from bench.report.axes import power
from bench.report.frame import check_environment
from bench.report.style import DOUBLE, SINGLE, STYLE, colours_and_markers, over_seeds, rendered, wrapped
from bench.report.table import Column, Report, Row, Table

NET = ["dataset", "model", "recipe", "precision", "granularity"]
"""Columns of what is compared by itself."""
SUBJECT = "criteria against the true change of the loss"
MEASURES = {
    "spearman_squared": "Spearman, squared change",
    "pearson_squared": "Pearson, squared change",
    "spearman_signed": "Spearman, signed change",
}
LEGEND = (
    "Every criterion scores the trained network, also those made for pruning at initialisation; scores that have the "
    "scale of their layer are divided by its mean."
)
OVERALL = "all"
"""In place of a layer: all units of a network together."""
LEAST = 3
"""Units without which there is no correlation to speak of."""
SKEWED = 10
"""Scores whose largest is more than this many medians are drawn on a log scale."""
EDGE = 1e-8
"""Lower edge of a log scale, as a share of the largest value."""
EQUAL = 2e-12
"""Relative deviations below this are rounding errors."""

# Columns of `units`, a row for each unit and criterion: NET, seed, images (samples of the loss), layer, unit, change
# (loss without the unit less loss of the whole network), criterion, score (NaN where it has none), reason (or null);
# and those of ENVIRONMENT that are known.


def correlations(units: pd.DataFrame) -> pd.DataFrame:
    """Return NET, seed, criterion, layer (OVERALL first), n, MEASURES and, where they are null, the reason.

    Raises UserError where units of one mean over seeds were measured in different environments.
    """
    check_environment(units, [*NET, "criterion"], "units")
    rows: list[dict[str, Any]] = []
    keys = [*NET, "seed", "criterion"]
    for key, own in units.groupby(keys, sort=False):
        names = dict(zip(keys, key, strict=True))
        parts = [(OVERALL, own), *own.groupby("layer", sort=False)]
        rows += [names | {"layer": layer} | _correlation(part) for layer, part in parts]
    columns = [*keys, "layer", "n", *MEASURES, "reason"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(MEASURES, float))


def _correlation(part: pd.DataFrame) -> dict[str, Any]:
    known = part[np.isfinite(part["score"]) & np.isfinite(part["change"])]
    score, change = known["score"].to_numpy(), known["change"].to_numpy()
    if reason := _undefined(part, score, change):
        return {"n": len(known), "reason": reason}
    return {
        "n": len(known),
        "spearman_squared": stats.spearmanr(score, change**2).statistic,
        "pearson_squared": stats.pearsonr(score, change**2).statistic,
        "spearman_signed": stats.spearmanr(score, change).statistic,
        "reason": None,
    }


def _undefined(part: pd.DataFrame, score: Any, change: Any) -> str | None:
    """Return why scores and changes have no correlation, None where they have."""
    if part["reason"].notna().any():
        return str(part["reason"].iloc[0])
    if part["score"].isna().all():
        return "not scored"
    if len(score) < LEAST:
        return f"fewer than {LEAST} units"
    if _equal(score):
        return "all scores are equal"
    return "all changes are equal" if _equal(change) or _equal(change**2) else None


def _equal(values: Any) -> bool:
    return bool(np.linalg.norm(values - values.mean()) <= EQUAL * abs(values.mean()))


def report(units: pd.DataFrame) -> Report:
    """Return, for each network, the correlations over all units, then Spearman's layer by layer; means over seeds."""
    frame = correlations(units)
    tables: list[Table] = []
    for key, own in frame.groupby(NET, sort=False):
        said = about(units.loc[(units[NET] == list(key)).all(axis=1)])
        tables += [_overall(own, _title(key), said), _by_layer(own, f"{_title(key)}: by layer")]
    return Report("oracle", "oracle", SUBJECT, tuple(tables), (LEGEND, *_reasons(frame)), frame)


def markdown(units: pd.DataFrame) -> str:
    """Return the report in Markdown."""
    return grid.document(report(units))


def about(units: pd.DataFrame) -> str:
    """Return what was measured on one network, in words."""
    one = units.drop_duplicates(["seed", "layer", "unit"])
    seeds, kind = one["seed"].nunique(), "filters (coupled ones together)"
    if (one["granularity"] == "weight").all():
        kind = "weights, drawn at random,"
    over = over_seeds("mean ± 1 sample standard deviation", pd.Series([seeds]))
    return (
        f"{len(one) // seeds} {kind} are removed one at a time from the trained network; change of the mean loss in "
        f"eval mode over {one['images'].iloc[0]} training samples outside the scoring set, {over}."
    )


def _overall(frame: pd.DataFrame, title: str, said: str) -> Table:
    layers = frame[frame["layer"] != OVERALL].groupby(["criterion", "seed"], sort=False)["spearman_squared"].mean()
    rows = []
    for criterion, own in frame[frame["layer"] == OVERALL].groupby("criterion", sort=False):
        means = [_spread(own[measure]) for measure in MEASURES]
        rows.append(Row((str(criterion), f"{own['n'].mean():.4g}", *means, _spread(layers[criterion]))))
    columns = (Column("criterion"), Column("n"), *map(Column, MEASURES.values()), Column("mean over layers"))
    return Table(SUBJECT, title, "", columns, tuple(rows), (said,))


def _by_layer(frame: pd.DataFrame, title: str) -> Table:
    layers = frame[frame["layer"] != OVERALL]
    table = layers.groupby(["layer", "criterion"], sort=False)["spearman_squared"].mean().unstack(sort=False)
    sizes = layers.groupby("layer", sort=False)["n"].max()
    rows = [Row((str(layer), str(sizes[layer]), *map(_number, values))) for layer, *values in table.itertuples()]
    columns = (Column("layer"), Column("n"), *(Column(str(name)) for name in table.columns))
    subject = f"{MEASURES['spearman_squared']}, by layer"
    over = over_seeds("mean", pd.Series([frame["seed"].nunique()]))
    return Table(subject, title, "", columns, tuple(rows), (f"{over[0].upper()}{over[1:]}.",), stub=2)


def _reasons(frame: pd.DataFrame) -> list[str]:
    """Return a line for each criterion and network without correlations over all its units."""
    lost = frame[(frame["layer"] == OVERALL) & frame["reason"].notna()].drop_duplicates([*NET, "criterion", "reason"])
    return [f"{row['criterion']} (seed {row['seed']}): {row['reason']}" for _, row in lost.iterrows()]


def _title(key: Sequence[Any]) -> str:
    dataset, model, recipe, precision, granularity = key
    parts = [dataset, model, f"recipe {recipe}", f"granularity={granularity}"]
    return ", ".join(parts + ([f"precision={precision}"] if precision != "fp32" else []))


def _spread(values: "pd.Series[float]") -> str:
    """Return `0.87 ± 0.02` over seeds."""
    known = values.dropna()
    return _number(known.mean()) + (f" ± {known.std():.2f}" if len(known) > 1 else "")


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{round(value, 2) + 0:.2f}"  # + 0: no minus before a zero


@mpl.rc_context(STYLE)
def figure(units: pd.DataFrame) -> Figure:
    """Return a panel for each network and criterion: the squared change of each unit against its score."""
    shown = units[np.isfinite(units["score"]) & np.isfinite(units["change"]) & units["reason"].isna()]
    panels = list(shown.groupby([*NET, "criterion"], sort=False))
    several = len(shown.drop_duplicates(NET)) > 1
    columns = max(2, min(4, len(panels)))
    rows = math.ceil(len(panels) / columns)
    width = (SINGLE if columns == 2 else DOUBLE) / columns
    drawn = Figure(figsize=(width * columns, (1.65 + 0.25 * several) * rows + 0.2), layout="constrained")
    # Variants of one criterion share its colour and marker.
    stems = {str(name): str(name).split(" ")[0] for name in units["criterion"].unique()}
    marks = colours_and_markers(set(stems.values()))
    places = drawn.subplots(rows, columns, squeeze=False, sharey=not several)
    for ((*net, criterion), own), axes in zip(panels, places.flat, strict=False):
        _scatter(axes, own, marks[stems[str(criterion)]])
        parts = [*([_title(net)] if several else []), f"{criterion}: {_number(_mean_spearman(own))}"]
        axes.set_title("\n".join(wrapped(part, width) for part in parts))
    for unused in places.flat[len(panels) :]:
        unused.remove()
    drawn.supxlabel("score (above: Spearman correlation, mean over seeds)", fontsize=8)
    drawn.supylabel("squared change of the loss", fontsize=8)
    return drawn


def _mean_spearman(own: pd.DataFrame) -> float:
    frame = correlations(own)
    return float(frame.loc[frame["layer"] == OVERALL, "spearman_squared"].mean())


def _scatter(axes: Axes, own: pd.DataFrame, look: dict[str, Any]) -> None:
    """Draw the units of a panel; what a log scale has no place for lies at its lower edge."""
    squared, score = own["change"].to_numpy() ** 2, own["score"].to_numpy()
    skewed = score.min() >= 0 and score.max() > SKEWED * np.median(score)
    axes.scatter(_lifted(score) if skewed else score, _lifted(squared), s=6, alpha=0.6, lw=0, **look)
    axes.set_yscale("log")
    axes.set_xscale("log" if skewed else "linear")
    for axis in (axes.xaxis, axes.yaxis) if skewed else (axes.yaxis,):
        axis.set_major_locator(LogLocator(numticks=3))
        axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
        axis.set_minor_locator(NullLocator())
    if not skewed:
        axes.ticklabel_format(axis="x", scilimits=(-2, 3))
        axes.locator_params(axis="x", nbins=4)


def _lifted(values: Any) -> Any:
    """Return values of at least 0, none below EDGE of the largest."""
    return np.maximum(values, EDGE * values.max() or 1)


def files(units: pd.DataFrame) -> dict[str, bytes]:
    """Return oracle.md, .csv, .tex, .html and, where anything was scored, .pdf and .png."""
    found = render.files(report(units))
    if units["score"].notna().any():
        with mpl.rc_context(STYLE):
            found |= rendered(figure(units), "oracle")
    return found


def stored(units: pd.DataFrame) -> bytes:
    """Return the units as units.csv."""
    return units.to_csv(index=False, lineterminator="\n").encode()


def read(path: Path) -> pd.DataFrame:
    """Return the units that `stored` was given; CorruptError for a file that holds something else."""
    try:
        # As text first: pandas reads numbers with less than their last digit.
        text = pd.read_csv(path, dtype=str, keep_default_na=False)
        numbers = {name: [float(value or "nan") for value in text[name]] for name in ("change", "score")}
        counts = {name: text[name].astype(int) for name in ("seed", "images", "unit")}
        return text.assign(**numbers, **counts, reason=text["reason"].astype(object).replace("", None))
    except (ValueError, KeyError):
        raise store.CorruptError(f"{path} is corrupt: it holds no table of units") from None
