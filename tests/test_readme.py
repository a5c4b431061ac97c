"""What the README shows is true: its plugin passes the contract, its table is the published one."""

import re
from pathlib import Path

import pandas as pd

from bench.contract import check

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_plugin_in_the_readme_passes_the_contract(tmp_path: Path) -> None:
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "def score(" in b)
    file = tmp_path / "saliency.py"
    file.write_text(block)
    cases = check(str(file))
    assert {case.status for case in cases} == {"ok"}, cases
    assert len([line for line in block.splitlines() if line.strip()]) <= 10


def test_the_tables_in_the_readme_are_the_published_ones() -> None:
    published = "".join(
        (ROOT / f"results/published/{name}/accuracy.md").read_text(encoding="utf-8") for name in ("digits", "book_grid")
    )
    rows = [line for line in published.splitlines() if line.startswith("|")]
    assert len(rows) > 10
    assert all(row in README for row in rows)


def test_the_verdicts_in_the_findings_are_those_of_the_published_claims() -> None:
    text = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
    told = [line.strip("| ").split(" | ") for line in text.partition("## The verdicts")[2].splitlines()]
    verdicts = {(cells[0], cells[1]): cells[-1] for cells in told if len(cells) > 2}
    judged = [pd.read_csv(path) for path in sorted((ROOT / "results/published").glob("*/claims.csv"))]
    found = pd.concat(judged)
    assert {(row.claim, row.model): row.verdict for row in found.itertuples()}.items() <= verdicts.items()
