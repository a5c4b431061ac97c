import pytest

from bench.report.panels import Panel, panels
from tests.report.conftest import Out


def shown(out: Out) -> list[Panel]:
    return panels(out.results())


def rows(panel: Panel) -> list[str]:
    return list(panel.table["row"].unique())


def test_one_panel_has_no_title_and_says_what_all_share(out: Out) -> None:
    out.plan(*out.controls(0), out.pruned("taylor", 0.9, 0), out.pruned("snip", 0.9, 0))
    (panel,) = shown(out)
    assert (panel.title, panel.short) == ("", "")
    assert panel.about == (
        "Digits, digits_net, recipe short; granularity=weight, scope=global, schedule=one_shot, when=trained, "
        "finetune=low, finetune_epochs=10, device=cpu"
    )
    assert rows(panel) == ["dense", "dense_longer", "taylor", "snip"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("dataset", "cifar10"),
        ("model", "resnet20"),
        ("recipe", "long"),
        ("granularity", "filter"),
        ("scope", "layer"),
        ("schedule", "{name: iterative, steps: 5, curve: linear}"),
        ("finetune", "rewound"),
        ("finetune_epochs", 20),
        ("ablation", "shuffle"),
        ("target_kind", "flops"),
        ("score_mode", "train"),
        ("prunable", "all but stem*"),
        ("precision", "bf16"),
        ("device", "cuda"),
    ],
)
def test_criteria_that_differ_share_no_panel_unless_it_is_under_study(out: Out, column: str, value: object) -> None:
    cells = [out.pruned("taylor", 0.9, 0), out.pruned("snip", 0.9, 0, **{column: value})]
    out.plan(*cells)
    one, two = shown(out)
    assert [rows(one), rows(two)] == [["taylor"], ["snip"]]
    assert one.title.startswith(f"{column}=")
    assert two.title.startswith(f"{column}=")
    assert one.title != two.title
    assert one.short != two.short
    out.plan(*cells, vary=[column], written="2027")
    (panel,) = shown(out)
    assert [name.split(" (")[0] for name in rows(panel)] == ["taylor", "snip"]
    assert all(f"({column}=" in name for name in rows(panel))


def test_options_of_an_axis_are_said_as_one_would_write_them(out: Out) -> None:
    iterative = "{name: iterative, steps: 5, curve: linear}"
    out.plan(out.pruned("taylor", 0.9, 0), out.pruned("taylor", 0.9, 0, schedule=iterative))
    assert [panel.title for panel in shown(out)] == ["schedule=one_shot", "schedule=iterative steps=5 curve=linear"]


def test_a_short_title_leaves_out_what_follows_and_options_that_tell_nothing_apart(out: Out) -> None:
    iterative, linear = (f"{{name: iterative, steps: 5, curve: {curve}}}" for curve in ("exponential", "linear"))
    filters = {"granularity": "{name: filter, reduce: mean}", "scope": "layer", "target_kind": "filters"}
    cells = [out.pruned("taylor", 0.9, 0), out.pruned("taylor", 0.9, 0, schedule=iterative, **filters)]
    out.plan(*cells, out.at_init("snip", 0.9, 0))
    assert [panel.short for panel in shown(out)] == [
        "granularity=weight, when=trained",
        "granularity=filter, when=trained",
        "granularity=weight, when=init",
    ]
    out.plan(*cells, out.pruned("taylor", 0.9, 0, schedule=linear, **filters), written="2027")
    assert [panel.short for panel in shown(out)][1:] == [
        "granularity=filter, schedule=iterative steps=5 curve=exponential",
        "granularity=filter, schedule=iterative steps=5 curve=linear",
    ]


def test_both_controls_stand_in_every_panel_that_they_match(out: Out) -> None:
    other = {"dataset": "cifar10"}
    dense = [*out.dense(98.0, longer=98.5), *out.dense(90.0, longer=90.5, **other)]
    layer, init = out.pruned("taylor", 0.9, 0, scope="layer"), out.at_init("snip", 0.9, 0)
    out.plan(*dense, out.pruned("taylor", 0.9, 0), layer, init, out.pruned("taylor", 0.9, 0, **other))
    for panel in shown(out):
        controls = panel.table[panel.table["control"]]
        assert list(controls["row"]) == ["dense", "dense_longer"]
        assert list(controls["top1"]) == ([90.0, 90.5] if "dataset=cifar10" in panel.title else [98.0, 98.5])
        assert list(controls["epochs_total"]) == [30, 40]


def test_dense_longer_stands_only_where_its_fine_tuning_is_the_criteria_s(out: Out) -> None:
    rewound = {"finetune": "rewound", "finetune_epochs": 20}
    dense, longer = out.controls(0)
    longer_rewound = out.controls(0, **rewound)[1]
    out.plan(dense, longer, longer_rewound, out.pruned("taylor", 0.9, 0), out.pruned("taylor", 0.9, 0, **rewound))
    low, other = shown(out)
    assert list(low.cells["cell"])[:2] == [dense["cell"], longer["cell"]]
    assert list(other.cells["cell"])[:2] == [dense["cell"], longer_rewound["cell"]]


def test_a_panel_at_initialisation_shows_every_dense_longer_under_its_own_name(out: Out) -> None:
    rewound = out.controls(0, finetune="rewound")[1]
    out.plan(*out.controls(0), rewound, out.at_init("snip", 0.9, 0))
    (panel,) = shown(out)
    assert rows(panel) == ["dense", "dense_longer (finetune=low)", "dense_longer (finetune=rewound)", "snip"]


def test_options_and_fingerprints_make_rows(out: Out) -> None:
    out.plan(
        out.pruned("grasp", 0.9, 0),
        out.pruned("grasp", 0.9, 0, criterion_options="{temperature: 1, seed: 2}"),
        out.pruned("mine", 0.9, 0, criterion_fingerprint="a" * 16),
        out.pruned("mine", 0.9, 0, criterion_fingerprint="b" * 16),
    )
    (panel,) = shown(out)
    assert sorted(rows(panel)) == [
        "grasp",
        "grasp (temperature=1 seed=2)",
        "mine (fingerprint=aaaaaaaa)",
        "mine (fingerprint=bbbbbbbb)",
    ]


def test_when_under_study_brings_those_at_initialisation_beside_each_fine_tuning(out: Out) -> None:
    trained = [out.pruned("taylor", 0.9, 0, finetune=kind) for kind in ("low", "rewound")]
    out.plan(*out.controls(0), *trained, out.at_init("taylor", 0.9, 0), vary=["when"])
    low, rewound = shown(out)
    assert (low.title, rewound.title) == ("finetune=low", "finetune=rewound")
    assert rows(low) == ["dense", "dense_longer", "taylor (when=trained)", "taylor (when=init)"]
    assert rows(rewound) == ["dense", "taylor (when=trained)", "taylor (when=init)"]
    epochs = low.table.set_index("row")["epochs_total"]
    assert list(epochs) == [30, 40, 40, 30]


def test_when_under_study_without_any_trained_cell(out: Out) -> None:
    out.plan(*out.controls(0), out.at_init("taylor", 0.9, 0), vary=["when"])
    (panel,) = shown(out)
    assert rows(panel) == ["dense", "dense_longer", "taylor (when=init)"]
