import shlex
from collections.abc import Iterable
from pathlib import Path

import pytest

from bench import config, plan
from bench.cell import CONTROLS, Cell
from bench.report import command as commands
from bench.report.command import command
from tests.helpers import plugin

RUNS = [
    ["experiment=digits_criteria", "criterion=[taylor,snip]", "sparsity=[0.9,0.98]", "seed=[0,3]"],
    ["experiment=digits_filters", "criterion=[random,fpgm]", "sparsity=[0.3,0.7]", "target_kind=[flops,filters]"],
    ["criterion=random", "granularity=[{name: nm, n: 1, m: 4},nm]", "precision=[fp32,bf16]", "threads=2"],
    ["criterion=magnitude", "scope=[{name: threshold, value: 0.1},{name: global, min_keep: 0.01},erk]", "sparsity=0.5"],
    ["criterion=magnitude", "schedule=[{name: iterative, steps: 3, stop: 1.0},gradual]", "sparsity=[0.5,0.9]"],
    ["criterion=magnitude", "when=[{name: rewind, to: 0.1},init,trained]", "budget=[equal,null]", "finetune=cosine"],
    ["criterion=[synflow,movement]", "finetune=[{name: cosine, peak: 0.02},low]", "finetune_epochs=3"],
    ["criterion=random", "ablation=[none,shuffle]", "finetune=rewound", "finetune_epochs=5", "recipe.epochs=5"],
    ["criterion=[{name: grasp, temperature: 1.5},{name: obd, clamp: true, probes: 7}]", "score_mode=[eval,train]"],
    ["criterion=snip", "prunable.exclude=['0.*']", "scoring.samples=640", "recipe.source='a, b'"],
    ["criterion=random", "~recipe.weight_decay", "+recipe.crop_padding=2", "sparsity=0.5"],
    ["criterion=random", "recipe=[digits,cifar]", "model=[digits_net,resnet20]", "sparsity=0.5", "seed=1"],
]


def planned(arguments: list[str]) -> plan.Plan:
    return plan.make(config.load(arguments), "cpu")


def command_plans(given: plan.Plan, cell: Cell, recorded: bool = True) -> list[Cell]:
    """Return the cells that the command of a cell plans."""
    line = command(given.to_json(), cell.columns(), cell.config() if recorded else None)
    words = shlex.split(line)
    assert words[:4] == ["python", "-m", "bench", "run"]
    return list(planned(words[4:]).cells)


def pruned(cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.criterion not in CONTROLS]


@pytest.mark.parametrize("arguments", RUNS, ids=lambda arguments: arguments[1])
def test_the_command_plans_this_cell_and_its_controls_alone(arguments: list[str]) -> None:
    given = planned(arguments)
    first, *_, last = pruned(given.cells)
    assert pruned(command_plans(given, last)) == [last]
    # As of folders that were published without configurations.
    assert pruned(command_plans(given, first, recorded=False)) == [first]


def test_the_command_of_a_control_plans_it() -> None:
    given = planned(RUNS[7])
    for control in given.cells[:2]:
        assert control in command_plans(given, control)


def test_a_criterion_that_is_installed_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plugin(tmp_path, "return {}", name="theirs")
    given = planned(["criterion=theirs.py", "sparsity=0.5", "seed=0"])
    columns = pruned(given.cells)[0].columns()
    assert "criterion='theirs.py'" in command(given.to_json(), columns, None).replace("'\"'\"'", "'")
    monkeypatch.setattr(commands, "_available", lambda: {"theirs"})
    assert " criterion=theirs " in command(given.to_json(), columns, None)


def test_own_files_and_strange_options_come_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    net = tmp_path / "my net's $HOME" / "net.py"
    net.parent.mkdir()
    net.write_text("def build(input_shape, num_classes):\n    return None\n")
    plugin(tmp_path, "return {}", options="how='', true='', power=1")
    options = r"""{name: mine.py, how: 'it\'s "a" {b}, c: \\', true: 'true', power: 2.5}"""
    given = planned([f"criterion={options}", f"model={net}:build", "sparsity=0.5", "seed=0"])
    (cell,) = pruned(given.cells)
    assert cell.criterion_options == {"how": 'it\'s "a" {b}, c: \\', "true": "true", "power": 2.5}
    assert pruned(command_plans(given, cell)) == [cell]
