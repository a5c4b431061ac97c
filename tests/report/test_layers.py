import pytest

from bench.report import layers
from tests.report.conftest import Cell, Out
from tests.report.test_tradeoff import lines, tidy


def kept(*counts: int) -> dict[str, object]:
    """What a record says of layers of 10 and 2000 weights."""
    sizes = zip(counts, (10, 2000), strict=True)
    return {"layers": [{"name": f"{n}.weight", "kept": kept, "total": total} for n, (kept, total) in enumerate(sizes)]}


@pytest.fixture
def cells(out: Out) -> list[Cell]:
    """taylor keeps its layers, snip empties the first in one seed of two, grasp has no record that is ok."""
    taylor = out.seeds("taylor", 0.9, 97.0, 97.0)
    snip = [out.pruned("snip", 0.9, seed) for seed in range(2)]
    for cell in snip:
        out.record(cell, 90.0, collapsed_layers=cell["seed"], disconnected=bool(cell["seed"]))
    made = [*taylor, *snip, out.pruned("grasp", 0.9, 0), out.pruned("grasp", 0.9, 1)]
    out.plan(*out.dense(98.0, 98.0), *made)
    return made


def test_densities_are_means_over_seeds_and_the_fallen_are_counted(out: Out, cells: list[Cell]) -> None:
    own = (kept(5, 2000), kept(4, 1999), kept(1, 1), kept(0, 0))
    details = {cell["cell"]: layer for cell, layer in zip(cells, own, strict=False)}
    files = layers.files(out.results(details=details))
    assert sorted(files) == [f"layers.{kind}" for kind in ("csv", "html", "md", "tex")]
    assert lines(files, "layers") == [
        ["layer", "weights", "90 % taylor", "90 % snip", "90 % grasp"],
        ["0", "10", "45.0", "5.0", "missing"],
        ["1", "2000", "> 99.9", "\\< 0.1", "missing"],
        ["collapsed", "", "0 of 2", "1 of 2", ""],
        ["disconnected", "", "0 of 2", "1 of 2", ""],
    ]
    frame = tidy(files, "layers").set_index(["row", "layer"])
    assert frame.loc[("snip", "0.weight"), ["density", "low", "high", "n", "collapsed"]].tolist() == [
        0.05,
        0,
        0.1,
        2,
        1,
    ]
    assert frame.loc[("taylor", "1.weight"), "density"] == pytest.approx(0.99975)


def test_criteria_that_read_the_same_share_a_column(out: Out) -> None:
    made = [*out.seeds("taylor", 0.5, 97.0), *out.seeds("snip", 0.5, 96.0), *out.seeds("a, b", 0.5, 95.0)]
    made += [*out.seeds("taylor", 0.9, 97.0), *out.seeds("snip", 0.9, 96.0), *out.seeds("a, b", 0.9, 95.0)]
    out.plan(*made)
    own = [kept(5, 1000)] * 3 + [kept(1, 200), kept(2, 200), kept(1, 200)]
    details = {cell["cell"]: layer for cell, layer in zip(made, own, strict=True)}
    rows = lines(layers.files(out.results(details=details)), "layers")
    assert rows[0] == ["layer", "weights", "50 % all criteria", "90 % taylor, a, b", "90 % snip"]
    assert rows[1] == ["0", "10", "50.0", "10.0", "20.0"]
    assert rows[3] == ["collapsed", "", "0 of 1", "0 of 1", "0 of 1"]


def test_exactly_none_and_all_are_told_from_nearly(out: Out, cells: list[Cell]) -> None:
    details = {cell["cell"]: kept(0, 2000) for cell in cells}
    assert [row[2] for row in lines(layers.files(out.results(details=details)), "layers")[1:3]] == ["0", "100"]


@pytest.mark.parametrize("layer", [{"layers": None}, {"layers": []}])
def test_records_without_layers_give_no_table(out: Out, cells: list[Cell], layer: object) -> None:
    assert layers.files(out.results()) == {}
    assert layers.files(out.results(details={cells[0]["cell"]: layer})) == {}
