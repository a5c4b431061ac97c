"""What honest people do is accepted, and what cannot be checked is said."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench import store
from bench.audit import derived, shared
from bench.audit.findings import Findings
from bench.audit.gather import gather
from bench.errors import UserError
from bench.identity import sha256
from bench.report.write import folder_files
from bench.verbs import publish, verify
from tests.audit.conftest import find, records, reseal, run

Audit = Callable[..., tuple[int, str]]

RUNS = {
    "other seeds and sparsities": "criterion=random seed=[1,2] sparsity=0.7",
    "pruned at initialisation": "criterion=[snip,synflow] schedule={name: iterative, steps: 3} budget=equal",
    "iterative": "criterion=[taylor,magnitude] schedule={name: iterative, steps: 2}",
    "ablated": "criterion=taylor ablation=[none,shuffle,reinit,invert] finetune=rewound sparsity=0.5",
    "filters": "criterion=taylor granularity=filter scope=layer sparsity=0.5",
    "N:M and blocks": "criterion=magnitude granularity=[{name: nm},{name: block, rows: 2, cols: 2}]",
    "rewound": "criterion=magnitude when=rewind schedule={name: iterative, steps: 2}",
    "gradual and regrown": "criterion=magnitude schedule=[{name: gradual, every: 9},{name: regrow, every: 9}]",
    "until converged": "criterion=magnitude schedule={name: iterative, steps: 2, stop: 99} scope=[layer,erk]",
    "taken back at once": "criterion=random schedule={name: iterative, steps: 2, stop: 0.5} sparsity=0.98",
    "a regression": "experiment=diabetes criterion=magnitude sparsity=0.5",
}


@pytest.mark.parametrize("name", RUNS)
def test_an_honest_set_is_accepted(base: Path, tmp_path: Path, audited: Audit, name: str) -> None:
    shutil.copytree(base / "stages", tmp_path / "out" / "stages")  # the same dense nets
    plan = run(tmp_path / "out", "seed=0", "sparsity=0.9", *_words(RUNS[name]))
    status, text = audited(tmp_path / "out")
    assert status == 0, text
    assert "0 problems" in text
    assert f"{len(plan.cells)} cells read again from their weights" in text


def _words(line: str) -> list[str]:
    """Split at blanks outside brackets."""
    words, depth = [""], 0
    for sign in line:
        depth += (sign in "[{") - (sign in "]}")
        if sign == " " and not depth:
            words.append("")
        else:
            words[-1] += sign
    return words


def test_what_is_no_part_of_an_identity_may_differ(copied: Path, audited: Audit) -> None:
    run(copied, "criterion=[taylor,magnitude]", "recipe.finetune_epochs=9", "finetune_epochs=2", "seed=[0,1,2]")
    status, text = audited(copied)
    assert status == 0, text


def test_a_resumed_run_and_a_larger_one_beside_it_are_accepted(base: Path, copied: Path, audited: Audit) -> None:
    for folder, _ in list(records(copied))[::2]:
        shutil.rmtree(folder)
    status, text = audited(copied, "recompute=0")
    assert (status, "cells have no record" in text) == (1, True)
    run(copied, f"criterion=[taylor,magnitude,{base.parent}/broken.py]")
    run(copied, "criterion=[taylor,magnitude,random]")  # more, in a plan of its own
    status, text = audited(copied, "recompute=0")
    assert status == 0, text
    assert "2 plans" in text


@pytest.fixture
def published(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(publish, "PUBLISHED", tmp_path / "published")
    once = functools.cache(folder_files)  # it draws every figure
    for module in (publish, derived):
        monkeypatch.setattr(module, "folder_files", once)
    publish.main(["tiny", f"out={copied}"])
    return tmp_path / "published" / "tiny"


def test_published_results_are_made_again_from_their_records(published: Path, audited: Audit) -> None:
    table = published / "accuracy.md"
    table.write_text(table.read_text().replace("taylor", "tailor"))
    status, text = audited(published.parent)
    assert status == 1
    # Everything but this one table is accepted.
    assert text.startswith("tiny/accuracy.md: it is not what the records give")
    assert text.endswith("1 problem\n")
    assert "not checked: masks and weights: published results hold none (16)" in text

    frame = pd.read_parquet(published / store.RECORDS)
    frame.loc[3, "cpu"] = "Another CPU"
    frame.to_parquet(published / store.RECORDS, index=False)
    plan = json.loads((published / "plan.json").read_text())
    plan["records_sha256"] = sha256(published / store.RECORDS)
    (published / "plan.json").write_text(json.dumps(plan))
    findings = Findings()
    for evidence in gather(published, findings):
        shared.check(evidence, findings)
    assert "cpu is 'Another CPU' in 1 cells" in findings.text()


def test_another_machine_may_round_otherwise(copied: Path, audited: Audit) -> None:
    for folder, record in list(records(copied)):
        if record["columns"]["status"] == "ok":
            reseal(folder, lambda record: record["columns"].update(cpu="Another CPU"))
    reseal(find(copied), lambda record: record["columns"].update(loss=record["columns"]["loss"] * (1 + 1e-5)))
    reseal(find(copied, seed=1), lambda record: record["columns"].update(loss=record["columns"]["loss"] * 1.01))
    status, text = audited(copied)
    assert status == 1
    assert text.count("loss is") == 1
    assert "taylor 0.9 seed 1: loss is" in text


def test_shared_work_that_is_gone_is_named_not_condemned(copied: Path, audited: Audit) -> None:
    shutil.rmtree(copied / "stages")
    status, text = audited(copied, "recompute=2")
    assert status == 0, text
    assert "is not stored any more" in text
    assert "test results against the weights (recompute=all reads every cell) (10)" in text


def test_a_folder_without_results_is_a_mistake(tmp_path: Path, audited: Audit) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="no results in"):
            audited(folder)
    with pytest.raises(UserError, match="a number of cells, or all"):
        verify.main([str(tmp_path), "recompute=some"])


def test_a_plan_that_does_not_parse_is_named(copied: Path, audited: Audit) -> None:
    (path,) = (copied / "plans").glob("*.json")
    path.write_text(json.dumps({"cells": 3}))
    status, text = audited(copied, "recompute=0")
    assert (status, f"plans/{path.name}: it is corrupt" in text) == (1, True)
    assert find(copied).name
