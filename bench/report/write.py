"""The files of a report."""

from pathlib import Path

from bench import store
from bench.report import figure, tables
from bench.report.frame import Results


def table_folder(root: Path, results: Results) -> Path:
    """Return where the report of a plan goes: OUT/tables/EXPERIMENT-HASH."""
    return root / "tables" / f"{results.plan['experiment']}-{results.plan['hash']}"


def write(results: Results, folder: Path) -> list[Path]:
    """Write accuracy.md, .csv, .tex, .pdf and .png and comparisons.md and .csv, each whole or not at all.

    The same records give the same bytes.
    """
    # It imports scipy, which commands that write nothing need not wait for.
    from bench.report import comparisons

    texts = {"md": tables.markdown(results), "csv": tables.csv(results), "tex": tables.latex(results)}
    paths = {folder / f"accuracy.{kind}": text for kind, text in texts.items()}
    paths |= {folder / "comparisons.md": comparisons.markdown(results)}
    paths |= {folder / "comparisons.csv": comparisons.csv(results)}
    for path, text in paths.items():
        store.write(path, text.encode())
    return [*paths, *figure.draw(results, folder)]
