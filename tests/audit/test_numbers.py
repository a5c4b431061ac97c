import dataclasses
import math
from pathlib import Path

import pytest

from bench.audit import numbers
from bench.audit.evidence import Entry, Evidence
from bench.audit.findings import Findings
from bench.audit.gather import gather


def entry(base: Path, criterion: str) -> Entry:
    (evidence,) = gather(base, Findings())
    return next(one for one in evidence.entries if one.columns["criterion"] == criterion)


def problems(entry: Entry) -> list[str]:
    findings = Findings()
    numbers.check(Evidence(Path(), entries=[entry]), findings)
    return [*findings.problems]


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1e-9, math.inf, math.nan])
@pytest.mark.parametrize("name", ["train_s", "finetune_s", "score_s"])
def test_work_takes_time(base: Path, name: str, seconds: float) -> None:
    made = entry(base, "taylor")
    assert not problems(made)
    (problem,) = problems(dataclasses.replace(made, columns=made.columns | {name: seconds}))
    assert f"{name} is {seconds!r}, no time that this takes" in problem


def test_what_is_not_done_has_no_time_or_hardly_any(base: Path) -> None:
    dense = entry(base, "dense")
    assert dense.config is not None
    columns = {name: dense.columns[name] for name in ("finetune", "finetune_s", "score_s")}
    assert columns == dict.fromkeys(columns)
    assert not problems(dense)
    untrained = dataclasses.replace(dense, config=dense.config | {"recipe": dense.config["recipe"] | {"epochs": 0}})
    assert not problems(dataclasses.replace(untrained, columns=dense.columns | {"train_s": 1e-9}))
    assert problems(dataclasses.replace(untrained, columns=dense.columns | {"train_s": -1e-9}))
