"""How quickly a page of thousands of cells opens."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import store
from bench.report.frame import Results
from bench.report.page import page
from bench.report.page_data import Book
from bench.report.style import KNOWN
from tests.browser import chromium, needs_chromium
from tests.report.conftest import controls, pruned

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
SCOPES = ("global", "layer", "erk", "lamp")
LIMIT_S = 3


def large(seeds: int = 5) -> Book:
    """Return 5,000 cells or more, each with 100 epochs of training, 20 of fine-tuning, 50 layers and a histogram."""
    models = ("net0", "net1", "net2")
    cells = [cell for model in models for cell in controls(*range(seeds), model=model)]
    cells += [
        pruned(criterion, sparsity, seed, scope=scope, model=model)
        for model in models
        for scope in SCOPES
        for criterion in KNOWN[:14]
        for sparsity in SPARSITIES
        for seed in range(seeds)
    ]
    measured = {"status": "ok", "params": 1e5, "flops": 1e7, "collapsed_layers": 0}
    rows = [
        dict.fromkeys(store.COLUMNS) | cell | measured | {"top1": 90 + n % 97 / 10, "sparsity": cell["sparsity_target"]}
        for n, cell in enumerate(cells)
    ]
    plan = {"experiment": "large", "titles": {}, "recipes": {}, "vary": [], "changed": [], "cells": cells}
    found = {cell["cell"]: details(cell) for cell in cells}
    return Book("large", Results(plan, pd.DataFrame(rows).infer_objects(), {}, found))


def details(cell: dict[str, Any]) -> dict[str, Any]:
    """Return what a record holds beside its columns; cells of a seed share their training."""
    own = int(cell["cell"][:4], 16) / 65536
    stages = {"train": (100, cell["seed"] + 1), "finetune": (20, own)}
    curves = [
        {"stage": stage, "epoch": epoch, "train/loss": value / epoch, "val/loss": value, "val/top1": value * epoch}
        for stage, (epochs, value) in stages.items()
        for epoch in range(1, epochs + 1)
    ]
    return {
        "config": {"seed": cell["seed"], "scope": cell["scope"]},
        "curves": curves,
        "layers": [{"name": f"layer{number}.0.conv1.weight", "kept": number, "total": 100} for number in range(50)],
        "histogram": {"low": -own, "high": own, "zero": 0, "negative": 0, "kept": [*range(48)], "removed": [7] * 48},
    }


@needs_chromium
@pytest.mark.perf
def test_5000_cells_open_within_three_seconds(tmp_path: Path) -> None:
    book = large()
    assert len(book.results.frame) >= 5000
    path = tmp_path / "page.html"
    path.write_bytes(page([book]))
    times = []
    with chromium(tmp_path / "profile") as browser:
        for _ in range(3):
            browser.open(path)
            times.append(browser.run("return performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000)
            assert browser.run("return document.querySelectorAll('tbody tr').length") > 100
    print(f"{len(book.results.frame)} cells, {path.stat().st_size / 1e6:.1f} MB: {min(times):.2f} s of {times}")
    assert min(times) < LIMIT_S
