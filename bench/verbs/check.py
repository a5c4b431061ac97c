"""`check`: the contract suite on one criterion, before any training."""

from bench import contract
from bench.errors import UserError


def main(arguments: list[str]) -> int:
    """Print each case in words; return 1 where one has failed."""
    if len(arguments) != 1:
        raise UserError("check takes one criterion: check path/to/mine.py, or check taylor")
    cases = contract.check(arguments[0].removeprefix("criterion="))
    print(contract.report(cases))
    return 1 if any(case.status == "failed" for case in cases) else 0
