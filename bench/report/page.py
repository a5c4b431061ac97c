"""One HTML file to open and share: leaderboard, curves, what each cell's record holds. It needs no network."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from bench.report import html as tables
from bench.report.frame import untrained
from bench.report.page_data import Book, details, overview

SCRIPTS = ("data", "table", "curves", "drawer", "start")
"""Files of the page's own script, in their order; they share one scope."""


def page(books: Sequence[Book]) -> bytes:
    """Return the page: the same books give the same bytes. Those with accuracies come first."""
    books = sorted(books, key=lambda book: untrained(book.results.frame))
    script = "\n".join(["'use strict';", "(() => {", *(_asset(f"{name}.js") for name in SCRIPTS), "})();"])
    plotly = get_plotlyjs()
    html = jinja2.Environment(autoescape=True).from_string(_asset("page.html.j2"))
    return html.render(
        style=Markup(_asset("page.css")),
        script=Markup(script),
        plotly=Markup(plotly),
        hashes=[_hash(script), _hash(plotly)],
        reports=[(book.name, _fragments(book)) for book in books if any(report.tables for report in book.reports)],
        overview=_json(overview(books)),
        details=_json(details(books)),
    ).encode()


def _fragments(book: Book) -> Markup:
    return Markup("".join(tables.fragment(report, level=3) for report in book.reports if report.tables))


def _asset(name: str) -> str:
    return files("bench.report").joinpath("assets", name).read_text("utf-8")


def _hash(script: str) -> str:
    """Return what the page's Content-Security-Policy knows a script by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _json(value: Any) -> Markup:
    """Return JSON in which no text can end its element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))
