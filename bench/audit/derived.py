"""Tables and figures, made again from their records and compared byte for byte."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import matplotlib as mpl

from bench import store
from bench.audit.evidence import Evidence, Table
from bench.audit.findings import Findings
from bench.errors import UserError
from bench.report.frame import joined
from bench.report.places import UNITS, published
from bench.report.write import accuracy_files, folder_files, report_files

OWN = ("plan.json", "latency.json", store.RECORDS, UNITS)
WORDS = re.compile(rb"( |\w|(?<=\d)\.(?=\d))+")
"""Words and numbers, and blanks between them."""
UNREAD = {
    "latency.json": "files of times, which nothing else could contradict",
    "latency/*.json": "files of times, which nothing else could contradict",
    "compare/*/*": "comparisons with papers: `make compare` makes them again",
    "oracle/*/*": "files of the oracle: each of its folders can be verified by itself",
    "page.html": "the page: `make page` makes it again",
}
"""Pattern below a folder -> what is not looked at there."""
MADE = "tables and figures, made again"
AGAIN = "`make tables` makes it again"


def check(evidence: Evidence, findings: Findings) -> None:
    """Compare every table and figure of a folder with what its records give."""
    root = evidence.root
    for pattern, what in UNREAD.items():
        if found := [*root.glob(pattern)]:
            findings.unchecked[what] += len(found)
    if root in published(root):
        _check_published(root, findings)
    else:
        _check_runs(evidence, findings)


def _check_published(root: Path, findings: Findings) -> None:
    """A published folder holds what this version of the code makes of its records, and all of it."""
    try:
        made = folder_files(root)
    except UserError as error:
        findings.problem(root.name, str(error), "no table can be made of these records")
        return
    for name in sorted({*made} - {path.name for path in root.iterdir()}):
        findings.problem(f"{root.name}/{name}", "it is missing", AGAIN)
    for path in sorted(path for path in root.iterdir() if path.name not in OWN):
        if path.name not in made:
            findings.unchecked[f"files that no report makes, {root.name}/{path.name} the first"] += 1
        elif path.read_bytes() == made[path.name]:
            findings.checked[MADE] += 1
        elif path.suffix in (".png", ".pdf") and not _of_this_matplotlib(path):
            findings.unchecked["figures drawn by another version of matplotlib"] += 1
        else:
            why = f"edited, or made from others; {AGAIN}"
            findings.problem(f"{root.name}/{path.name}", "it is not what the records give", why)


def _of_this_matplotlib(path: Path) -> bool:
    """Whether this version wrote a figure: it says so in each file."""
    return f"{mpl.__version__}".encode() in path.read_bytes()


def _check_runs(evidence: Evidence, findings: Findings) -> None:
    """Tables of runs may be older than later records, or than this code: a difference alone condemns none."""
    root, folders = evidence.root, sorted(evidence.root.glob("tables/*/"))
    if not folders:
        return
    records = store.load(root, lambda error: None)  # bench.audit.gather has named what is corrupt
    plans = {Path(table.where).stem: table for table in evidence.tables}
    others: list[Path] = []
    for folder in folders:
        paths = {path for path in folder.iterdir() if path.is_file()}
        names = {path.name for path in paths}
        made = _made(root, records, plans[folder.name], names, findings) if folder.name in plans else {}
        same = {path for path in paths if path.read_bytes() == made.get(path.name)}
        edited = {path for path in paths - same if _is_edited(path, made, same)}
        for path in sorted(edited):
            what = "it is not what the records give, and its other forms are"
            findings.problem(path.relative_to(root), what, f"edited; {AGAIN}")
        others += sorted(paths - same - edited)
        findings.checked[MADE] += len(same)
    if others:
        why = "older than a record, of other code, or edited; `make tables` makes those of the last plan again"
        findings.unchecked[f"tables and figures, {others[0].relative_to(root)} the first: {why}"] += len(others)


def _made(
    root: Path, records: store.Records, table: Table, names: Collection[str], findings: Findings
) -> dict[str, bytes]:
    """Return what a run writes of a plan; all that `make tables` does, which takes longer, only where that is there."""
    try:
        results = joined(records, table.plan)
        of_run = {Path(name).stem for name in names} <= {"accuracy"}
        return accuracy_files(results) if of_run else report_files(root, results)
    except UserError as error:
        findings.problem(table.where, str(error), "no table can be made of these records")
        return {}


def _is_edited(path: Path, made: Mapping[str, bytes], same: Collection[Path]) -> bool:
    """Whether only an edit explains a file: Markdown of other words, with LaTeX and HTML that the records give.

    Later records change all forms of a table. So does other code, but for markup: no word is Markdown's own.
    """
    if path.suffix != ".md" or not {path.with_suffix(".tex"), path.with_suffix(".html")} <= {*same}:
        return False
    told, given = path.read_bytes(), made[path.name]
    return told.split() != given.split() and WORDS.sub(b"", told) == WORDS.sub(b"", given)
