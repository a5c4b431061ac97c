import io
from statistics import harmonic_mean, mean

import pandas as pd
import pytest

from bench.report import tables, tradeoff
from bench.report.write import accuracy_files
from tests.report.conftest import Out
from tests.report.test_regression import regression

SIZES = {"params_dense": 1000, "flops_dense": 8000.0, "top1_dense": 98.0, "disconnected": False}


def tidy(files: dict[str, bytes], name: str = "tradeoff") -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(files[f"{name}.csv"]), keep_default_na=False, na_values=[""])


def lines(files: dict[str, bytes], name: str = "tradeoff") -> list[list[str]]:
    """The cells of the Markdown's tables, without their rules."""
    text = files[f"{name}.md"].decode()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in rows if not row[0].startswith("--")]


@pytest.fixture
def made(out: Out) -> Out:
    """Two seeds of taylor, one of which has nearly nothing left; snip missing or failed."""
    dense = out.controls(0, 1)
    for cell in dense:
        out.record(cell, 98.0, **SIZES | {"params": 1000, "flops": 8000.0})
    taylor = [out.pruned("taylor", 0.9, seed) for seed in range(2)]
    for cell, top1, params, flops in zip(taylor, (97.0, 96.0), (100, 10), (800.0, 0.0), strict=True):
        out.record(cell, top1, **SIZES | {"params": params, "flops": flops, "collapsed_layers": int(not flops)})
    snip = [out.pruned("snip", 0.9, seed) for seed in range(2)]
    out.record(snip[0])
    out.plan(*dense, *taylor, *snip)
    return out


def test_the_ratios_are_those_of_means(made: Out) -> None:
    row = tidy(tradeoff.files(made.results())).set_index("row").loc["taylor"]
    assert row["compression"] == pytest.approx(1000 / mean((100, 10))) == pytest.approx(harmonic_mean((10, 100)))
    assert (row["compression_low"], row["compression_high"]) == (10, 100)
    # One net without any FLOPs left makes the mean of the ratios infinite.
    assert (row["speedup"], row["speedup_low"], row["speedup_high"]) == (20, 10, float("inf"))
    assert (row["value"], row["change"], row["n"], row["n_planned"]) == (96.5, -1.5, 2, 2)
    assert row["change_std"] == pytest.approx(0.5**0.5)
    assert (row["params"], row["flops"], row["params_dense"], row["collapsed"]) == (55, 400, 1000, 1)


def test_every_form_says_it(made: Out) -> None:
    files = tradeoff.files(made.results())
    assert sorted(files) == [f"tradeoff.{kind}" for kind in ("csv", "html", "md", "tex")]
    header, taylor, snip = lines(files)
    assert header == ["criterion", "90 % top-1", "90 % change", "90 % compr.", "90 % speed-up"]
    assert taylor == ["taylor", "**96.5 ± 0.7**", "-1.5", "18.2", "20.0"]
    assert snip == ["snip", "1 failed, 1 missing", "", "", ""]
    text = files["tradeoff.md"].decode()
    assert "- dense: 98.0 ± 0.0, 1,000 parameters, 8,000 FLOPs." in text
    assert "- Nets with a layer without any weight: taylor at 90 % (1 of 2)." in text
    assert rb"\multicolumn{4}{c}{90 \%}" in files["tradeoff.tex"]
    assert b'<th colspan="4">90 %</th>' in files["tradeoff.html"]
    assert files == tradeoff.files(made.results())


def test_nets_that_were_not_trained_have_sizes_alone(out: Out) -> None:
    sizes = {"status": "ok", "reason": None, "params_dense": 1000, "flops_dense": 8000.0, "params": 100, "flops": 800.0}
    cells = [*out.controls(0), out.pruned("taylor", 0.9, 0), out.pruned("snip", 0.9, 0)]
    for cell in cells[:3]:
        out.record(cell, **sizes)
    out.plan(*cells)
    files = tradeoff.files(out.results())
    assert lines(files) == [
        ["criterion", "90 % compr.", "90 % speed-up"],
        ["taylor", "10.0", "10.0"],
        ["snip", "missing", ""],
    ]
    text = files["tradeoff.md"].decode()
    assert text.startswith("# digits: compression and theoretical speed-up\n")
    assert "- dense: 100 parameters, 800 FLOPs." in text
    assert "deviation" not in text
    assert "- change:" not in text
    assert tables.text(out.results()).startswith("digits: compression and theoretical speed-up\n")
    assert accuracy_files(out.results()) == {}


def test_a_regression_changes_in_r2(out: Out) -> None:
    cells = list(regression(out))
    for cell in cells:
        out.record(cell, status="ok", reason=None, r2=0.4, r2_dense=0.4514, params_dense=10, params=5)
    out.plan(*cells)
    rows = lines(tradeoff.files(out.results()))
    assert rows[0][1:3] == ["90 % R²", "90 % change"]
    assert rows[1][:4] == ["taylor", "**0.400 ± 0.000**", "-0.051", "2.00"]


def test_a_schedule_that_stops_by_itself_has_a_span_of_its_own(out: Out) -> None:
    cells = [out.pruned("taylor", None, 0), out.pruned("taylor", 0.9, 0)]
    for cell, params in zip(cells, (500, 100), strict=True):
        out.record(cell, 97.0, **SIZES | {"params": params, "flops": 800.0, "sparsity": 0.8})
    out.plan(*out.dense(98.0), *cells)
    header, row = lines(tradeoff.files(out.results()))
    assert (header[1], header[5]) == ("90 % top-1", "converged top-1")
    assert (row[3], row[5], row[7]) == ("10.0", "97.0 at 80.0 %", "2.00")
