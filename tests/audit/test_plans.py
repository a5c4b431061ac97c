import dataclasses
from pathlib import Path
from typing import Any

import pytest

from bench import config, store
from bench.audit import plans
from bench.audit.evidence import Entry, Evidence
from bench.audit.findings import Findings
from bench.audit.gather import gather

TIME = config.load(["experiment=book_time", "dataset.root=DIR"])
CLAIMS = [claim.model_dump() for claim in TIME.claims]
STATED: dict[str, Any] = {"experiment": "book_time", "vary": [*TIME.vary], "claims": CLAIMS}
"""What a plan of an experiment with claims holds of its file."""


@pytest.fixture
def runs(base: Path) -> Evidence:
    (evidence,) = gather(base, Findings())
    return evidence


@pytest.fixture
def published(runs: Evidence, tmp_path: Path) -> Evidence:
    (tmp_path / store.RECORDS).touch()
    return dataclasses.replace(runs, root=tmp_path)


def checked(evidence: Evidence, **plan: Any) -> Findings:
    """Return what is found where the plan says something else."""
    (table,) = evidence.tables
    changed = dataclasses.replace(table, plan=table.plan | plan)
    findings = Findings()
    plans.check(dataclasses.replace(evidence, tables=[changed]), findings)
    return findings


def retitled(evidence: Evidence, title: str | None) -> Evidence:
    """Return the evidence with records of another title, or without their configuration."""

    def change(entry: Entry) -> Entry:
        assert entry.config is not None
        dataset = entry.config["dataset"] | {"title": title}
        return dataclasses.replace(entry, config=entry.config | {"dataset": dataset} if title else None)

    (table,) = evidence.tables
    entries = {cell: change(entry) for cell, entry in table.entries.items()}
    return dataclasses.replace(evidence, tables=[dataclasses.replace(table, entries=entries)])


def test_a_plan_that_says_what_was_run_is_accepted(runs: Evidence, published: Evidence) -> None:
    for evidence in (runs, published):
        findings = checked(evidence)
        assert (findings.problems, findings.unchecked) == ({}, {})
        findings = checked(evidence, **STATED)
        assert (findings.problems, findings.unchecked) == ({}, {"claims: when they were written down": len(CLAIMS)})


def test_a_title_is_that_of_the_records_or_of_today(runs: Evidence) -> None:
    older = retitled(runs, "Digits")
    assert not checked(older).problems  # reworded in conf, and the plan made again
    assert not checked(older, titles={"digits": "Digits"}).problems
    (problem,) = checked(older, titles={"digits": "ImageNet"}).problems
    assert "title of dataset digits is 'ImageNet', its records say 'Digits'" in problem


def test_a_title_that_the_command_line_gave_or_no_record_holds_is_not_checked(runs: Evidence) -> None:
    said = {"titles": {"digits": "ImageNet"}}
    told = checked(runs, **said, changed=["dataset.title=ImageNet"])
    unknown = checked(retitled(runs, None), **said)
    for findings in (told, unknown):
        assert (findings.problems, findings.unchecked.total()) == ({}, 1)


TURNED = [CLAIMS[0] | {"first": CLAIMS[0]["second"], "second": CLAIMS[0]["first"]}, *CLAIMS[1:]]
FORGED: dict[str, dict[str, Any]] = {
    "turned": STATED | {"claims": TURNED},
    "another relation": STATED | {"claims": [CLAIMS[0] | {"relation": "below"}, *CLAIMS[1:]]},
    "one dropped": STATED | {"claims": CLAIMS[1:]},
    "one added": {"claims": CLAIMS[:1]},
    "another study": {"vary": ["schedule"]},
}


@pytest.mark.parametrize("name", FORGED)
def test_claims_and_what_is_under_study_are_those_of_the_file(runs: Evidence, published: Evidence, name: str) -> None:
    said = FORGED[name]
    key = "vary" if name == "another study" else "claims"
    (problem,) = checked(published, **said).problems
    assert f"its {key} is not that of conf/experiment/{said.get('experiment', 'digits')}.yaml" in problem
    later = checked(runs, **said)  # a file may be edited for the next run, and this plan stays
    assert not later.problems
    assert any(line.startswith(f"{key} of plans/") for line in later.unchecked)
    given = checked(published, **said, changed=[f"{key}=[]"])
    assert not given.problems
    assert given.unchecked[f"{key} that the command line gave"] == 1


def test_an_experiment_that_has_no_file_is_not_checked(published: Evidence) -> None:
    findings = checked(published, experiment="mine", claims=CLAIMS)
    assert not findings.problems
    assert findings.unchecked["vary and claims of a plan whose experiment 'mine' has no file here"] == 1
