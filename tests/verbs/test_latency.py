"""The verb: what is timed where, what stays in the file, and the command line from end to end."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.cores import cores
from bench.errors import UserError
from bench.tasks import VARIANTS, Timing
from bench.verbs import latency as verb
from bench.verbs.latency import Rows, Sweep, parsed
from tests.helpers import cell

RUN = (
    *("recipe.epochs=1", "finetune_epochs=0", "criterion=magnitude", "sparsity=0.5", "seed=[1,0]"),
    *("logger=none", "device=cpu", "workers=1"),
)


def test_a_sweep_is_the_product_of_what_was_asked() -> None:
    assert parsed([]) == Sweep()
    sweep = parsed(["batch=[1,8]", "dtype=fp32", "engine=[eager, onnx]", "timed_threads=1", "timed_device=[cpu,cuda]"])
    assert sweep.places("cpu") == [("cpu", 1), ("cuda", 1)]
    asked = [(t.engine, t.dtype, t.batch) for t in sweep.timings(cell(), "d", "cpu")]
    assert asked == [(engine, "fp32", batch) for engine in ("eager", "onnx") for batch in (1, 8)]
    assert {t.engine for t in sweep.timings(cell(), "d", "cuda")} == {"eager"}
    everywhere = Sweep().places("cuda")
    assert everywhere == [*(("cpu", n) for n in sorted({1, cores()})), ("cuda", 1)]


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("engine=egaer", "did you mean eager"),
        ("dtype=fp64", "known: bf16, fp16, fp32"),
        ("batch=0", r"whole numbers from 1, as batch=\[1,32\]"),
        ("timed_threads=[1,x]", "timed_threads=x"),
        ("batch=", "batch=:"),
    ],
)
def test_a_wrong_value_is_named(argument: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parsed([argument])
    with pytest.raises(UserError, match="timed_device=cpu"):
        parsed(["engine=onnx", "timed_device=cuda"])


def row(**columns: Any) -> dict[str, Any]:
    names = "cell variant device cpu gpu cores torch onnxruntime engine dtype threads batch".split()
    return dict.fromkeys(names, "same") | {"median_s": 1.0} | columns


def test_new_rows_replace_their_like_alone(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "latency" / "a.json")
    rows.add([row(), row(cpu="other")])
    rows.save()
    again = Rows(rows.path)
    again.add([row(median_s=2.0), row(batch=9)])
    again.save()
    assert json.loads(rows.path.read_text()) == [row(median_s=2.0), row(cpu="other"), row(batch=9)]


def test_finished_cells_are_timed_and_tabulated(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    call = ["latency", *RUN, f"out={tmp_path}", "engine=eager", "dtype=fp32", "batch=2", "timed_threads=1"]
    assert main(call) == 2
    assert "run it first" in capfd.readouterr().err
    assert main(["run", *RUN, f"out={tmp_path}"]) == 0
    capfd.readouterr()
    assert main(call) == 0
    shown = capfd.readouterr()
    assert "Traceback" not in shown.err
    path = tmp_path / "latency" / "digits.json"
    (plan,) = (tmp_path / "plans").glob("*.json")
    rows = {row["variant"]: row for row in json.loads(path.read_text())}
    timed = {variant: row["threads"] for variant, row in rows.items() if row["median_s"]}
    assert timed == {"dense": 1, "masked": 1}
    seeds = {cell["cell"]: cell["seed"] for cell in json.loads(plan.read_text())["cells"]}
    assert seeds[rows["masked"]["cell"]] == 0
    folder = tmp_path / "tables" / plan.stem
    assert (folder / "latency.md").read_text() in shown.out
    (pruned,) = (line for line in shown.out.splitlines() if line.startswith("| magnitude"))
    assert "±" in pruned


def test_where_nothing_can_be_timed_the_reason_is_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    untimed = dict.fromkeys(("turns_s", "median_s", "iqr_s")) | {"reason": "onnxruntime is not installed"}

    def ask(_: object, timing: Timing, rows: Rows) -> None:
        rows.add([row(cell=timing.cell.id, variant=variant) | untimed for variant in VARIANTS])

    monkeypatch.setattr(verb, "_ask", ask)
    assert main(["run", *RUN, f"out={tmp_path}"]) == 0
    capfd.readouterr()
    assert main(["latency", *RUN, f"out={tmp_path}", "engine=onnx", "timed_threads=1"]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == ("error: no network could be timed; onnxruntime is not installed")
