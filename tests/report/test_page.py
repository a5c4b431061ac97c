import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.report.page import page
from bench.report.page_data import Book, overview
from bench.report.table import Column, Report, Row, Table
from tests.browser import Browser, chromium, needs_chromium
from tests.report.conftest import Out, pruned

HOSTILE = "<img src=x onerror=alert(1)>'\"&amp;</script><!-- $x$ `a` {{b}} %{c} <b>z</b>"
SPARSITIES = (0.5, 0.9, 0.98)


def details(cell: dict[str, Any]) -> dict[str, Any]:
    """Return what a record of this cell would hold beside its columns."""
    epoch = {"lr": 0.1, "train/loss": 0.5, "val/loss": 0.25, "val/top1": 90.0}
    stages = {"train": 3, "finetune": 2}
    return {
        "config": {"recipe": {"name": "short", "lr": 0.1}, "seed": cell["seed"], "criterion_options": {}},
        "curves": [{"stage": s, "epoch": n + 1, **epoch} for s, count in stages.items() for n in range(count)],
        "layers": [{"name": f"{HOSTILE}.{n}", "kept": 5 * n, "total": 50} for n in range(1, 4)],
        "histogram": {"low": -4.0, "high": 0.0, "kept": [0, 5], "removed": [7, 1], "zero": 2, "negative": 1},
    }


def book(root: Path) -> Book:
    """Return two panels (global and layer) of two criteria, controls, a missing, a failed and a hostile cell."""
    out = Out(root)
    cells = out.dense(99.0, 98.0, 97.0)
    for criterion, top1 in (("taylor", 98.0), (HOSTILE, 90.0)):
        for sparsity in SPARSITIES:
            cells += out.seeds(criterion, sparsity, top1, top1 - 20 * sparsity, top1 - 1)
    cells += out.seeds("snip", 0.9, 80.0, None, scope="layer", model=HOSTILE)
    cells += out.seeds("snip", 0.5, None, scope="layer", model=HOSTILE)
    failed = pruned("snip", 0.98, 0, scope="layer", model=HOSTILE)
    out.record(failed)
    out.plan(*cells, failed, *out.controls(0, model=HOSTILE))
    recorded = out.results().frame.query("status == 'ok'").to_dict("records")
    results = out.results(details={cell["cell"]: details(cell) for cell in recorded})
    columns = (Column("claim"), Column(HOSTILE))
    claims = Table("s", "", HOSTILE, columns, (Row((HOSTILE, "holds")),), (HOSTILE,))
    reports = (Report("claims", HOSTILE, "s", (claims,), (), pd.DataFrame()),)
    return Book(HOSTILE, results, reports)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Book, Path]:
    folder = tmp_path_factory.mktemp("page")
    made = book(folder)
    other = Book("without details", replace(made.results, details={}))
    (folder / "page.html").write_bytes(page([made, other]))
    return made, folder / "page.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


def rows(browser: Browser) -> list[list[str]]:
    """Return the texts of the leaderboard's cells."""
    return list(
        browser.run(
            "return [...document.querySelectorAll('#scroll tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
        )
    )


def claims(browser: Browser) -> list[str]:
    """Return the texts of the reports that are shown."""
    return list(
        browser.run("return [...document.querySelectorAll('.report')].filter(r => !r.hidden).map(r => r.innerText)")
    )


def drawer(browser: Browser) -> str | None:
    """Return the drawer's text, None where it is closed."""
    text: str | None = browser.run("return drawer.open ? drawer.innerText : null")
    return text


def choose(browser: Browser, name: str, value: str) -> None:
    browser.run(
        f"const field = document.querySelector('[name={name}]'); field.value = {json.dumps(value)};"
        "field.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    browser.settle()


def test_the_same_records_give_the_same_page_and_no_text_ends_its_element(built: tuple[Book, Path]) -> None:
    made, path = built
    html = path.read_text(encoding="utf-8")
    assert page([made, Book("without details", replace(made.results, details={}))]).decode() == html
    assert html.count("</script>") == 4
    assert "<img" not in html.split("plotly.js v")[0]


def test_networks_of_one_panel_are_each_compared_with_their_own_dense_net(out: Out) -> None:
    cells = []
    for model, dense in (("small", (60.0, 62.0)), ("large", (98.0, 96.0))):
        controls = out.dense(*dense, longer=99.0, model=model)
        for cell in controls:
            top1 = dense[cell["seed"]]
            out.record(cell, top1 if cell["criterion"] == "dense" else 99.0, top1_dense=top1)
        pruned = [out.pruned("taylor", target, seed, model=model) for target in (0.5, None) for seed in (0, 1)]
        for cell in pruned[:1] + pruned[2:]:  # at 50 % one seed is there, and compared with its own dense net
            out.record(cell, dense[cell["seed"]] - 1, top1_dense=dense[cell["seed"]], sparsity=0.5)
        cells += [*controls, *pruned, *out.seeds("snip", 0.5, None, model=model)]
    out.plan(*cells, vary=["model"])
    groups = overview([Book("two", out.results())])["groups"]
    found = {(group["row"], group["column"]): group["against_dense"] for group in groups}
    for model, longer in (("small", 38), ("large", 2)):
        assert found.pop((f"dense (model={model})", "0 %")) is None
        assert found.pop((f"dense_longer (model={model})", "0 %")) == longer
        assert found.pop((f"taylor (model={model})", "50 %")) == -1
        assert found.pop((f"taylor (model={model})", "converged")) == -1
        assert found.pop((f"snip (model={model})", "50 %")) is None
    assert not found


@needs_chromium
def test_it_loads_without_a_word_on_the_console_and_asks_for_nothing_else(
    browser: Browser, built: tuple[Book, Path]
) -> None:
    browser.open(built[1])
    assert browser.problems == []
    assert browser.requests == [built[1].as_uri()]
    # A page that tried is held back.
    blocked = browser.run("return await fetch('https://example.org').then(() => 'sent', () => 'held back')")
    assert blocked == "held back"


@needs_chromium
def test_filters_and_headings_change_the_table(browser: Browser, built: tuple[Book, Path]) -> None:
    browser.open(built[1])
    everything = rows(browser)
    choose(browser, "sparsity", "90 %")
    chosen = rows(browser)
    assert 0 < len(chosen) < len(everything)
    assert chosen == [row for row in everything if "90 %" in row]
    choose(browser, "criterion", "TAYL")
    assert [row[0] for row in rows(browser)] == ["taylor", "taylor"]
    # The address says what the reader sees.
    assert browser.run("return location.hash") == "#sparsity=90+%25&criterion=TAYL"
    choose(browser, "criterion", "no such")
    assert rows(browser) == []
    browser.click("[type=reset]")
    assert rows(browser) == everything
    assert [text.count("holds") for text in claims(browser)] == [1]
    choose(browser, "experiment", "without details")
    assert claims(browser) == []
    browser.run("[...document.querySelectorAll('thead button')].find(b => b.textContent.includes('accuracy')).click()")
    values = [row[2] for row in rows(browser)]
    numbers = [float(shown.split()[0]) for shown in values if shown[0].isdigit()]
    assert numbers[0] == 98.0
    assert numbers == sorted(numbers, reverse=True)
    assert {*values[len(numbers) :]} == {"failed", "missing"}
    assert browser.problems == []


@needs_chromium
def test_a_click_and_enter_open_a_cell_and_escape_closes_it(browser: Browser, built: tuple[Book, Path]) -> None:
    browser.open(built[1])
    assert drawer(browser) is None
    browser.click("tbody tr:nth-child(3) td.number")
    clicked = drawer(browser)
    assert clicked
    assert "taylor at 50 %" in clicked
    browser.press("Escape")
    assert drawer(browser) is None
    browser.run("document.querySelector('tbody tr:nth-child(3) button').focus()")
    browser.press("Enter")
    assert drawer(browser) == clicked
    browser.click("nav button:nth-child(2)")
    assert browser.run("return document.querySelector('nav [aria-pressed=true]').textContent") == "seed 1: 88.0"
    # The link leads to this very cell.
    address = browser.run("return location.hash")
    browser.open(built[1], address)
    assert "seed 1: 88.0" in browser.run("return document.querySelector('nav [aria-pressed=true]').textContent")
    assert browser.problems == []


@needs_chromium
def test_the_drawer_shows_command_record_densities_curves_and_scores(
    browser: Browser, built: tuple[Book, Path]
) -> None:
    browser.open(built[1])
    browser.click("tbody tr:nth-child(3) td.number")
    line = browser.run("return document.querySelector('pre').textContent")
    words = shlex.split(line)
    assert words[:4] == ["python", "-m", "bench", "run"]
    assert {"experiment=digits", "criterion=taylor", "sparsity=0.5", "seed=0", "scope=global", "finetune=low"} <= {
        *words
    }
    assert "finetune_epochs=10" in words
    drawn = browser.run(
        "return [...drawer.querySelectorAll('.js-plotly-plot')].map(p => p.data.map(t => [t.name, t.x, t.y]))"
    )
    bars, curves, histogram = drawn
    assert bars[0][1] == [10, 20, 30]
    assert {name: (len(x), y[0]) for name, x, y in curves} == {
        "train/loss": (5, 0.5),
        "val/loss": (5, 0.25),
        "val/top1": (5, 90),
    }
    assert [(name, y) for name, _, y in histogram] == [("removed", [7, 1]), ("kept", [0, 5])]
    text = drawer(browser)
    assert text
    assert "2 scores are 0" in text
    assert "10 % (5 of 50)" in text
    choose(browser, "experiment", "without details")
    browser.run("location.hash = location.hash.replace(/cell=.*(%2F|\\/)/, 'cell=without+details$1')")
    browser.settle()
    assert "No densities and no curves" in str(drawer(browser))
    assert browser.problems == []


@needs_chromium
def test_names_with_markup_are_shown_as_text(browser: Browser, built: tuple[Book, Path]) -> None:
    browser.open(built[1])
    row = next(number for number, row in enumerate(rows(browser)) if row[0] == HOSTILE)
    assert browser.run("return document.querySelectorAll('img').length") == 0
    assert claims(browser)[0].count(HOSTILE) == 5
    browser.run("document.querySelector('#curves').scrollIntoView()")
    browser.settle()
    assert HOSTILE in browser.run("return [...document.querySelectorAll('.legendtext')].map(t => t.textContent)")
    browser.click(f"tbody tr:nth-child({row + 1}) td.number")
    assert f"{HOSTILE} at 50 %" in str(drawer(browser))
    ticks = browser.run("return [...drawer.querySelectorAll('.yaxislayer-above text')].map(t => t.textContent)")
    assert ticks[:3] == [f"{HOSTILE}.{n}" for n in (3, 2, 1)]
    words = shlex.split(browser.run("return document.querySelector('pre').textContent"))
    quoted = HOSTILE.replace("'", r"\'")
    assert f"criterion='{quoted}.py'" in words
    assert browser.problems == []


@needs_chromium
def test_bands_are_one_standard_deviation_and_controls_are_lines(browser: Browser, built: tuple[Book, Path]) -> None:
    made, path = built
    browser.open(path)
    browser.run("document.querySelector('#curves').scrollIntoView()")
    browser.settle()
    traces = browser.run("return document.querySelector('.plot').data")
    band, line = (trace for trace in traces if trace["legendgroup"] == "taylor")
    cells = made.results.frame[(made.results.frame["criterion"] == "taylor")]
    by_target = cells.groupby("sparsity_target")["top1"].agg(["mean", "std"]).sort_index(ascending=False)
    assert line["x"] == pytest.approx([2, 10, 50])
    assert line["y"] == pytest.approx(list(by_target["mean"]), rel=1e-4)
    upper = list(by_target["mean"] + by_target["std"])
    assert band["y"][:3] == pytest.approx(upper, rel=1e-4)
    assert browser.run("return document.querySelector('.plot .fills path').getBoundingClientRect().height") > 5
    dense = next(t for t in traces if t["name"] == "dense")
    assert dense["mode"] == "lines"
    assert dense["y"] == pytest.approx([98, 98])
    assert line["line"]["color"] == "#0072B2"
    browser.run("axis.value = 'flops'; axis.dispatchEvent(new Event('change', {bubbles: true}))")
    browser.settle()
    title, drawn = browser.run("const p = document.querySelector('.plot'); return [p.layout.xaxis.title.text, p.data]")
    assert title.startswith("FLOPs")
    # All of these cells have the same FLOPs: rows stand beside each other around them.
    places = {trace["legendgroup"]: {*trace["x"]} for trace in drawn if trace["mode"] == "lines+markers"}
    assert {len(xs) for xs in places.values()} == {1}
    assert len({x for xs in places.values() for x in xs}) == 2
    assert all(4000 < x < 6250 for xs in places.values() for x in xs)


@needs_chromium
def test_the_error_has_a_log_axis_only_where_good_nets_collapse(browser: Browser, tmp_path: Path) -> None:
    out = Out(tmp_path)
    cells = []
    for model, dense, values in (("good", 98.0, (97.0, 20.0)), ("moderate", 77.0, (74.0, 54.0))):
        cells += out.dense(dense, longer=dense, model=model)
        for sparsity, top1 in zip((0.5, 0.9), values, strict=True):
            cells += out.seeds("taylor", sparsity, top1, model=model)
    out.plan(*cells)
    (tmp_path / "page.html").write_bytes(page([Book("two", out.results())]))
    browser.open(tmp_path / "page.html")
    browser.run("document.querySelector('#curves').scrollIntoView()")
    browser.settle()
    good, moderate = browser.run(
        "return [...document.querySelectorAll('.plot')].map(plot => [plot.layout.yaxis.type ?? 'linear',"
        "[...plot.querySelectorAll('.yaxislayer-above text')].map(tick => tick.textContent)])"
    )
    assert good == ["log", ["98", "95", "90", "85", "80", "70", "60", "40", "20"]]
    assert moderate[0] == "linear"
    assert len(moderate[1]) >= 4
