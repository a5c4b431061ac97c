import pytest

from bench.report.notes import legend, notes
from bench.report.panels import panels
from tests.report.conftest import Out


def said(out: Out) -> list[str]:
    """The notes of the only panel."""
    (panel,) = panels(out.results())
    return notes(panel)


def test_a_complete_table_says_its_seeds_alone(out: Out) -> None:
    out.plan(*out.dense(98.0, 98.0), *out.seeds("taylor", 0.9, 97.0, 97.1))
    assert said(out) == ["2 seeds (0, 1)."]


def test_one_seed(out: Out) -> None:
    out.plan(*out.seeds("taylor", 0.9, 97.0))
    assert said(out) == ["One seed (0), hence no spread."]


def test_missing_and_failed_cells_are_counted_and_the_first_reason_is_given(out: Out) -> None:
    cells = [*out.seeds("taylor", 0.9, 97.0, None, None), *out.seeds("snip", 0.985, None, None, None)]
    out.plan(*cells)
    out.record(cells[1], reason="out of memory;\nsee the log.")
    out.record(cells[4], reason="another")
    assert said(out)[1:] == [
        "3 of 6 cells are missing.",
        "2 of 6 cells failed; the first (taylor at 90 %, seed 1): out of memory; see the log.",
    ]


def test_a_sparsity_off_its_target_is_named_and_rounding_is_not(out: Out) -> None:
    cells = [out.pruned(name, 0.9, 0) for name in ("taylor", "snip")]
    out.plan(*cells)
    out.record(cells[0], 97.0, sparsity=0.9009)
    out.record(cells[1], 97.0, sparsity=0.8951)
    assert said(out)[1:] == ["Sparsity off its target: snip at 90 % reached 89.51 %."]


def test_targets_of_filters_say_what_is_gone_of_the_weights_and_name_layers_once(out: Out) -> None:
    filters = {"granularity": "{name: filter}", "target_kind": "filters"}
    cells = [out.pruned(name, target, 0, **filters) for name in ("taylor", "hrank") for target in (0.3, 0.5)]
    out.plan(*cells)
    for cell, gone in zip(cells, (0.47, 0.7, 0.51, 0.7), strict=True):
        out.record(cell, 97.0, sparsity=gone, left_dense="12.weight")
    assert said(out)[1:] == [
        "Targets are shares of filters; weights removed: 47 to 51 % at 30 %, 70 % at 50 %.",
        "Layers that keep all outputs (they lose only inputs whose source was removed): 12.weight.",
    ]


@pytest.mark.parametrize(("finetune", "count"), [("rewound", 1), ("{name: cosine, peak: 0.1}", 1), ("low", 0)])
def test_steps_that_share_falling_rates_are_said(out: Out, finetune: str, count: int) -> None:
    steps = "{name: iterative, steps: 5, curve: exponential}"
    out.plan(*out.seeds("taylor", 0.9, 97.0, 97.1, schedule=steps, finetune=finetune))
    line = "Iterative: each step takes the next part of the fine-tuning, the last cut that of the lowest rates."
    assert said(out)[1:] == [line] * count


def test_layers_left_dense_by_some_name_those(out: Out) -> None:
    cells = [out.pruned(name, 0.9, 0) for name in ("taylor", "hrank")]
    out.plan(*cells)
    out.record(cells[0], 97.0, sparsity=0.9)
    out.record(cells[1], 97.0, sparsity=0.9, left_dense="0.weight, 12.weight")
    assert said(out)[1:] == ["Layers left dense (not scored, or not divisible): 0.weight, 12.weight (hrank)."]


def test_layers_left_by_rows_of_weights_and_of_filters_are_told_apart(out: Out) -> None:
    cells = [out.pruned("taylor", 0.9, 0, granularity=name) for name in ("{name: nm, n: 2, m: 4}", "{name: filter}")]
    out.plan(*cells, vary=["granularity"])
    for cell in cells:
        out.record(cell, 97.0, sparsity=0.9, left_dense="0.weight")
    assert said(out)[1:] == [
        "Layers left dense (not scored, or not divisible): 0.weight (taylor (granularity=nm n=2 m=4)). "
        "Layers that keep all outputs (they lose only inputs whose source was removed): 0.weight "
        "(taylor (granularity=filter))."
    ]


def test_rows_from_different_machines_are_named(out: Out) -> None:
    cells = [out.pruned(name, 0.9, 0) for name in ("taylor", "snip")]
    out.plan(*cells)
    for cell, cpu in zip(cells, ("A", "B"), strict=True):
        out.record(cell, 97.0, cpu=cpu)
    assert said(out)[1:] == ["The rows were made on different machines: cpu (A; B)."]


def test_rows_without_fine_tuning_are_named_where_others_have_it(out: Out) -> None:
    out.plan(*out.controls(0), out.pruned("taylor", 0.9, 0), out.at_init("snip", 0.9, 0), vary=["when"])
    assert "Trained by the recipe alone, after pruning: snip (when=init)." in said(out)


def test_a_null_target_is_explained(out: Out) -> None:
    out.plan(out.pruned("taylor", None, 0))
    assert any(line.startswith("converged: ") for line in said(out))


def test_the_legend_names_mark_recipes_and_records_left_out(out: Out) -> None:
    out.seeds("grasp", 0.9, 50.0, 50.0)
    out.plan(*out.seeds("taylor", 0.9, 97.0), recipes={"short": "a paper, arXiv:1234."})
    lines = legend(out.results(), "bold")
    assert "bold: best of its column" in lines[0]
    assert "Mean ± sample standard deviation" in lines[0]
    assert lines[2:] == ["Recipe short: a paper, arXiv:1234.", "Left out: 2 records outside this plan (grasp 2)."]
