"""Tables and figures of published results, made again from their records and compared byte for byte."""

from pathlib import Path

import matplotlib as mpl

from bench import store
from bench.audit.evidence import Evidence
from bench.audit.findings import Findings
from bench.errors import UserError
from bench.report.write import UNITS, folder_files

OWN = ("plan.json", "latency.json", store.RECORDS, UNITS)


def check(evidence: Evidence, findings: Findings) -> None:
    """Compare every file of a published folder with what its records give; runs' own tables are made at each run."""
    root = evidence.root
    if not any((root / name).is_file() for name in (store.RECORDS, UNITS)):
        return
    try:
        made = folder_files(root)
    except UserError as error:
        findings.problem(root.name, str(error), "no table can be made of these records")
        return
    for name in sorted({*made} - {path.name for path in root.iterdir()}):
        findings.problem(f"{root.name}/{name}", "it is missing", "`make tables` makes it again")
    for path in sorted(path for path in root.iterdir() if path.name not in OWN):
        if path.name not in made:
            findings.unchecked[f"files that no report makes, {root.name}/{path.name} the first"] += 1
        elif path.read_bytes() == made[path.name]:
            findings.checked["tables and figures, made again"] += 1
        elif path.suffix in (".png", ".pdf") and not _of_this_matplotlib(path):
            findings.unchecked["figures drawn by another version of matplotlib"] += 1
        else:
            what = "it is not what the records give"
            findings.problem(
                f"{root.name}/{path.name}", what, "edited, or made from others; `make tables` makes it again"
            )


def _of_this_matplotlib(path: Path) -> bool:
    """Whether this version wrote a figure: it says so in each file."""
    return f"{mpl.__version__}".encode() in path.read_bytes()
