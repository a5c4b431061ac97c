"""The command line's words become settings; a mistake becomes one line."""

import functools
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import config
from bench.axes import Cosine, Iterative
from bench.errors import UserError
from bench.schema import Settings


def load(*arguments: str) -> Settings:
    return config.load(list(arguments))


def test_nothing_given_is_the_digits_experiment() -> None:
    got = load()
    assert got.experiment == "digits"
    assert [criterion.name for criterion in got.criterion] == ["taylor"]
    assert got.sparsity == (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
    assert got.seed == (0, 1, 2)
    assert [choice.dataset.name for choice in got.choices] == ["digits"]
    assert got.schedule == (None,)
    assert got.out == "results/runs"
    assert got.named == ()


def test_lists_commas_and_ranges_are_sweeps() -> None:
    for words in ("criterion=[taylor,snip]", "criterion=taylor,snip"):
        assert [criterion.name for criterion in load(words).criterion] == ["taylor", "snip"]
    assert load("seed=range(0,4)").seed == (0, 1, 2, 3)
    assert load("sparsity=[0,0.5]").sparsity == (0, 0.5)
    assert load("sparsity=0.9").sparsity == (0.9,)


def test_options_ride_in_a_dict() -> None:
    got = load("criterion=[{name: grasp, temperature: 1},taylor]", "schedule=[{name: iterative, steps: 3},one_shot]")
    assert got.criterion[0].options == {"temperature": 1}
    assert got.criterion[1].options == {}
    first = got.schedule[0]
    assert isinstance(first, Iterative)
    assert (first.steps, first.curve, first.stop) == (3, "exponential", None)
    assert load("schedule=iterative").schedule[0] == Iterative(name="iterative", steps=5, curve="exponential")
    assert load("finetune={name: cosine, peak: 0.02}").finetune == (Cosine(name="cosine", peak=0.02),)


def test_plain_values_replace_and_never_merge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An experiment's `steps` must not reach a schedule that the command line names anew."""
    folder = tmp_path / "conf"
    shutil.copytree(config.conf_folder(), folder)
    experiment = folder / "experiment" / "digits.yaml"
    experiment.write_text(experiment.read_text() + "schedule: {name: iterative, steps: 7, curve: linear}\n")
    monkeypatch.setattr(config, "conf_folder", lambda: folder)
    assert load().schedule[0] == Iterative(name="iterative", steps=7, curve="linear")
    assert load("schedule={name: iterative, steps: 3}").schedule[0] == Iterative(name="iterative", steps=3)


def test_groups_sweep_one_composition_a_choice() -> None:
    got = load("dataset=[digits,cifar10]", "model=[resnet8,resnet20]", "recipe.epochs=3")
    names = [(choice.dataset.name, choice.model.name) for choice in got.choices]
    assert names == [("digits", "resnet8"), ("digits", "resnet20"), ("cifar10", "resnet8"), ("cifar10", "resnet20")]
    assert {choice.recipe.epochs for choice in got.choices} == {3}


def test_dotted_values_and_named_keys() -> None:
    got = load("recipe.epochs=7", "prunable.exclude=['*.fc.*']", "finetune_epochs=3", "scoring.samples=64")
    assert got.choices[0].recipe.epochs == 7
    assert got.choices[0].prunable.exclude == ("*.fc.*",)
    assert got.choices[0].scoring.samples == 64
    assert got.named == ("finetune_epochs",)


ODD = [
    "a b",
    "a=b",
    "~x",
    "#1",
    "it's",
    'say "x"',
    "käse",
    "日本",
    "a,b",
    "[x]",
    "{y}",
    "back\\slash",
    "$HOME",
    "a: b",
    "%1",
]


@pytest.mark.parametrize("name", ODD)
def test_paths_of_any_letters_pass_as_they_are(name: str) -> None:
    assert load(f"out=/tmp/{name}").out == f"/tmp/{name}"
    got = load("dataset=cifar10_parquet", f"dataset.root=/data/{name}")
    assert got.choices[0].dataset.root == f"/data/{name}"


@pytest.mark.parametrize("name", [name for name in ODD if "," not in name])
def test_criterion_and_model_files_of_any_letters_pass(name: str) -> None:
    got = load(f"criterion=[taylor,plugins/{name}.py]", f"model=nets/{name}.py:make")
    assert got.criterion[1].name == f"plugins/{name}.py"
    assert got.choices[0].model.factory == f"nets/{name}.py:make"
    assert got.choices[0].model.name == f"{name}.make"


@settings(max_examples=30)
@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(lambda text: text.strip() == text))
def test_any_output_folder_passes(name: str) -> None:
    composed = nothing_chosen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            config, "_compose", lambda *_: composed
        )  # what the files say takes the time, and never sees `out`
        assert load(f"out=/x/{name}").out == f"/x/{name}"


@functools.cache
def nothing_chosen() -> dict[str, Any]:
    return config._compose({}, [], {})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sparsity=1.3"], ["sparsity = 1.3", "less than 1"]),
        (["sparsity=-0.1"], ["sparsity = -0.1", "greater than or equal to 0"]),
        (["sparsity=nan"], ["sparsity", "finite"]),
        (["sparsity=high"], ["sparsity", '"high"', "number"]),
        (["sparsity=true"], ["sparsity", "number"]),
        (["sparsity=[]"], ["sparsity", "at least one"]),
        (["seed=-1"], ["seed = -1"]),
        (["seed=0.5"], ["seed = 0.5", "integer"]),
        (["recipe.epochs=-3"], ["recipe.epochs = -3"]),
        (["recipe.epochs=[1,2]"], ["recipe.epochs", "integer"]),
        (["recipe.lr=0"], ["recipe.lr", "greater than 0"]),
        (["recipe.epoch=3"], ["recipe.epoch", "no such option", "did you mean epochs"]),
        (["finetune_epochs=-1"], ["finetune_epochs = -1"]),
        (["scope=globl"], ["globl", "did you mean global"]),
        (["schedule=iterativ"], ["iterativ", "did you mean iterative"]),
        (["schedule={name: iterative, stps: 3}"], ["stps", "no such option", "did you mean steps"]),
        (["scope={name: global, min_keeep: 1}"], ["min_keeep", "no such option", "did you mean min_keep"]),
        (["schedule={name: iterative, steps: 0}"], ["steps = 0"]),
        (["finetune=hot"], ["'hot'", "low"]),
        (["when=later"], ["'later'", "init"]),
        (["device=gpu"], ["'gpu'", "cuda"]),
        (["precision=fp64"], ["'fp64'", "fp32"]),
        (["dataset=cifr10"], ["unknown dataset 'cifr10'", "did you mean cifar10"]),
        (["model=resnet21"], ["unknown model 'resnet21'", "resnet20"]),
        (["recipe=nothing"], ["unknown recipe 'nothing'"]),
        (["experiment=digit"], ["unknown experiment 'digit'", "did you mean digits"]),
        (["experiment=[digits,cifar10_smoke]"], ["experiment", "one"]),
        (["sparsty=0.5"], ["unknown key 'sparsty'", "did you mean sparsity"]),
        (["dataset=cifar10_parquet"], ["dataset.root is needed"]),
        (["sparsity"], ["KEY=VALUE"]),
        (["sparsity=[0.5"], ["cannot read"]),
        (["workers=0"], ["workers = 0"]),
        (["debug=maybe"], ["debug"]),
        (["~sparsity"], ["cannot be deleted"]),
        (["out=null"], ["names no folder"]),
        (["schedule={steps: 5}"], ["give its name", "'name' is missing"]),
        (["criterion={nam: x.py}"], ["give its name"]),
        (["--epochs"], ["no option --epochs", "KEY=VALUE"]),
        (["recipe.loss=mse", "recipe.label_smoothing=0.1"], ["label_smoothing belongs to loss=cross_entropy"]),
        (["experiment=text", "recipe.epochs=1", "dataset.root=/x"], ["warmup_epochs=", "must be fewer than epochs=1"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(arguments: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load(*arguments)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line


def test_every_shipped_experiment_dataset_and_model_is_valid() -> None:
    folder = config.conf_folder()
    names = {
        group: sorted(path.stem for path in (folder / group).glob("*.yaml"))
        for group in ("experiment", "dataset", "model", "recipe")
    }
    for name in names.pop("experiment"):
        load(f"experiment={name}", "dataset.root=/data")
    for number in range(max(map(len, names.values()))):
        chosen = {group: known[number % len(known)] for group, known in names.items()}
        (choice,) = load(*(f"{group}={name}" for group, name in chosen.items()), "dataset.root=/data").choices
        assert {group: getattr(choice, group).name for group in chosen} == chosen


def test_what_makes_another_plan_than_the_experiments_file_is_kept_without_folders() -> None:
    own = ["experiment=digits_criteria", "seed=[0,1,2,3,4]", "criterion=[taylor,magnitude,gradient,random,snip,grasp]"]
    assert config.load([*own, "out=elsewhere", "workers=1"]).changed == ()
    changed = ("seed=[0,1]", "recipe.lr=0.1", "model=digits_net")
    assert config.load([own[0], *changed]).changed == changed
    assert config.load(["criterion=/home/me/mine.py"]).changed == ("criterion=['mine.py']",)
    claims = "claims=[{name: a, says: b, first: {criterion: taylor}, second: {criterion: snip}, relation: above}]"
    assert load("vary=scope").vary == ("scope",)
    assert config.load([claims, "~recipe.weight_decay"]).changed == (claims, "~recipe.weight_decay")
