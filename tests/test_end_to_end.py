"""The real command line in processes of its own: results, resuming after kills, side by side, failures."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.store import COLUMNS, load_records
from tests import helpers

ROOT = Path(__file__).parents[1]
TINY = ("recipe.epochs=2", "recipe.finetune_epochs=2", "sparsity=[0.5,0.9]", "seed=[0,1]", "logger=none")
VOLATILE = {"started", "git", "peak_memory_mb", "train_s", "score_s", "finetune_s"}


def command(out: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench", "run", *TINY, f"out={out}", *arguments]


def run(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Make a run in a process of its own."""
    done = subprocess.run(command(out, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def run_here(out: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    return helpers.run(out, *TINY, *arguments, status=status)


def content(out: Path) -> dict[str, tuple[object, ...]]:
    """Return cell -> everything that has to be bit-identical: columns, curves, layers, hashes of the artefacts."""
    cells = {}
    for path in out.glob("cells/*/record.json"):
        record = json.loads(path.read_text())
        columns = {name: value for name, value in record["columns"].items() if name not in VOLATILE}
        cells[path.parent.name] = (columns, record["curves"], record["layers"], record["artefacts"])
    return cells


def processes(tag: str) -> list[int]:
    """Return the processes that carry a tag in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if tag.encode() in path.read_bytes() and "zombie" not in (path.parent / "status").read_text():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def all_gone(tag: str, within_s: float = 15) -> bool:
    end = time.monotonic() + within_s
    while processes(tag) and time.monotonic() < end:
        time.sleep(0.1)
    return not processes(tag)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of two criteria at two sparsities and two seeds."""
    out = tmp_path_factory.mktemp("whole")
    run(out, "criterion=[taylor,snip]", "workers=2")
    return out


def test_a_run_gives_a_record_with_all_columns_for_every_cell(whole: Path) -> None:
    frame = load_records(whole)
    assert list(frame.columns) == COLUMNS
    assert frame.criterion.value_counts().to_dict() == {"taylor": 4, "snip": 4, "dense": 2, "dense_longer": 2}
    assert (frame.status == "ok").all()
    pruned = frame[frame.criterion.isin(["taylor", "snip"])]
    assert (pruned.sparsity - pruned.sparsity_target).abs().max() < 1e-4
    assert (pruned.params < pruned.params_dense).all()
    assert (pruned.flops < pruned.flops_dense).all()
    assert pruned.top1_pruned.notna().all()
    assert pruned.top1_pruned_bn.notna().all()
    assert frame.top1.between(0, 100).all()
    assert frame[frame.criterion == "taylor"].epochs_total.eq(4).all()
    assert frame[frame.criterion == "snip"].epochs_total.eq(2).all()
    assert frame[frame.criterion == "snip"].finetune.isna().all()
    dense = frame[frame.criterion == "dense"].set_index("seed").top1
    assert (frame.top1_dense == frame.seed.map(dense)).all()
    assert frame.score_samples.dropna().eq(1024).all()


def test_stages_are_shared_by_content(whole: Path) -> None:
    kinds = [path.name.split("-")[0] for path in (whole / "stages").iterdir()]
    assert {kind: kinds.count(kind) for kind in kinds} == {"dense": 2, "scores": 4, "dense_read": 2}


def test_a_second_run_finds_everything_done_and_starts_no_worker(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.glob("cells/*/*")}
    done = run(whole, "criterion=[taylor,snip]")
    assert {path: path.stat().st_mtime_ns for path in whole.glob("cells/*/*")} == before
    assert "taylor" in done.stdout
    assert "90 %" in done.stdout
    assert done.stderr == ""


def test_order_and_number_of_workers_do_not_matter(whole: Path, tmp_path: Path) -> None:
    run_here(tmp_path, "criterion=[random,snip]", "sparsity=[0.9]", "seed=[1,0]", "workers=3")
    ours, theirs = content(tmp_path), content(whole)
    shared = set(ours) & set(theirs)
    assert len(shared) == 4 + 2
    assert {cell: ours[cell] for cell in shared} == {cell: theirs[cell] for cell in shared}


def test_after_kills_no_orphan_lives_and_two_runs_side_by_side_make_the_same(whole: Path, tmp_path: Path) -> None:
    _killed_run(tmp_path, when=1)
    _killed_run(tmp_path, when=3, group=True)
    words = command(tmp_path, "criterion=[taylor,snip]", "workers=1")
    runs = [subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=240) for process in runs] == [0, 0]
    assert content(tmp_path) == content(whole)
    assert not list(tmp_path.glob("**/*.tmp-*"))


@pytest.mark.slow
@pytest.mark.parametrize("seconds", np.arange(0.4, 6.4, 0.4).round(1).tolist())
def test_a_kill_at_any_moment_loses_nothing(whole: Path, tmp_path: Path, seconds: float) -> None:
    for group in (False, True):
        _killed_run(tmp_path, seconds=seconds, group=group)
    run(tmp_path, "criterion=[taylor,snip]")
    assert content(tmp_path) == content(whole)


def _killed_run(out: Path, when: int = 0, seconds: float = 60, group: bool = False) -> None:
    """Kill a run once `when` cells are done (0: never mind) or after some seconds; nothing of it may live on."""
    tag = uuid.uuid4().hex
    process = subprocess.Popen(
        command(out, "criterion=[taylor,snip]"),
        cwd=ROOT,
        env=os.environ | {"BENCH_TEST_TAG": tag},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if when and len(list(out.glob("cells/*/record.json"))) >= when:
            break
        time.sleep(0.01)
    (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    assert all_gone(tag)


def test_sigint_stops_soon_with_one_line_and_keeps_what_is_done(whole: Path, tmp_path: Path) -> None:
    tag = uuid.uuid4().hex
    process = subprocess.Popen(
        command(tmp_path, "criterion=[taylor,snip]", "seed=range(0,40)"),  # too long to end by itself
        cwd=ROOT,
        env=os.environ | {"BENCH_TEST_TAG": tag},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(list(tmp_path.glob("cells/*/record.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1].startswith("error: stopped")
    assert "Traceback" not in errors
    assert all_gone(tag)
    done, expected = content(tmp_path), content(whole)
    assert len(done) >= 2
    assert all(made == expected[cell] for cell, made in done.items() if cell in expected)


def test_what_is_corrupt_and_what_a_killed_worker_lost_is_named_and_made_again(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    frame = load_records(out)
    cells = [out / "cells" / cell for cell in frame[frame.criterion.isin(["taylor", "snip"])].cell]
    (cells[0] / "record.json").write_text("{")
    weights = cells[1] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    for verb in ("tables", "verify"):
        named = helpers.call(verb, f"out={out}")
        assert named.returncode != 0
        assert "corrupt" in named.stdout + named.stderr
        assert cells[0].name in named.stdout + named.stderr
    for lost in cells[2:]:
        shutil.rmtree(lost)
    errors = _run_whose_worker_is_killed(out)
    assert errors.count("corrupt") >= 2
    assert (load_records(out).status == "failed").sum() == 1
    run_here(out, "criterion=[taylor,snip]")
    assert content(out) == content(whole)
    verified = helpers.call("verify", str(out))
    assert (verified.returncode, verified.stdout.splitlines()[-1]) == (0, "0 problems"), verified.stdout


def _run_whose_worker_is_killed(out: Path) -> str:
    """Kill a run's only worker once the first of its records is there; return what the run says, which goes on."""
    tag = uuid.uuid4().hex
    before = set(out.glob("cells/*/record.json"))
    process = subprocess.Popen(
        command(out, "criterion=[taylor,snip]", "workers=1"),
        cwd=ROOT,
        env=os.environ | {"BENCH_TEST_TAG": tag},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(set(out.glob("cells/*/record.json")) - before) < 1:
        assert process.poll() is None
        time.sleep(0.01)
    newest = max(pid for pid in processes(tag) if pid != process.pid and b"resource_tracker" not in _command_line(pid))
    os.kill(newest, signal.SIGKILL)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "killed by SIGKILL" in errors
    return errors


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_nan_loss_fails_its_cells_finally_and_the_status_is_1(tmp_path: Path) -> None:
    done = run_here(tmp_path, "recipe.lr=1e9", "seed=0", "sparsity=0.5", status=1)
    assert "not finite in train epoch 1" in done.stderr
    assert "failed" in done.stdout
    frame = load_records(tmp_path)
    assert (frame.status == "failed").all()
    again = run_here(tmp_path, "recipe.lr=1e9", "seed=0", "sparsity=0.5", status=1)
    assert "failed before" in again.stderr


PLUGIN = '''"""score = (w * g)^2."""

from criteria.tools.gradients import mean_gradients
from criteria.tools.parameters import prunable


def score(model, batches, loss_fn):
    weights = prunable(model)
    return {name: (weights[name] * g) ** 2 for name, g in mean_gradients(model, batches, loss_fn).items()}
'''


def test_plugins_by_path_good_and_broken(tmp_path: Path) -> None:
    folder = tmp_path / "my plugins é"
    folder.mkdir()
    (folder / "squared.py").write_text(PLUGIN)
    (folder / "broken.py").write_text("def score(model, batches, loss_fn:\n")
    (folder / "unimportable.py").write_text(PLUGIN.replace("prunable\n\n", "prunable\nimport no_such_module\n\n", 1))
    (folder / "nan.py").write_text(PLUGIN.replace("** 2", "* float('nan')"))
    files = [f"{folder}/{name}.py" for name in ("squared", "broken", "unimportable", "nan")]
    out = tmp_path / "out"
    done = run_here(out, f"criterion=[snip,{','.join(files)}]", "when=trained", "seed=0", "sparsity=0.5", status=1)
    status = load_records(out).set_index("criterion").status.to_dict()
    assert status == {
        **dict.fromkeys(("dense", "dense_longer", "snip", "squared"), "ok"),
        **dict.fromkeys(("broken", "unimportable", "nan"), "failed"),
    }
    for words in ("line 1", "no_such_module", "not finite"):
        assert words in done.stderr
    # The square of snip ranks as snip does.
    layers = {record[0]["criterion"]: record[2] for record in content(out).values()}
    assert layers["squared"] == layers["snip"]
    alone = run_here(out, f"criterion={files[1]}", status=2)
    assert "nothing was run" in alone.stderr


def test_schedules_scopes_and_finetunings_run_from_end_to_end(tmp_path: Path) -> None:
    run_here(
        tmp_path,
        "criterion=[{name: grasp, temperature: 1},gradient,magnitude]",
        "schedule=[{name: iterative, steps: 3, curve: linear}]",
        "scope=[global,layer]",
        "finetune=[{name: cosine, peak: 0.05}]",
        "sparsity=0.8",
        "seed=0",
        "budget=equal",
    )
    frame = load_records(tmp_path)
    assert (frame.status == "ok").all()
    pruned = frame[~frame.criterion.str.startswith("dense")]
    assert len(pruned) == 6
    assert (pruned.sparsity - 0.8).abs().max() < 1e-3
    assert pruned.epochs_total.eq(4).all()
    assert set(pruned.finetune) == {"{name: cosine, peak: 0.05}"}
    for path in tmp_path.glob("cells/*/record.json"):
        record = json.loads(path.read_text())
        if record["columns"]["scope"] == "layer":
            assert all(abs(row["kept"] - 0.2 * row["total"]) <= 0.5 for row in record["layers"])


def test_until_converged_keeps_the_last_step_that_held(tmp_path: Path) -> None:
    words = "schedule={name: iterative, steps: 6, stop: 2.0}"
    run_here(tmp_path, "criterion=[magnitude,random]", words, "recipe.epochs=6", "recipe.finetune_epochs=6", "seed=0")
    frame = load_records(tmp_path).set_index("criterion")
    assert (frame.status == "ok").all()
    pruned = frame.loc[["magnitude", "random"]]
    assert pruned.sparsity_target.isna().all()
    assert pruned.sparsity.between(0, 0.9).all()
    assert (pruned.epochs_total <= 12).all()
    assert pruned.sparsity["random"] < pruned.sparsity["magnitude"]


def test_parquet_images_and_a_net_of_the_users_own(tmp_path: Path) -> None:
    data = tmp_path / "images"
    data.mkdir()
    rng = np.random.default_rng(0)
    for name, count in (("train", 400), ("test", 60)):
        labels = np.arange(count) % 10
        pixels = (rng.integers(0, 60, (count, 32, 32, 3)) + labels[:, None, None, None] * 19).astype(np.uint8)
        images = []
        for array in pixels:
            buffer = io.BytesIO()
            Image.fromarray(array).save(buffer, "PNG")
            images.append(buffer.getvalue())
        pd.DataFrame({"image": images, "label": labels}).to_parquet(data / f"{name}.parquet")
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\n\n\ndef tiny(input_shape, num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(input_shape[0], 4, 3, stride=4), nn.ReLU(), nn.Flatten(),"
        " nn.Linear(256, num_classes))\n"
    )
    out = tmp_path / "out"
    words = ("dataset=cifar10_parquet", f"dataset.root={data}", "dataset.validation=40", f"model={net}:tiny")
    run_here(
        out, *words, "criterion=snip", "seed=0", "recipe.batch_size=64", "recipe.crop_padding=4", "recipe.flip=true"
    )
    frame = load_records(out)
    assert (frame.status == "ok").all()
    assert set(frame.model) == {"net.tiny"}
    assert frame.score_samples.dropna().eq(352).all()


def test_make_passes_its_words_on_and_wandb_runs_offline_without_a_key(tmp_path: Path) -> None:
    out = tmp_path / "o ut"
    words = ["make", "bench", f"PYTHON={sys.executable}", "VENV=none", "CRITERION=taylor,snip", f"OUT={out}"]
    words.append(f"ARGS={' '.join(TINY)} seed=0 sparsity=0.5 logger=wandb")
    keyless = os.environ | {"WANDB_API_KEY": "", "NETRC": "/dev/null"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240, env=keyless)
    assert done.returncode == 0, done.stderr
    frame = load_records(out)
    assert set(frame.criterion) == {"taylor", "snip", "dense", "dense_longer"}
    runs = {path.name.split("-")[-1] for path in out.glob("wandb/**/offline-run-*")}
    assert set(frame.cell) <= runs, done.stderr
    refused = subprocess.run([*words, "CRITERION=tailor"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "did you mean taylor" in refused.stderr
