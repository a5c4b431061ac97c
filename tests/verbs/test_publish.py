"""`publish` and `tables` on what is published, through main(argv)."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from bench import store
from bench.__main__ import main
from bench.audit.findings import Findings
from bench.audit.gather import gather
from bench.report.write import is_report
from bench.verbs import publish
from tests.report.conftest import Out


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(publish, "PUBLISHED", tmp_path / "published")
    return tmp_path / "published"


@pytest.fixture
def runs(tmp_path: Path) -> Out:
    out = Out(tmp_path / "runs")
    out.plan(*out.dense(98.0, 98.0), *out.seeds("taylor", 0.9, 90.0, 91.0), *out.seeds("random", 0.9, 80.0, 81.0))
    return out


def test_what_is_published_again_leaves_nothing_of_the_former_behind(runs: Out, published: Path) -> None:
    assert main(["publish", "one", f"out={runs.root}"]) == 0
    for name in ("cost-2.md", "NOTES.md"):
        (published / "one" / name).touch()
    store.write(runs.root / "latency" / "digits.json", b"[]")
    assert main(["publish", "one", f"out={runs.root}"]) == 0
    assert not (published / "one" / "cost-2.md").exists()
    assert (published / "one" / "NOTES.md").exists()  # no report makes it
    plan = json.loads((published / "one" / "plan.json").read_text())
    assert plan["latency_sha256"] == hashlib.sha256(b"[]").hexdigest()
    assert "partial" not in plan


@pytest.mark.parametrize("held", ["units.csv", "plan.json"])
def test_a_folder_of_something_else_is_kept(
    runs: Out, published: Path, held: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = store.load_plan(runs.root) | {"experiment": "another"}
    store.write(published / "one" / held, json.dumps(plan).encode())
    assert main(["publish", "one", f"out={runs.root}"]) == 2
    assert "give another name" in capsys.readouterr().err
    assert [path.name for path in (published / "one").iterdir()] == [held]


def test_another_plan_takes_the_place_of_a_publication_only_when_asked(
    runs: Out, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", "one", f"out={runs.root}"]) == 0
    runs.plan(*runs.dense(98.0), *runs.seeds("taylor", 0.9, 90.0), written="2027", changed=["seed=0"])
    assert main(["publish", "one", f"out={runs.root}"]) == 2
    assert "another plan of digits (8 cells; this one has 3, changed: seed=0)" in capsys.readouterr().err
    assert main(["publish", "one", f"out={runs.root}", "replace=true"]) == 0
    assert len(store.load_plan(published / "one")["cells"]) == 3


def test_a_published_folder_is_no_place_for_runs_and_is_audited_also_where_some_lie_in_it(
    runs: Out, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["publish", "one", f"out={runs.root}"])
    for folder in (published, published / "one"):
        assert main(["run", "seed=0", "logger=none", f"out={folder}"]) == 2
        assert "is published; give a folder for runs" in capsys.readouterr().err
    shutil.copytree(runs.root / "cells", published / "one" / "cells")
    stored, own = gather(published / "one", Findings())
    assert len(stored.entries) == len(own.entries) == 8
    assert [entry.folder for entry in own.entries] == [None] * 8


def test_a_plan_that_is_gone_is_not_to_be_made_by_a_run(
    runs: Out, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["publish", "one", f"out={runs.root}"])
    for damage in (lambda path: path.write_text("{"), lambda path: path.write_text('{"cells": "x"}'), Path.unlink):
        damage(published / "one" / "plan.json")
        for verb in ("tables", "page"):
            assert main([verb, f"out={published / 'one'}"]) == 2
            line = capsys.readouterr().err
            assert line.count("\n") == 1
            assert "take it back from version control, or publish again" in line


def test_every_file_of_a_report_has_a_name_that_publish_knows(runs: Out, published: Path) -> None:
    main(["publish", "one", f"out={runs.root}"])
    own = {"plan.json", "records.parquet"}
    assert all(is_report(path) for path in (published / "one").iterdir() if path.name not in own)


def test_missing_cells_are_published_only_when_asked_and_said(
    runs: Out, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.plan(*runs.dense(98.0), *runs.seeds("gradient", 0.9, 90.0, None))
    assert main(["publish", "one", f"out={runs.root}"]) == 2
    assert "1 of 4 cells are missing" in capsys.readouterr().err
    assert main(["publish", "one", f"out={runs.root}", "partial=true"]) == 0
    assert json.loads((published / "one" / "plan.json").read_text())["partial"] is True


def test_what_is_published_names_no_folder_of_the_machine_it_was_made_on() -> None:
    dataset = {"name": "mine", "root": "/home/me/data/mine", "reader": "/home/me/code/mine.py:read", "size": 32}
    model = {"factory": "bench.models.resnet:resnet", "weights": "runs/dense.pt", "options": {"depth": 8}}
    places = {"root": "DIR/mine", "reader": "DIR/mine.py:read"}
    shown = store.without_folders({"dataset": dataset, "model": model, "seed": 0})
    assert shown == {"dataset": dataset | places, "model": model, "seed": 0}
    assert store.without_folders({"dataset": dataset})["dataset"] == dataset | places


def test_tables_of_what_is_published_are_made_all_together(
    runs: Out, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["publish", "one", f"out={runs.root}"])
    before = {path.name: path.read_bytes() for path in (published / "one").iterdir()}
    (published / "one" / "accuracy.md").write_text("edited")
    assert main(["tables", f"out={published}"]) == 0
    assert {path.name: path.read_bytes() for path in (published / "one").iterdir()} == before
    assert main(["tables", f"out={published}", "experiment=nope"]) == 2
    (published / "oracle").mkdir()
    (published / "oracle" / "units.csv").write_text("garbage\n1\n")
    assert main(["tables", f"out={published}"]) == 2
    assert "units.csv is corrupt" in capsys.readouterr().err
