"""`estimate` measures this machine once, says what a run takes, and makes none of it."""

import json
from pathlib import Path

import pytest

from bench.verbs import estimate

WORDS = ("criterion=[taylor,l1_norm]", "granularity=filter", "scope=layer", "sparsity=0.5", "seed=[0,1]", "workers=1")


def test_estimate_says_what_a_run_takes_and_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for _ in range(2):
        assert estimate.main([*WORDS, f"out={tmp_path}"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]  # measured once
    (price,) = tmp_path.glob("cache/price-*.json")
    for broken in ("[]", '{"a"'):
        price.write_text(broken)
        assert estimate.main([*WORDS, f"out={tmp_path}"]) == 0
        assert json.loads(price.read_text())["steps"] == 21
        capsys.readouterr()
    lines = texts[0].splitlines()
    assert lines[0] == "digits: 8 cells, 0 done, 8 to make"
    assert lines[1].startswith("epochs   120 of training")  # two dense nets, two trained longer, four fine-tuned
    assert lines[2] == "scores   4 passes over a scoring set; 18 reads of a test set"
    assert "of CPU time" in lines[3]
    assert "smaller networks train faster" in texts[0]
    assert not (tmp_path / "cells").exists()
    assert not (tmp_path / "stages").exists()
