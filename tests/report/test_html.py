from html.parser import HTMLParser

import pandas as pd

from bench.report import html
from bench.report.table import Column, Report, Row, Table
from tests.report.typeset import NASTY

SCRIPT = '<script>alert("x")</script> & \'"'


class Grid(HTMLParser):
    """The texts of a page's cells, a list a row, and how many columns each row spans."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.spans: list[int] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.spans.append(0)
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.spans[-1] += int(dict(attrs).get("colspan") or 1)

    def handle_data(self, data: str) -> None:
        if self.rows and self.tags[-1] in ("td", "th", "strong"):
            self.rows[-1][-1] += data.strip("\n")


def read(page: str) -> Grid:
    grid = Grid()
    grid.feed(page)
    return grid


def test_a_page_shows_every_text_as_it_is() -> None:
    names = (*NASTY, SCRIPT)
    columns = (Column("criterion"), Column(SCRIPT, SCRIPT), Column("b", SCRIPT), Column("alone"))
    rows = tuple(Row((name, "97.1 ± 0.4", name, ""), frozenset({1})) for name in names)
    one = Table("s", SCRIPT, SCRIPT, columns, rows, (SCRIPT,))
    grid = read(html.page(Report("r", SCRIPT, "s", (one,), (SCRIPT,), pd.DataFrame())))
    assert "script" not in grid.tags
    assert grid.rows[:2] == [["criterion", SCRIPT, "alone"], [SCRIPT, "b"]]
    assert grid.rows[2:] == [list(row.cells) for row in rows]
    assert grid.spans[:3] == [4, 2, 4]
    assert grid.tags.count("strong") == len(names)


def test_a_fragment_is_one_section() -> None:
    one = Table("s", "", "", (Column("a"), Column("b")), (Row(("x", "1")),), ("One.",))
    text = html.fragment(Report("r", "e", "s", (one,), (), pd.DataFrame()))
    assert text.startswith("<section>")
    assert text.endswith("</section>")
    assert "colspan" not in text
    assert "rowspan" not in text
