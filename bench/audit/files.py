"""Hashes of everything that is stored, and files that no record names."""

import re

from bench import store
from bench.audit.evidence import Evidence
from bench.audit.findings import Findings

STAGE = re.compile(r"(dense|dense_read|scores|early|round|oracle)-[0-9a-f]{16}(-\d+)*")
UNFINISHED = (".resume", ".lock")


def check(evidence: Evidence, findings: Findings) -> None:
    """Recompute the hash of every artefact; name what lies beside them."""
    for folder in [*(entry.folder for entry in evidence.entries if entry.folder), *evidence.stages]:
        where = folder.relative_to(evidence.root)
        try:
            record = store.read_record(folder)
            assert record is not None  # it was there a moment ago
            names = [*record["artefacts"]]
            for name in names:
                store.read_artefact(folder, name)
        except store.CorruptError as error:
            findings.problem(where, str(error), f"it is not what was committed; remove {folder} and run again")
            continue
        findings.checked["artefacts by their hash"] += len(names)
        failed = record.get("columns", {}).get("status") == "failed"
        for path in sorted(folder.iterdir()):
            known = path.name in (store.RECORD, *names) or path.suffix in UNFINISHED or ".tmp-" in path.name
            if not known and not failed:  # a failed cell may keep what it wrote before it failed
                findings.problem(f"{where}/{path.name}", "no record names it", "a second result of one configuration?")
    for folder in evidence.stages:
        if not STAGE.fullmatch(folder.name):
            findings.problem(
                f"stages/{folder.name}", "no cell reads such work", "a second result of one configuration?"
            )
