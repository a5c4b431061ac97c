"""`verify`: everything that is stored still holds what was committed."""

from pathlib import Path

from bench import store
from bench.errors import UserError


def main(arguments: list[str]) -> int:
    """Recompute all hashes of a folder of results; name what does not hold and return 1."""
    if len(arguments) > 1:
        raise UserError("verify takes one folder, e.g. verify results/runs")
    root = Path(arguments[0].removeprefix("out=") if arguments else "results/runs")
    if not root.is_dir():
        raise UserError(f"no results in {root}: the folder does not exist")
    if (root / store.RECORDS).is_file():
        store.check_published(root)
        print(f"{root / store.RECORDS} holds")
        return 0
    folders = sorted(path.parent for kind in ("cells", "stages") for path in root.glob(f"{kind}/*/{store.RECORD}"))
    if not folders:
        raise UserError(f"no results in {root}: it holds no record")
    problems = [line for folder in folders for line in _problems(folder)]
    print(*problems, f"{len(folders)} records looked at, {len(problems)} problems", sep="\n")
    return 1 if problems else 0


def _problems(folder: Path) -> list[str]:
    try:
        record = store.read_record(folder)
    except store.CorruptError as error:
        return [str(error)]
    problems = []
    for name in record["artefacts"] if record else ():
        try:
            store.read_artefact(folder, name)
        except store.CorruptError as error:
            problems.append(str(error))
    return problems
