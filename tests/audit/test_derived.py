"""Tables of runs. (Those of published results: test_honest.)"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.audit import derived
from bench.audit.findings import Findings
from bench.audit.gather import gather
from bench.verbs import tables as tables_verb
from tests.audit.conftest import edit, find, run, tables


def checked(out: Path) -> Findings:
    (evidence,) = gather(out, Findings())
    findings = Findings()
    derived.check(evidence, findings)
    return findings


def unchecked(findings: Findings) -> tuple[str, int]:
    """Return the one thing that could not be checked, of which nothing is a problem, and how often."""
    assert not findings.problems
    ((line, count),) = findings.unchecked.items()
    return line, count


def test_tables_of_a_run_are_made_again(copied: Path) -> None:
    tables(copied)
    findings = checked(copied)
    assert (findings.problems, findings.unchecked) == ({}, {})
    assert findings.checked[derived.MADE] == 6


def test_all_that_make_tables_writes_is_made_again(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables_verb.main([f"out={copied}"])
    findings = checked(copied)
    assert (findings.problems, findings.unchecked) == ({}, {})
    assert findings.checked[derived.MADE] == sum(1 for _ in copied.glob("tables/*/*")) > 6


EDITS = {
    "a number": (r"\d\d\.\d", "99.9"),
    "a name": ("taylor", "mine 99.9"),
    "two names": (r"(?s)(taylor|magnitude)(.*)(taylor|magnitude)", r"\3\2\1"),
    "a note": (r"Recipe digits: chosen here", "Recipe digits: chosen elsewhere"),
}


@pytest.mark.parametrize("name", EDITS)
def test_other_words_in_markdown_alone_are_edited(copied: Path, name: str) -> None:
    edit(tables(copied) / "accuracy.md", *EDITS[name])
    (problem,) = checked(copied).problems
    assert problem.startswith("tables/digits-")
    assert "accuracy.md: it is not what the records give, and its other forms are" in problem


def both(folder: Path) -> None:
    for name in ("accuracy.md", "accuracy.tex"):
        edit(folder / name, r"\d\d\.\d", "99.9")


def alone(folder: Path) -> None:
    edit(folder / "accuracy.md", r"\d\d\.\d", "99.9")
    (folder / "accuracy.tex").unlink()


UNPROVEN: dict[str, tuple[Callable[[Path], object], int]] = {
    "other blanks": (lambda folder: edit(folder / "accuracy.md", r"\| taylor", "|    taylor"), 1),
    "other markup": (lambda folder: edit(folder / "accuracy.md", "- Recipe", "* Recipe"), 1),
    "other LaTeX": (lambda folder: edit(folder / "accuracy.tex", r"\d\d\.\d", "99.9"), 1),
    "other HTML": (lambda folder: edit(folder / "accuracy.html", "taylor", "tailor"), 1),
    "two forms": (both, 2),
    "no other form": (alone, 1),
    "another figure": (lambda folder: (folder / "accuracy.png").write_bytes(b"drawn otherwise"), 1),
    "other numbers": (lambda folder: edit(folder / "accuracy.csv", r"\d\d\.\d", "99.9"), 1),
    "a file of one's own": (lambda folder: (folder / "notes.txt").write_text("mine"), 1),
    "a plan that is gone": (lambda folder: folder.rename(folder.with_name("digits-0")), 6),
}


@pytest.mark.parametrize("name", UNPROVEN)
def test_what_older_records_or_other_code_could_have_made_is_named(copied: Path, name: str) -> None:
    change, count = UNPROVEN[name]
    change(tables(copied))
    line, counted = unchecked(checked(copied))
    assert counted == count
    assert line.startswith("tables and figures, tables/digits-")
    assert "older than a record, of other code, or edited" in line


def test_a_table_that_is_older_than_a_record_is_not_condemned(copied: Path) -> None:
    whole = tables(copied)
    run(copied, "criterion=random", "sparsity=0.9", "seed=0")
    line, count = unchecked(checked(copied))
    assert count == 3  # all forms of the table say how many records are left out
    assert str((whole / "accuracy.html").relative_to(copied)) in line
    tables(copied)  # of the last plan
    assert unchecked(checked(copied))[1] == 3
    run(copied, "criterion=random", "sparsity=0.9", "seed=1")
    assert unchecked(checked(copied))[1] == 6


def test_a_table_of_an_unfinished_plan_is_not_condemned(copied: Path) -> None:
    gone = find(copied)
    shutil.move(gone, copied / "kept")
    tables(copied)
    assert not checked(copied).unchecked
    shutil.move(copied / "kept", gone)
    assert unchecked(checked(copied))[1] >= 4


def test_times_and_other_reports_of_runs_are_named(copied: Path) -> None:
    for name in (
        "latency/digits.json",
        "compare/liu2019-0/compare.md",
        "oracle/cifar10_oracle-0/oracle.md",
        "page.html",
    ):
        path = copied / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[]")
    findings = checked(copied)
    assert not findings.problems
    assert {*findings.unchecked} == {*derived.UNREAD.values()}
