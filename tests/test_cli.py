"""Wrong calls through main(argv): one clear line, a non-zero exit, no traceback, nothing started."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import VERBS, main

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rum"], ["unknown verb 'rum'", "did you mean run"]),
        (["run", "criterion=tailor"], ["unknown criterion 'tailor'", "did you mean taylor"]),
        (["run", "criterion={name: grasp, temprature: 1}"], ["no option 'temprature'", "temperature"]),
        (["run", "sparsity=1.3"], ["sparsity = 1.3"]),
        (["run", "sparsity=abc"], ["sparsity", "abc"]),
        (["run", "recipe.epochs=-1"], ["recipe.epochs = -1"]),
        (["run", "dataset=cifr10"], ["unknown dataset 'cifr10'", "cifar10"]),
        (["run", "model=resnet21"], ["unknown model 'resnet21'"]),
        (["run", "scope=globl"], ["globl", "global"]),
        (["run", "dataset=cifar10_parquet", "dataset.root=/no/where"], ["/no/where", "train.parquet"]),
        (["run", "device=cuda"], ["device=cuda", "no CUDA device"]),
        (["run", "criterion=missing/file.py"], ["missing/file.py", "not found"]),
        (["run", "model=missing/net.py:make", "seed=0"], ["missing/net.py", "not"]),
        (["run", "model.weights=/no/where.pt", "seed=0"], ["model.weights=/no/where.pt not found"]),
        (["run", "model.weights=/proc/cpuinfo", "seed=0"], ["model.weights=/proc/cpuinfo cannot be read"]),
        (["run", "prunable.exclude=['*']", "seed=0"], ["prunable.exclude", "nothing to prune"]),
        (["run", "scoring.samples=64", "seed=0"], ["taylor needs at least 8 batches"]),
        (["run", "recipe.loss=bce", "seed=0"], ["two classes"]),
        (["tables", "out=/no/where"], ["no plan in /no/where"]),
        (["tables", "sparsity=0.5"], ["unknown key 'sparsity'"]),
        (["tables", "sparsity"], ["tables takes KEY=VALUE"]),
        (["tables", "out="], ["names no folder"]),
        (["verify", "/no/where"], ["does not exist"]),
        (["check"], ["check takes one criterion"]),
        (["check", "criterion="], ["check takes one criterion"]),
        (["latency", "batchs=1"], ["unknown key 'batchs'; did you mean batch?"]),
        (["latency", "timed_threads=99999"], ["cores here"]),
        (["list", "taylor"], ["no arguments"]),
        (["publish"], ["publish takes a name"]),
        (["publish", "../x"], ["publish takes a name"]),
        (["publish", "x", "partial=yes"], ["partial=yes: give partial=true"]),
    ],
)
def test_a_mistake_is_one_line_and_a_status(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "device=cuda" in arguments:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    if arguments[0] == "run":
        arguments = [*arguments, f"out={tmp_path}", "logger=none"]
    assert main(arguments) == 2
    printed = capfd.readouterr()
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    assert not list(tmp_path.glob("cells/*"))


def test_an_output_path_that_is_a_file_or_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for out, words in (
        (file, "is a file"),
        (file / "below", "is a file"),
        (Path("/proc/nothing"), "cannot be written"),
    ):
        assert main(["run", f"out={out}", "logger=none"]) == 2
        assert words in capfd.readouterr().err
    assert file.read_text() == "mine"


def test_debug_shows_the_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "sparsity=2", "debug=true"]) == 2
    assert "Traceback" in capfd.readouterr().err


def test_list_shows_every_criterion_with_formula_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    for words in ("abs(g * w)", "arXiv:1810.02340", "option temperature=200.0", "when=init", "arXiv:1906.10771"):
        assert words in shown


def test_list_names_a_criterion_that_is_there_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = importlib.metadata.EntryPoint("snip", "criteria.random", "criteria")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [twice])
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "criterion 'snip' is defined twice" in shown
    assert "arXiv:1906.10771" in shown
    assert main(["list", "--matrix"]) == 0
    rows = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line}
    assert "taylor" in rows
    assert "snip" not in rows


def test_check_says_in_words_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text('"""score = 1."""\n\n\ndef score(model, batches, loss_fn):\n    model.train()\n    return {}\n')
    assert main(["check", str(file)]) == 1
    shown = capsys.readouterr().out
    assert "failed   mode" in shown
    assert main(["check", "snip"]) == 0


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["help"]):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert all(verb in shown for verb in VERBS)


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["tables", "out=/no/where"], ["rum"]])
def test_what_needs_no_torch_imports_none(arguments: list[str]) -> None:
    code = (
        "import sys; from bench.__main__ import main; main(sys.argv[1:]);"
        "heavy = {'torch', 'torchvision', 'sklearn', 'wandb', 'hydra', 'scipy'} & set(sys.modules);"
        "light = {'pandas', 'pydantic'} & set(sys.modules) if sys.argv[1] in ('--help', 'list') else set();"
        "sys.exit(f'imported {heavy | light}' if heavy | light else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_planning_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from bench import config, plan; import bench.launch, bench.verbs.run;"
        "plan.make(config.load(['criterion=[taylor,snip]', f'out={sys.argv[1]}']), 'cpu');"
        "sys.exit(str({'torch', 'torchvision', 'sklearn'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == ""
