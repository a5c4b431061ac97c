"""A regression's tables and figure show r2 where others show top1; a plan with both says which is which."""

from collections.abc import Iterator

import pytest

from bench.report import tables
from bench.report.figure import figure
from bench.report.panels import panels
from tests.report.conftest import Cell, Out, written


def record(out: Out, cell: Cell, **columns: float) -> Cell:
    """Record a cell that has r2 and no top1."""
    out.record(cell, status="ok", reason=None, sparsity=cell["sparsity_target"], **columns)
    return cell


@pytest.fixture
def both(out: Out) -> Out:
    """Accuracies of digits, r2 of diabetes."""
    digits = [*out.dense(98.0, 98.4), *out.seeds("taylor", 0.9, 97.0, 97.6)]
    out.plan(*digits, *regression(out), titles={"digits": "Digits", "diabetes": "Diabetes"})
    return out


def regression(out: Out) -> Iterator[Cell]:
    for seed in (0, 1):
        for cell in out.controls(seed, dataset="diabetes"):
            yield record(out, cell, r2=0.48)
        for criterion, r2 in (("taylor", 0.4521), ("random", -0.0314)):
            cell = out.pruned(criterion, 0.9, seed, dataset="diabetes")
            yield record(out, cell, r2=r2 + 0.02 * seed, r2_pruned=-1.5)


def test_a_regression_shows_r2_with_three_digits(out: Out) -> None:
    out.plan(*regression(out))
    results = out.results()
    lines = tables.text(results).splitlines()
    assert lines[0] == "digits: test R² by target sparsity"
    assert [line.split()[2:5] for line in lines if line.startswith(("taylor", "random"))] == [
        ["0.462", "±", "0.014*"],
        ["-0.021", "±", "0.014"],
    ]
    assert "seeds of the R² after all training" in " ".join(lines)
    frame = tables.tidy(results).set_index("criterion")
    assert frame.loc["taylor", "r2"] == pytest.approx(0.4621)
    assert frame.loc["taylor", ["r2_pruned", "n"]].tolist() == [-1.5, 2]
    assert frame["top1"].isna().all()
    tex = written(results, "tex")
    assert r"\caption{Test R$^2$ by target sparsity" in tex
    assert r"& -0.021{\,\scriptsize\mdseries $\pm$ 0.014}" in tex
    (axes,) = figure(results).axes
    assert (axes.get_ylabel(), axes.get_yscale()) == ("test R²", "linear")
    drawn = {str(line.get_label()): list(line.get_ydata()) for line in axes.get_lines()}
    assert drawn["random"] == pytest.approx([-0.0214])


def test_a_plan_of_both_says_what_each_panel_shows(both: Out) -> None:
    results = both.results()
    assert tables.text(results).startswith("digits: top-1 test accuracy (%) or test R² by target sparsity")
    one, two = panels(results)
    assert one.about.endswith("; top-1 test accuracy (%)")
    assert two.about.endswith("; test R²")
    assert one.table.set_index("row").loc["taylor", "shown"] == "97.3 ± 0.4"
    assert two.table.set_index("row").loc["dense", "shown"] == "0.480 ± 0.000"
    assert [axes.get_ylabel() for axes in figure(results).axes] == ["top-1 test accuracy (%)", "test R²"]
