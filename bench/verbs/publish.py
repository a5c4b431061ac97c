"""`publish`: a plan's records and report as one folder that can be committed and made again from itself."""

import hashlib
import io
import json
import re
from pathlib import Path

from bench import store
from bench.errors import UserError
from bench.report import frame
from bench.report.write import write

PUBLISHED = Path("results/published")


def main(arguments: list[str]) -> int:
    """Write results/published/NAME: plan.json, records.parquet and the report; incomplete plans are refused."""
    names = [argument for argument in arguments if "=" not in argument]
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if len(names) != 1 or not re.fullmatch(r"\w[\w.-]*", names[0]) or set(options) - {"out", "experiment", "debug"}:
        raise UserError("publish takes a name, and out=DIR or experiment=NAME: publish digits")
    results = frame.tabulate(Path(options.get("out", "results/runs")), options.get("experiment"))
    missing = results.frame[results.frame["status"] == "missing"]
    if len(missing):
        raise UserError(
            f"{len(missing)} of {len(results.frame)} cells are missing; run the experiment to its end first"
        )
    folder = PUBLISHED / names[0]
    buffer = io.BytesIO()
    results.frame.to_parquet(buffer, index=False)
    plan = results.plan | {"records_sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    store.write(folder / store.RECORDS, buffer.getvalue())
    store.write(folder / "plan.json", (json.dumps(plan, indent=1) + "\n").encode())
    print(*write(frame.tabulate(folder), folder), sep="\n")
    return 0
