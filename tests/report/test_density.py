"""The heat map of layers: means over seeds, collapsed layers, what is missing."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from bench.report import density
from bench.report.frame import Results
from bench.report.panels import panels
from bench.report.style import KNOWN, STYLE
from tests.report import legible
from tests.report.conftest import Out


def layers(**kept: int) -> dict[str, Any]:
    return {"layers": [{"name": f"{name}.weight", "kept": count, "total": 100} for name, count in kept.items()]}


def some(out: Out) -> tuple[Results, density.Details]:
    taylor, snip = out.seeds("taylor", 0.9, 97.0, 96.0, None), out.seeds("magnitude", 0.9, 97.0, 96.0, 96.0)
    lost = out.seeds("random", 0.9, None, None, None)
    out.plan(*out.dense(98.0, 98.0, 98.0), *taylor, *snip, *lost)
    details = {taylor[0]["cell"]: layers(conv=20, fc=2), taylor[1]["cell"]: layers(conv=10, fc=0)}
    return out.results(), details | {snip[0]["cell"]: layers(conv=1, fc=100), snip[1]["cell"]: {"layers": None}}


def test_densities_are_means_over_seeds_and_a_layer_is_collapsed_by_one(out: Out) -> None:
    results, details = some(out)
    found = density.densities(panels(results)[0], details).set_index(["row", "layer"])
    assert found["density"].round(9).to_dict() == {
        ("taylor", "conv"): 0.15,
        ("taylor", "fc"): 0.01,
        ("magnitude", "conv"): 0.01,
        ("magnitude", "fc"): 1.0,
    }
    assert list(found.index[found["collapsed"]]) == [("taylor", "fc")]


def test_the_map_marks_collapsed_layers_and_leaves_rows_without_records_white(out: Out) -> None:
    results, details = some(out)
    panel = panels(results)[0]
    with mpl.rc_context(STYLE):
        drawn = density.figure(panel, density.densities(panel, details))
        legible.check(drawn)
    axes = drawn.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["taylor", "magnitude", "random"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["conv", "fc"]
    (mesh,) = (drawn for drawn in axes.collections if isinstance(drawn, QuadMesh))
    values = np.ma.asarray(mesh.get_array()).reshape(3, 2)
    assert np.allclose(values[:2].filled(), [[0.15, 0.01], [0.01, 1.0]])
    assert values.mask[2].all()
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines] == [(1.5, 0.5)]
    told = " ".join(" ".join(text.get_text() for text in drawn.texts).split())
    assert "by target sparsity; mean over 1 to 2 seeds; ×: no weight kept" in told


def test_colours_grow_lighter_with_density_also_in_grey() -> None:
    red, green, blue, _ = mpl.colormaps[density.COLOURS](np.linspace(0, 1, 50)).T
    assert (np.diff(0.299 * red + 0.587 * green + 0.114 * blue) > 0).all()


def test_many_layers_and_long_names_are_legible(out: Out) -> None:
    names = (*KNOWN[:8], "$x_$ & a name # of somebody who could not stop")
    cells = [cell for name in names for sparsity in (0.9, 0.99) for cell in out.seeds(name, sparsity, 97.0)]
    out.plan(*cells)
    many = [f"stage{n // 10}.block{n % 10}.a_long_name_of_a_layer.conv" for n in range(90)]
    details = {
        cell["cell"]: layers(**{name: (place + n) % 7 for n, name in enumerate(many)})
        for place, cell in enumerate(cells)
    }
    panel = panels(out.results())[0]
    with mpl.rc_context(STYLE):
        legible.check(density.figure(panel, density.densities(panel, details)))


def labels(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_rows_are_named_by_what_tells_them_apart_and_the_rest_is_said_once(out: Out) -> None:
    schedules = ("one_shot", "{name: iterative, steps: 100, curve: exponential, and: what no line of a row can hold}")
    cells = [
        cell for which in schedules for s in (0.9, 0.95, 0.99) for cell in out.seeds("snip", s, 97.0, schedule=which)
    ]
    out.plan(*cells, vary=["schedule"])
    details = {
        cell["cell"]: layers(**{f"stage{n}.a_layer": n + place for n in range(20)}) for place, cell in enumerate(cells)
    }
    panel = panels(out.results())[0]
    with mpl.rc_context(STYLE):
        drawn = density.figure(panel, density.densities(panel, details))
        legible.check(drawn)
    assert sorted(" ".join(name.split()) for name in labels(drawn.axes[0])) == [
        "iterative steps=100 curve=exponential and=what no line of a row can hold",
        "one_shot",
    ]
    assert any("snip (schedule=…)" in text.get_text() for text in drawn.texts)


def test_rows_that_are_all_the_same_are_drawn_once(out: Out) -> None:
    cells = [*out.seeds("taylor", 0.9, 97.0), *out.seeds("snip", 0.9, 96.0), *out.seeds("snip", 0.98, 95.0)]
    cells += out.seeds("taylor", 0.98, 94.0)
    out.plan(*cells)
    panel = panels(out.results())[0]
    same = {cell["cell"]: layers(conv=20, fc=50) for cell in cells}
    for details, names in (
        (same, ["all criteria"]),
        (same | {cells[3]["cell"]: layers(conv=20, fc=51)}, ["taylor", "snip"]),
        ({name: own for name, own in same.items() if name != cells[0]["cell"]}, ["taylor", "snip"]),
    ):
        with mpl.rc_context(STYLE):
            drawn = density.figure(panel, density.densities(panel, details))
            legible.check(drawn)
        assert sorted(labels(drawn.axes[0])) == sorted(names)
    out.plan(*cells[:1], *out.seeds("taylor", 0.9, 97.0, finetune="rewound"), vary=["finetune"], written="2027")
    panel = panels(out.results())[0]
    table = density.densities(panel, {cell: layers(conv=20) for cell in panel.cells["cell"]})
    assert labels(density.figure(panel, table).axes[0]) == ["all variants"]


def test_files_are_one_a_panel_and_none_without_layers(out: Out) -> None:
    one, two = (out.seeds("taylor", 0.9, 97.0, scope=scope) for scope in ("global", "layer"))
    out.plan(*one, *two)
    details = {cell["cell"]: layers(conv=5) for cell in (*one, *two)}
    found = density.files(out.results(details=details))
    assert [*found] == [f"density-{number}.{kind}" for number in (1, 2) for kind in ("pdf", "png")]
    assert density.files(out.results()) == {}
    assert density.files(out.results(details={two[0]["cell"]: layers(conv=5)})) == {
        name: data for name, data in found.items() if name.startswith("density-2")
    }
