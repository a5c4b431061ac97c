import io
from statistics import mean

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.report import comparisons, grid, statistics
from bench.report.comparisons import COLUMNS
from tests.report.conftest import Out

MAGNITUDE = (96.0, 95.5, 97.0)
TAYLOR = (97.1, 96.0, 98.2)


def markdown(out: Out) -> str:
    return grid.document(comparisons.report(out.results()))


def table(out: Out) -> pd.DataFrame:
    return comparisons.comparisons(out.results()).set_index(["row", "sparsity_target"])


def test_each_criterion_against_magnitude_at_each_sparsity(out: Out) -> None:
    seeds, cells = out.seeds, out.dense(98.0, 98.0, 98.0)
    cells += [*seeds("taylor", 0.5, *TAYLOR), *seeds("random", 0.5, 60.0, 58.0, 64.0)]
    cells += [*seeds("magnitude", 0.5, *MAGNITUDE), *seeds("magnitude", 0.9, 90.0, 91.0, 92.0)]
    out.plan(*cells, *seeds("taylor", 0.9, 91.0, 91.0, 91.0), *seeds("random", 0.9, 20.0, 31.0, 42.0))
    found = table(out)
    assert list(found.index) == [("taylor", 0.5), ("random", 0.5), ("taylor", 0.9), ("random", 0.9)]
    assert set(found["reference"]) == {"magnitude"}
    one = found.loc[("taylor", 0.5)]
    own = stats.ttest_rel(TAYLOR, MAGNITUDE)
    low, high = own.confidence_interval(0.95)
    assert one["difference"] == pytest.approx(mean(TAYLOR) - mean(MAGNITUDE))
    assert (one["low"], one["high"], one["p"]) == pytest.approx((low, high, own.pvalue))
    assert (one["wins"], one["ties"], one["pairs"], one["planned"]) == (3, 0, 3, 3)
    ordered = found["p"].sort_values()
    assert found.loc[ordered.index[0], "p_holm"] == pytest.approx(4 * ordered.iloc[0])
    assert found["p_wilcoxon_holm"].isna().all()
    text = markdown(out)
    assert f"| {one['difference']:+.2f} | {low:+.2f} to {high:+.2f} |" in " ".join(text.split()).replace("  ", " ")
    assert "3 of 3" in text
    assert "1 of 3, 1 tied" in text
    assert "Against magnitude, in percentage points of top-1 test accuracy; 4 comparisons, 4 of them tested." in text
    assert "Wilcoxon" not in text
    assert "ootstrap" not in text
    assert "From 20 pairs" not in text
    kept = pd.read_csv(io.BytesIO(comparisons.files(out.results())["comparisons.csv"]))
    assert list(kept.columns) == COLUMNS
    assert kept["p_holm"].to_numpy() == pytest.approx(found["p_holm"].to_numpy(), rel=1e-5)


def test_failed_missing_and_mixed_cells_make_no_pair(out: Out) -> None:
    cells = out.seeds("magnitude", 0.5, 90.0, 91.0, 92.0, 93.0)
    cells += [*out.seeds("taylor", 0.5, 91.0, 92.5, 93.0, None), *out.seeds("snip", 0.5, 91.0, 91.0)]
    failed = out.pruned("taylor", 0.5, 4)
    out.record(failed, None)
    mixed = [out.pruned("obd", 0.5, seed) for seed in range(4)]
    for cell in mixed:
        out.record(cell, 95.0, dataset_hash="e" * 16)
    out.plan(*cells, failed, *mixed)
    found = table(out).droplevel(1)
    assert found["pairs"].to_dict() == {"obd": 0, "taylor": 3, "snip": 2}
    assert found["planned"].to_dict() == {"obd": 4, "taylor": 5, "snip": 2}
    assert found["reason"].to_dict() == {
        "obd": "not from the same dense nets: no test",
        "taylor": "",
        "snip": "too few seeds for a test",
    }
    assert found.loc["snip", "difference"] == 0.5
    assert found.loc[["snip", "obd"], ["p", "p_holm", "low", "high"]].isna().all(axis=None)
    assert found.loc["taylor", "p_holm"] == pytest.approx(3 * found.loc["taylor", "p"]), "the untested count"
    text = markdown(out)
    assert "3 of 5" in text
    assert "too few seeds for a test" in text
    assert "3 comparisons, 1 of them tested" in text


def test_differences_that_are_all_equal_carry_no_test(out: Out) -> None:
    out.plan(*out.seeds("random", 0.5, 90.1, 91.1, 92.1), *out.seeds("taylor", 0.5, 90.4, 91.4, 92.4))
    found = table(out).loc[("taylor", 0.5)]
    assert found["reference"] == "random"
    assert found["reason"] == "all differences are equal: no test"


def test_the_reference_is_the_first_of_the_plan_not_the_best(out: Out) -> None:
    out.plan(*out.seeds("snip", 0.5, 80.0, 81.0, 83.0), *out.seeds("taylor", 0.5, 90.0, 91.0, 92.0))
    assert list(table(out)["reference"]) == ["snip"]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("dataset", ("digits", "cifar10")),
        ("model", ("small", "large")),
        ("recipe", ("short", "long")),
        ("precision", ("fp32", "bf16")),
    ],
)
def test_networks_of_one_panel_have_each_their_own_reference(out: Out, column: str, values: tuple[str, str]) -> None:
    cells = []
    for above, value in zip((1.0, -2.0), values, strict=True):
        cells += out.seeds(
            "taylor", 0.5, *(top1 + above + seed / 9 for seed, top1 in enumerate(MAGNITUDE)), **{column: value}
        )
        cells += out.seeds("magnitude", 0.5, *MAGNITUDE, **{column: value})
    out.plan(*cells, vary=[column])
    found = table(out).droplevel(1)
    names = [[f"{criterion} ({column}={value})" for value in values] for criterion in ("taylor", "magnitude")]
    assert found["reference"].to_dict() == dict(zip(*names, strict=True))
    assert [*found["pairs"]] == [3, 3]
    assert found["difference"].to_dict() == pytest.approx(dict(zip(names[0], (1 + 1 / 9, -2 + 1 / 9), strict=True)))
    smallest = found.loc[found["p"].idxmin()]
    assert smallest["p_holm"] == pytest.approx(2 * smallest["p"]), "one family of two"
    (one,) = comparisons.report(out.results()).tables[:1]
    assert one.subject == "differences from the reference over seeds"
    assert one.notes[0].startswith(f"Against {' or '.join(names[1])}, whichever has the same dense nets, in percentage")


def test_all_panels_of_a_report_are_one_family(out: Out) -> None:
    """Four panels of six comparisons, each corrected by itself, would report a false difference in 18 % of reports."""
    cells = []
    for scope, above in (("global", 1.0), ("layer", 2.0)):
        better = [top1 + above + seed / 9 for seed, top1 in enumerate(MAGNITUDE)]
        cells += out.seeds("magnitude", 0.5, *MAGNITUDE, scope=scope)
        cells += out.seeds("taylor", 0.5, *better, scope=scope)
    out.plan(*cells)
    found = comparisons.comparisons(out.results())
    assert found["panel"].nunique() == len(found) == 2
    assert found["p_holm"].min() == pytest.approx(2 * found["p"].min())
    assert "over all comparisons shown here" in markdown(out)


def test_with_nothing_to_compare_it_says_so(out: Out) -> None:
    converged = out.pruned("taylor", None, 0)
    out.record(converged, 90.0, sparsity=0.7)
    alone = [*out.dense(98.0), *out.seeds("snip", 0.5, 80.0), converged]
    out.plan(*alone)
    assert comparisons.files(out.results()) == {}
    both = [cell for name in ("taylor", "snip") for cell in out.seeds(name, 0.5, 80.0, scope="layer")]
    out.plan(*alone, *both)
    assert "Nothing to compare in: scope=global." in markdown(out)


def test_wilcoxon_is_shown_where_enough_seeds_allow_it(out: Out) -> None:
    reference = [90.0 + seed for seed in range(8)]
    better = [value + 0.1 * seed + 0.1 for seed, value in enumerate(reference)]
    out.plan(*out.seeds("magnitude", 0.5, *reference), *out.seeds("taylor", 0.5, *better))
    assert table(out)["p_wilcoxon_holm"].iloc[0] == 2 / 2**8
    assert "Wilcoxon p (Holm)" in markdown(out)


def test_from_twenty_pairs_there_is_a_bootstrap_and_a_share(out: Out) -> None:
    reference = [90.0 + seed / 7 for seed in range(20)]
    better = [value + (seed % 3) / 5 - 0.1 for seed, value in enumerate(reference)]
    cells = [*out.seeds("magnitude", 0.5, *reference), *out.seeds("taylor", 0.5, *better)]
    out.plan(*cells)
    one = table(out).iloc[0]
    differences = np.subtract(better, reference).round(10)
    ends = statistics.bootstrap(differences, np.random.default_rng(0))
    assert (one["bootstrap_low"], one["bootstrap_high"]) == ends
    text = markdown(out)
    assert f"{ends[0]:+.2f} to {ends[1]:+.2f}" in text
    assert "13 of 20 (0.41 to 0.85)" in text
    assert "- From 20 pairs, wins have" in text
    assert "- Bootstrap intervals" in text


def test_targets_that_are_no_sparsities_say_of_what_they_are_shares(out: Out) -> None:
    filters = {"granularity": "{name: filter}", "target_kind": "filters"}
    cells = [out.pruned(name, 0.5, seed, **filters) for name in ("taylor", "magnitude") for seed in range(3)]
    for cell in cells:
        out.record(cell, 90.0 + cell["seed"], sparsity=0.7)
    out.plan(*cells)
    text = markdown(out)
    assert "| criterion | filters removed | pairs |" in text
    assert "- Targets are shares of filters; weights removed: 70 % at 50 %." in text


def test_several_networks_are_ranked(out: Out) -> None:
    cells = []
    for place, model in enumerate(("one", "two")):
        cells += out.seeds("taylor", 0.5, 97.0, 96.0, 95.0 - place, model=model)
        cells += out.seeds("magnitude", 0.5, 96.0, 95.0, 94.0, model=model)
    out.plan(*cells)
    text = markdown(out)
    assert "## Mean ranks over 2 (dataset, model) pairs" in text
    assert "| taylor    |      1.00 |" in text
    assert "Ranks without a test" in text
