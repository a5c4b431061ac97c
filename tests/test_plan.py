"""Plans: exactly the product of the axes and the controls; identities that change with what they must."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench import config
from bench.axes import Iterative, Low
from bench.cell import Cell, spelled
from bench.errors import UserError
from bench.plan import Plan, make
from bench.score import harness_options

E = "schedule={name: iterative, steps: 4}"


def plan(tmp_path: Path, *arguments: str, device: str = "cpu") -> Plan:
    return make(config.load([f"out={tmp_path}", *arguments]), device)


def only(cells: Plan, criterion: str) -> list[Cell]:
    return [cell for cell in cells.cells if cell.criterion == criterion]


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    return only(plan(tmp_path, "sparsity=0.9", "seed=0"), "taylor")[0]


def test_the_plan_is_the_product_and_two_controls_a_seed(tmp_path: Path) -> None:
    got = plan(tmp_path, "criterion=[taylor,magnitude]", "sparsity=[0.5,0.9]", "seed=[0,1,2]", "scope=[global,layer]")
    assert Counter(c.criterion for c in got.cells) == {"taylor": 12, "magnitude": 12, "dense": 3, "dense_longer": 3}
    assert len({c.id for c in got.cells}) == len(got.cells)
    pairs = {(c.criterion, c.sparsity, c.seed, c.scope and c.scope.name) for c in got.cells if c.scope}
    assert len(pairs) == 24


def test_repeated_values_make_one_cell(tmp_path: Path) -> None:
    assert len(only(plan(tmp_path, "sparsity=[0.5,0.5]", "seed=[1,1]"), "taylor")) == 1


def test_defaults_are_the_criterions_own(tmp_path: Path) -> None:
    got = plan(tmp_path, "criterion=[snip,taylor]", "sparsity=0.5", "seed=0", "finetune=null")
    (snip,), (taylor,) = only(got, "snip"), only(got, "taylor")
    assert (snip.when, snip.finetune, snip.finetune_epochs) == ("init", None, None)
    assert (taylor.when, taylor.finetune) == ("trained", Low(name="low"))
    assert taylor.finetune_epochs == taylor.recipe.finetune_epochs
    assert snip.epochs_total == snip.recipe.epochs
    assert taylor.epochs_total == taylor.recipe.epochs + taylor.recipe.finetune_epochs
    assert only(plan(tmp_path, "criterion=snip", "when=trained", "seed=0"), "snip")[0].when == "trained"


def test_controls_come_once_a_seed_and_finetuning(tmp_path: Path) -> None:
    got = plan(tmp_path, "finetune=[low,cosine]", "finetune_epochs=[1,2]", "seed=[0,1]", "sparsity=0.5")
    assert len(only(got, "dense")) == 2
    longer = {(c.seed, c.finetune.name if c.finetune else "", c.finetune_epochs) for c in only(got, "dense_longer")}
    assert longer == {(seed, name, epochs) for seed in (0, 1) for name in ("low", "cosine") for epochs in (1, 2)}
    assert all(c.sparsity == 0 and c.scope is None for c in only(got, "dense"))
    assert got.cells[0].criterion == "dense"


def test_a_plan_at_initialisation_has_both_controls_too(tmp_path: Path) -> None:
    got = plan(tmp_path, "criterion=snip", "seed=0", "sparsity=0.5")
    assert Counter(c.criterion for c in got.cells) == {"snip": 1, "dense": 1, "dense_longer": 1}


def test_equal_budget_gives_cells_at_initialisation_the_finetuning_too(tmp_path: Path) -> None:
    got = only(plan(tmp_path, "criterion=snip", "budget=equal", "finetune_epochs=3", "seed=0", "sparsity=0.5"), "snip")[
        0
    ]
    assert (got.finetune_epochs, got.epochs_total) == (3, got.recipe.epochs + 3)


def test_an_equal_budget_that_no_cell_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="budget=equal has no effect: no cell is pruned at initialisation"):
        plan(tmp_path, "criterion=snip", "when=rewind", "budget=equal")


def test_stop_takes_the_place_of_the_sparsity(tmp_path: Path) -> None:
    words = "schedule={name: iterative, steps: 20, stop: 1.0}"
    got = only(plan(tmp_path, words, "sparsity=[0.5,0.98]", "seed=[0,1]"), "taylor")
    assert len(got) == 2
    assert {c.sparsity for c in got} == {None}
    assert isinstance(got[0].schedule, Iterative)
    assert got[0].schedule.end == 0.98
    assert got[0].columns()["schedule"] == "{name: iterative, steps: 20, curve: exponential, stop: 1.0, end: 0.98}"


SAME = [
    ["out=/tmp/elsewhere"],
    ["logger=none"],
    ["workers=7"],
    ["debug=true"],
    ["seed=[0,1]"],
    ["criterion=[taylor,snip]"],
    ["recipe.source=somewhere"],
    ["dataset.title=Other"],
    ["vary=[when]"],
]
OTHER = [
    ["sparsity=0.91"],
    ["seed=1"],
    ["scope=layer"],
    [E],
    ["when=init"],
    ["finetune=cosine"],
    ["finetune_epochs=11"],
    ["recipe.lr=0.11"],
    ["recipe.epochs=29"],
    ["dataset.validation=141"],
    ["model=lenet300_100"],
    ["precision=bf16"],
    ["threads=2"],
    ["scoring.samples=512"],
    ["prunable.exclude=['0.weight']"],
    ["criterion={name: grasp}"],
]


@pytest.mark.parametrize("arguments", SAME)
def test_what_is_no_science_does_not_change_the_identity(tmp_path: Path, cell: Cell, arguments: list[str]) -> None:
    got = plan(tmp_path, "sparsity=0.9", "seed=0", *arguments)
    assert cell.id in {c.id for c in got.cells}


@pytest.mark.parametrize("arguments", OTHER)
def test_what_is_science_changes_the_identity(tmp_path: Path, cell: Cell, arguments: list[str]) -> None:
    got = plan(
        tmp_path, *({"sparsity": "sparsity=0.9", "seed": "seed=0"} | {a.split("=")[0]: a for a in arguments}).values()
    )
    assert cell.id not in {c.id for c in got.cells}


def test_device_torch_and_fingerprint_are_part_of_the_identity(tmp_path: Path, cell: Cell) -> None:
    assert cell.id not in {c.id for c in plan(tmp_path, "sparsity=0.9", "seed=0", device="cuda").cells}
    for change in ({"fingerprint": "0"}, {"dataset_hash": "0"}, {"model_hash": "0"}):
        changed = Cell(**{field: getattr(cell, field) for field in Cell.model_fields} | change)
        assert changed.id != cell.id


def test_an_edited_plugin_gets_its_own_cells_anew_and_only_them(tmp_path: Path) -> None:
    text = (
        '"""score = abs(w)."""\nfrom criteria.tools.parameters import prunable\n\n\n'
        "def score(model, batches, loss_fn):\n    return {n: w.detach().abs() for n, w in prunable(model).items()}\n"
    )
    file = tmp_path / "mine.py"
    arguments = (f"criterion=[taylor,{file}]", "seed=0", "sparsity=0.5")
    file.write_text(text)
    before = plan(tmp_path, *arguments)
    file.write_text(text.replace("abs()", "square()"))
    after = plan(tmp_path, *arguments)
    assert {c.criterion for c in before.cells if c.id not in {d.id for d in after.cells}} == {"mine"}


def test_weights_of_the_users_are_part_of_the_identity_by_content(tmp_path: Path, cell: Cell) -> None:
    for name, content in (("a.pt", b"1"), ("b.pt", b"1"), ("c.pt", b"2")):
        (tmp_path / name).write_bytes(content)
    words = ("sparsity=0.9", "seed=0")
    a, b, c = (only(plan(tmp_path, *words, f"model.weights={tmp_path}/{n}.pt"), "taylor")[0] for n in "abc")
    assert a.id == b.id
    assert len({a.id, c.id, cell.id}) == 3


def test_keys_hold_what_a_stage_reads_and_nothing_else(tmp_path: Path) -> None:
    def keys(*arguments: str) -> tuple[str, str]:
        got = only(plan(tmp_path, "seed=0", "sparsity=0.9", *arguments), "snip")[0]
        return got.dense_key, got.scores_key

    base = keys("criterion=snip", "when=trained")
    assert keys("criterion=snip", "when=trained", "scope=layer") == base
    assert keys("criterion=snip", "when=trained", "finetune=cosine", "finetune_epochs=3", E) == base
    assert keys("criterion=snip", "when=trained", "recipe.finetune_epochs=3") == base
    assert keys("criterion=snip", "when=init")[0] == base[0]
    assert keys("criterion=snip", "when=init")[1] != base[1]
    assert keys("criterion=snip", "when=init", "recipe.lr=0.3")[1] == keys("criterion=snip", "when=init")[1]
    assert keys("criterion=snip", "when=trained", "recipe.lr=0.3")[1] != base[1]
    assert keys("criterion=snip", "when=trained", "scoring.samples=96")[0] == base[0]
    assert keys("criterion=snip", "when=trained", "scoring.samples=96")[1] != base[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["criterion=tailor"], "did you mean taylor"),
        (["criterion={name: grasp, temp: 1}"], "no option 'temp'"),
        (["criterion={name: snip, temp: 1}"], "it has no options"),
        (["criterion=nothing/here.py"], "not found"),
        (["score_mode=train"], "where the unit is the batch"),
        (["criterion=snip", "finetune=low"], "finetune has no effect"),
        (["criterion=snip", "finetune_epochs=3"], "finetune_epochs has no effect"),
        (["finetune=rewound", "finetune_epochs=31"], "recipe.epochs=30"),
        (["schedule={name: iterative, stop: 1}", "dataset.validation=0"], "validation split"),
        (["criterion=snip", "schedule={name: iterative, stop: 1}"], "when=init"),
    ],
)
def test_undefined_combinations_are_refused_in_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(tmp_path, *arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_option_that_the_harness_would_set_is_kept_also_at_its_default(tmp_path: Path) -> None:
    """The harness gives random a seed of its own where the user gives none: 0, the default, is given."""
    absent = only(plan(tmp_path, "criterion=random"), "random")[0]
    given = only(plan(tmp_path, "criterion={name: random, seed: 0}"), "random")[0]
    assert (absent.criterion_options, given.criterion_options) == ({}, {"seed": 0})
    assert harness_options(absent)["seed"] != harness_options(given)["seed"] == 0
    with pytest.raises(UserError, match="granularity is an axis of the run"):
        plan(tmp_path, "criterion={name: taylor, granularity: weight}")


def test_a_control_name_is_reserved(tmp_path: Path) -> None:
    file = tmp_path / "dense.py"
    file.write_text('"""x"""\ndef score(model, batches, loss_fn):\n    return {}\n')
    with pytest.raises(UserError, match="reserved"):
        plan(tmp_path, f"criterion={file}")


def test_a_broken_plugin_costs_only_its_own_cells(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def score(model, batches, loss_fn:\n")
    got = plan(tmp_path, f"criterion=[taylor,{file}]", "seed=0", "sparsity=0.5")
    assert Counter(c.criterion for c in got.cells) == {"taylor": 1, "mine": 1, "dense": 1, "dense_longer": 1}
    assert list(got.broken) == ["mine"]
    assert "line 1" in got.broken["mine"]


def test_to_json_names_every_cell_by_its_columns(tmp_path: Path) -> None:
    got = plan(tmp_path, "criterion=[taylor,snip]", "seed=0").to_json()
    assert {c["criterion"] for c in got["cells"]} == {"taylor", "snip", "dense", "dense_longer"}
    assert got["titles"] == {"digits": "Digits (8x8)"}
    assert all(isinstance(c["cell"], str) and len(c["cell"]) == 16 for c in got["cells"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ({}, ""),
        ({"temperature": 1}, "{temperature: 1}"),
        (Low(name="low"), "low"),
        (Iterative(name="iterative"), "{name: iterative, steps: 5, curve: exponential}"),
    ],
)
def test_axis_values_are_spelled_as_the_command_line_reads_them(value: Any, text: str | None) -> None:
    assert spelled(value) == text


def test_a_control_is_rewound_no_further_than_the_recipe_goes(tmp_path: Path) -> None:
    """Beside cells pruned at initialisation it was recorded with epochs that it had not trained."""
    (longer,) = only(plan(tmp_path, "criterion=snip", "recipe.epochs=3", "seed=0"), "dense_longer")
    assert (longer.finetune_epochs, longer.epochs_total) == (3, 6)


def test_two_networks_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text("def build(input_shape, num_classes):\n    return None\n")
    nets = ",".join(f"{tmp_path}/{folder}/net.py:build" for folder in ("a", "b"))
    with pytest.raises(
        UserError, match=r"two models are called 'net\.build': .*/a/net\.py:build and .*; rename one file"
    ):
        plan(tmp_path, f"model=[{nets}]")


def test_tf32_is_refused_where_it_would_be_fp32(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="precision=tf32 is a mode of CUDA devices"):
        plan(tmp_path, "precision=tf32")
    assert plan(tmp_path, "precision=tf32", device="cuda").cells[0].environment.precision == "tf32"
