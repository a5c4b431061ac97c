"""`check`: the contract suite on one criterion, before any training."""

import tempfile
from pathlib import Path

from bench.errors import UserError
from bench.launch import Pool


def main(arguments: list[str]) -> int:
    """Print each case in words; return 1 where one has failed."""
    if len(arguments) != 1 or not arguments[0].removeprefix("criterion="):
        raise UserError("check takes one criterion: check path/to/mine.py, or check taylor")
    # In a process of its own: a criterion that ends its process must not pass for one that says nothing.
    with tempfile.TemporaryDirectory() as folder, Pool(Path(folder), threads=1, debug=False) as pool:
        report, failed = pool.ask("contract", arguments[0].removeprefix("criterion="))
    print(report)
    return 1 if failed else 0
