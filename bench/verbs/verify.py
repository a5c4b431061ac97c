"""`verify`: everything that is stored still holds what was committed."""

import os
from pathlib import Path

from bench import store
from bench.errors import UserError


def main(arguments: list[str]) -> int:
    """Recompute all hashes below a folder of results; name what does not hold and return 1."""
    if len(arguments) > 1:
        raise UserError("verify takes one folder, e.g. verify results/runs")
    root = Path(arguments[0].removeprefix("out=") if arguments else "results/runs")
    if not root.is_dir():
        raise UserError(f"no results in {root}: the folder does not exist")
    records = artefacts = 0
    problems = []
    for folder in sorted(
        path.parent for path in [*root.glob("cells/*/record.json"), *root.glob("stages/*/record.json")]
    ):
        try:
            record = store.read_record(folder)
            for name in record["artefacts"] if record else ():
                store.read_artefact(folder, name)
                artefacts += 1
            records += 1
        except store.CorruptError as error:
            problems.append(str(error))
    print(*problems, f"{records} records and {artefacts} artefacts hold, {len(problems)} do not", sep=os.linesep)
    return 1 if problems else 0
