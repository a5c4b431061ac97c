"""The report: one folder that can be committed, with each number and what it means."""

import csv
import io
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from bench import NUMERICS, store
from bench.gpu.rows import Row
from bench.gpu.steps import Done
from bench.measure.machine import describe

MEANINGS = {
    "scores": (
        "Each criterion scores the same briefly trained ResNet-8 on the same 256 random images, in float32 without "
        "TF32, on the CPU and on the device. *Scores* is the largest difference as a share of the layer's largest "
        "score; *masks* the share of weights (or filters) on which the two disagree at 90 % sparsity; *twice* how many "
        "scores change when the device is asked again. HRank counts singular values, and one at the edge may flip."
    ),
    "deterministic": "A ResNet-20 is trained twice from the same start; the number of weights that differ must be 0.",
    "networks": (
        "One gradient of other networks on 8 images, computed twice; the number of entries that differ must be 0. "
        "torch refuses some operations in deterministic mode: such a network cannot be trained on this device."
    ),
    "compacted": (
        "Half of each layer's channels and heads are masked, or taken out of the network; the largest difference of "
        "the outputs is a share of the largest output. Both sides must find the same groups of channels."
    ),
    "training-step": (
        "Batches of 128 images of 32x32, ResNet-20, medians. *Step / bare step*: what a step of the harness (data "
        "order, crops and flips, rate, seed) costs in steps of a hand-written loop on one batch. The other two ratios "
        "compare bare steps: with fp32 in channels_last, and with the fastest kernels in place of deterministic ones."
    ),
    "semi-structured": (
        "A linear layer with 2 of 4 weights zero, stored dense and on torch's semi-structured kernels. Below 1 the "
        "sparse layer is faster. Shapes are rows x inputs x outputs; the latter is the MLP of ViT-B for 64 images."
    ),
    "table": "Cells of experiment `cifar10_resnet20` that are done; `accuracy.md` beside this file is their table.",
}
FIELDS = ("step", "name", "value", "bound", "ok", "note")


def machine(device: torch.device) -> dict[str, Any]:
    """Return what decides the numbers: device, driver, versions and code; null where unknown."""
    cuda = device.type == "cuda"
    facts = {
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))) if cuda else None,
        "memory_gb": round(torch.cuda.get_device_properties(device).total_memory / 1e9, 1) if cuda else None,
        "driver": _driver() if cuda else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,  # type: ignore[no-untyped-call]
        "python": platform.python_version(),
        "numerics": NUMERICS,
    }
    return describe(device) | facts


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.check_output(command, text=True, timeout=30).splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def write(done: Done, facts: dict[str, Any], folder: Path) -> list[Path]:
    """Write report.md, checks.csv and device.json, each whole or not at all."""
    texts = {
        "report.md": markdown(done, facts),
        "checks.csv": _csv(done),
        "device.json": json.dumps(facts, indent=1) + "\n",
    }
    for name, text in texts.items():
        store.write(folder / name, text.encode())
    return [folder / name for name in texts]


def _csv(done: Done) -> str:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(FIELDS)
    for step, rows in done.items():
        lines.writerows([step, row.name, row.value, row.bound, row.ok, row.note] for row in rows)
    return text.getvalue()


def markdown(done: Done, facts: dict[str, Any]) -> str:
    """Return the report as one page: the machine, then a table for each kind of check, with its meaning."""
    rows = [row for found in done.values() for row in found]
    passed, failed = (sum(row.ok is verdict for row in rows) for verdict in (True, False))
    lines = ["# GPU check", "", f"{passed} checks passed, {failed} failed.", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items() if value is not None]
    for kind, meaning in MEANINGS.items():
        found = [(step, row) for step, rows in done.items() if step.startswith(kind) for row in rows]
        if found:
            lines += ["", f"## {kind}", "", meaning, "", "| step | number | value | bound | | note |"]
            lines += ["|---|---|--:|--:|---|---|", *(_line(step, row) for step, row in found)]
    return "\n".join(lines) + "\n"


def _line(step: str, row: Row) -> str:
    value, bound = ("" if number is None else f"{number:.3g}" for number in (row.value, row.bound))
    verdict = {True: "ok", False: "**failed**", None: ""}[row.ok]
    note = row.note.replace("|", "\\|")
    return f"| {step} | {row.name} | {value} | {bound} | {verdict} | {note} |"
