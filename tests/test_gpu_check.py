"""`gpu-check` without a card: its plan on the CPU with tiny nets, and what it does with checks that fail."""

import csv
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import criteria
from bench import config, plan, store
from bench.__main__ import main
from bench.gpu import numbers, report, steps, table, timings
from bench.gpu.rows import Row, bounded
from bench.gpu.setting import Sizes
from bench.mode import kernels
from bench.verbs import gpu_check

CPU = torch.device("cpu")
TINY = Sizes(
    side=8,
    score_batch=4,
    depth=8,
    batch=8,
    steps=2,
    repeats=1,
    networks=("resnet8",),
    vit_side=32,
    vit_depth=1,
    linears=((8, 32, 16),),
)


def later(seconds: float = 60) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness's step of a tiny net costs whatever it costs."""
    monkeypatch.setattr(timings, "STEP", 1e9)


@pytest.mark.usefixtures("quick")
def test_the_whole_plan_passes_between_cpu_and_cpu_and_is_done_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark)
    nowhere = [f"dataset.root={tmp_path / 'none'}"]
    assert gpu_check.check(CPU, TINY, tmp_path, nowhere, later()) == 0
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == flags
    folder = tmp_path / "gpu-check"
    with open(folder / "report" / "checks.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    by_step = {step: [row for row in rows if row["step"] == step] for step in {row["step"] for row in rows}}
    assert {f"scores-{name}-{form}" for name in criteria.available() for form in numbers.forms(name)} < set(by_step)
    assert {row["ok"] for row in rows} == {"True", ""}
    assert all(row["ok"] == "True" for name in ("deterministic", "networks", "compacted") for row in by_step[name])
    assert {row["value"] for name in by_step if name.startswith("scores") for row in by_step[name]} <= {"0", "0.0", ""}
    assert all("Only CUDA" in row["note"] for row in by_step["semi-structured"])
    assert "dataset cifar10 is not there" in by_step["table"][0]["note"]
    ratios = {row["name"]: float(row["value"]) for row in by_step["training-step"]}
    assert all(ratio > 0 for ratio in ratios.values())
    assert {name.split(":")[0] for name in ratios} == {"fp32", "fp32, contiguous", "tf32", "bf16"}
    page = (folder / "report" / "report.md").read_text()
    assert f"{sum(row['ok'] == 'True' for row in rows)} checks passed, 0 failed" in page
    assert all(f"## {kind}" in page for kind in report.MEANINGS)
    assert json.loads((folder / "report" / "device.json").read_text())["torch"] == torch.__version__

    def again(*_: object) -> list[Row]:
        raise AssertionError("made again")

    monkeypatch.setattr(steps, "_made", again)
    assert gpu_check.check(CPU, TINY, tmp_path, nowhere, 0) == 0
    assert (folder / "report" / "report.md").read_text() == page
    assert str(folder / "report" / "report.md") in capsys.readouterr().out


def test_what_fails_or_lacks_time_is_made_again_and_another_machine_starts_anew(tmp_path: Path) -> None:
    made: list[str] = []

    def step(name: str, *rows: Row) -> list[Row]:
        made.append(name)
        if not rows:
            raise RuntimeError("device-side\nassert")
        return list(rows)

    three = {
        "good": lambda: step("good", bounded("a", 0.5, 1.0)),
        "bad": lambda: step("bad", bounded("b", 2.0, 1.0)),
        "broken": lambda: step("broken"),
    }
    late = steps.run(three, tmp_path, {"gpu": "x"}, 0)
    assert not made
    assert {row.note for rows in late.values() for row in rows} == {"no time was left: run again"}
    done = steps.run(three, tmp_path, {"gpu": "x"}, later())
    assert [done[name][0].ok for name in three] == [True, False, False]
    assert done["broken"][0].note == "RuntimeError: device-side assert"
    assert steps.run(three, tmp_path, {"gpu": "x"}, later()) == done
    assert made == ["good", "bad", "broken", "bad", "broken"]
    steps.run(three, tmp_path, {"gpu": "y"}, later())
    assert made[5:] == ["good", "bad", "broken"]
    (tmp_path / "good" / store.RECORD).write_text("{}")
    steps.run({"good": three["good"]}, tmp_path, {"gpu": "y"}, later())
    assert made[8:] == ["good"]
    assert "**failed**" in report.markdown({"table": done["bad"]}, {})


def test_differences_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = {"a": torch.tensor([1.0, -4.0]), "b": torch.zeros(2)}, {"a": torch.tensor([1.0, -3.0])}
    assert numbers.difference(one, other | {"b": torch.zeros(2)}) == 0.25
    assert numbers.difference(one, other | {"b": torch.tensor([0.0, 0.5])}) == 0.5
    assert numbers.difference(one, other) == float("inf")
    assert numbers.differing(one, other | {"b": torch.ones(2)}) == 3
    assert [bounded("x", value, 1.0).ok for value in (1.0, 1.1, float("nan"), float("inf"))] == [True] + [False] * 3

    real, calls = numbers._scored, list[int]()

    def drifting(*args: object) -> object:
        found, masks = real(*args)  # type: ignore[arg-type]
        calls.append(1)
        return {name: score * (1 + 0.01 * (len(calls) > 1)) for name, score in found.items()}, masks

    monkeypatch.setattr(numbers, "_scored", drifting)
    scores, masks, twice = numbers.scores("magnitude", "weight", CPU, TINY)
    assert (scores.ok, masks.ok, twice.ok) == (False, True, True)
    assert scores.value == pytest.approx(0.01, rel=1e-3)


def test_a_mode_is_restored() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with kernels("tf32"):
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.are_deterministic_algorithms_enabled()
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_a_network_that_deterministic_mode_refuses_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numbers._gradients

    def refusing(name: str, device: torch.device, sizes: Sizes) -> dict[str, torch.Tensor]:
        if name == "vgg16_bn":
            raise RuntimeError("pooling has no deterministic implementation")
        return real("resnet8", device, sizes)

    monkeypatch.setattr(numbers, "_gradients", refusing)
    refused, trains = numbers.networks(CPU, replace(TINY, networks=("vgg16_bn", "resnet8")))
    assert (refused.ok, trains.ok) == (False, True)
    assert "no deterministic implementation" in refused.note


def test_the_run_of_the_table_is_interrupted_when_the_time_is_over(tmp_path: Path) -> None:
    wait = (
        f"import sys, time, signal; signal.signal({int(signal.SIGINT)}, lambda *_: sys.exit(130));"
        "open(sys.argv[1], 'w'); time.sleep(60)"
    )
    started = time.monotonic()
    assert table.stopped([sys.executable, "-c", "import sys; sys.exit(1)"], 30) == 1
    assert table.stopped([sys.executable, "-c", wait, str(tmp_path / "up")], 1.5) == 130
    assert time.monotonic() - started < 30


def test_the_table_so_far_goes_into_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = ["dataset=digits", "criterion=magnitude", "seed=0", "sparsity=0.5", "device=cpu"]
    called = table.arguments(tmp_path, passed)

    def ran(command: list[str], seconds: float) -> int:
        assert command[-len(called) :] == called
        store.write_plan(tmp_path, plan.make(config.load(called), "cpu").to_json())
        return 130

    monkeypatch.setattr(table, "stopped", ran)
    (row,) = table.run(tmp_path, passed, tmp_path / "report", later())
    assert (row.value, row.ok) == (0.0, None)
    assert row.note == "of 3; 0 failed; run again to go on"
    assert "magnitude" in (tmp_path / "report" / "accuracy.md").read_text()
    assert table.run(tmp_path, passed, tmp_path / "report", 0)[0].note == "no time was left: run again"


def test_without_a_card_one_line_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["gpu-check", f"out={tmp_path}"]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("error: gpu-check needs a CUDA device; none is visible to torch")
    assert main(["gpu-check", "minutes=soon"]) == 2
    assert "minutes=soon" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_wrong_key_is_told_before_any_check(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert main(["gpu-check", "datset=digits"]) == 2
    assert "unknown key 'datset'" in capfd.readouterr().err
