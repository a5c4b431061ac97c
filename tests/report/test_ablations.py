from statistics import mean, stdev

import pytest
from scipy import stats

from bench.report import ablations
from tests.report.conftest import Cell, Out
from tests.report.test_tradeoff import lines, tidy

NONE, SHUFFLE, INVERT = (97.0, 96.0, 98.0, 97.5), (96.0, 95.5, 96.0, 95.0), (50.0, 40.0, 45.0, 42.0)


def seeds(out: Out, *top1: float | None, **columns: object) -> list[Cell]:
    return out.seeds("snip", 0.9, *top1, **columns)


def test_ablations_stand_side_by_side_with_paired_differences(out: Out) -> None:
    # In another order than they are shown in.
    inverted, shuffled = seeds(out, *INVERT, ablation="invert"), seeds(out, *SHUFFLE, ablation="shuffle")
    out.plan(*out.dense(98.0, 98.0, 98.0, 98.0), *inverted, *shuffled, *seeds(out, *NONE))
    files = ablations.files(out.results())
    assert sorted(files) == [f"ablations.{kind}" for kind in ("csv", "html", "md", "tex")]
    differences = [one - other for one, other in zip(SHUFFLE, NONE, strict=True)]
    half = stats.t.ppf(0.975, 3) * stdev(differences) / 2
    frame = tidy(files, "ablations").set_index("ablation")
    shuffle = frame.loc["shuffle"]
    assert shuffle["difference"] == pytest.approx(mean(differences))
    assert (shuffle["low"], shuffle["high"]) == pytest.approx((mean(differences) - half, mean(differences) + half))
    assert frame["pairs"].to_dict() == {"none": 0, "shuffle": 4, "invert": 4}
    header, row = lines(files, "ablations")
    spans = ["top-1 none", "top-1 shuffle", "top-1 invert", "change shuffle", "change invert"]
    assert header == ["criterion", "sparsity", *spans]
    assert row[:5] == ["snip", "90 %", "97.1 ± 0.9", "95.6 ± 0.5", "44.2 ± 4.3"]
    assert row[5] == f"-1.50 ({mean(differences) - half:+.2f} to {mean(differences) + half:+.2f})"


def test_pairs_are_of_the_same_seed_and_machine(out: Out) -> None:
    none, shuffled = (
        seeds(out, 97.0, None, 96.0),
        [out.pruned("snip", 0.9, seed, ablation="shuffle") for seed in range(3)],
    )
    for cell in shuffled:
        out.record(cell, 90.0, cpu="B CPU")
    out.plan(*out.dense(98.0, 98.0, 98.0), *none, *shuffled)
    files = ablations.files(out.results())
    (row,) = lines(files, "ablations")[1:]
    assert row == ["snip", "90 %", "96.5 ± 0.7 (2 of 3)", "90.0 ± 0.0", ""]
    assert "made on different machines" in files["ablations.md"].decode()


def test_missing_and_failed_are_shown_and_few_pairs_have_no_interval(out: Out) -> None:
    shuffled = [out.pruned("snip", 0.9, seed, ablation="shuffle") for seed in range(2)]
    out.record(shuffled[0])
    reinit = seeds(out, 95.0, 94.0, ablation="reinit")
    out.plan(*out.dense(98.0, 98.0), *seeds(out, 97.0, 97.0), *shuffled, *reinit)
    (row,) = lines(ablations.files(out.results()), "ablations")[1:]
    assert row[2:] == ["97.0 ± 0.0", "1 failed, 1 missing", "94.5 ± 0.7", "", "-2.50"]


@pytest.mark.parametrize("vary", [[], ["ablation"], ["scope"]])
def test_rows_are_named_by_what_else_is_under_study(out: Out, vary: list[str]) -> None:
    cells = [
        seeds(out, 97.0, ablation=name, scope=scope) for name in ("none", "shuffle") for scope in ("global", "layer")
    ]
    out.plan(*out.dense(98.0), *(cell for own in cells for cell in own), vary=vary)
    rows = [row for row in lines(ablations.files(out.results()), "ablations") if row[0] != "criterion"]
    names = {"snip (scope=global)", "snip (scope=layer)"} if vary == ["scope"] else {"snip"}
    assert {row[0] for row in rows} == names
    assert [row[2:] for row in rows] == [["97.0", "97.0", "0.00"]] * 2


def test_without_none_there_is_nothing_to_differ_from(out: Out) -> None:
    out.plan(*out.dense(98.0), *seeds(out, 97.0, ablation="shuffle"), *seeds(out, 96.0, ablation="reinit"))
    assert lines(ablations.files(out.results()), "ablations")[0][2:] == ["top-1 shuffle", "top-1 reinit"]


def test_one_ablation_is_no_table(out: Out) -> None:
    out.plan(*out.dense(98.0), *seeds(out, 97.0))
    assert ablations.files(out.results()) == {}
