"""The files of a report's tables: Markdown, CSV, LaTeX, HTML."""

from bench.report import grid, html, latex
from bench.report.table import Report


def files(report: Report) -> dict[str, bytes]:
    """Return file name -> content; nothing where the report has no table."""
    if not report.tables:
        return {}
    texts = {"md": grid.document(report), "csv": csv(report), "tex": latex.document(report), "html": html.page(report)}
    return {f"{report.name}.{kind}": text.encode() for kind, text in texts.items()}


def csv(report: Report) -> str:
    """Return the tidy frame as CSV, unrounded."""
    return report.tidy.to_csv(index=False, lineterminator="\n")
