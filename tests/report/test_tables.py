import io
import json
import re
import string
from statistics import mean, stdev

import pandas as pd
import pytest

from bench.report import tables
from tests.report.conftest import Out, written
from tests.report.typeset import NASTY, cells_of, typeset


@pytest.fixture
def two_criteria(out: Out) -> Out:
    out.plan(
        *out.dense(98.0, 98.4),
        *out.seeds("taylor", 0.5, 97.0, 97.6),
        *out.seeds("taylor", 0.985, 80.0, None),
        *out.seeds("snip", 0.5, 96.0, 96.0),
        *out.seeds("snip", 0.985, 80.5, 81.5),
    )
    return out


def test_text_lines_up_and_marks_the_best(two_criteria: Out) -> None:
    assert tables.text(two_criteria.results()).splitlines()[:12] == [
        "digits: top-1 test accuracy (%) by target sparsity",
        "",
        "Digits, digits_net, recipe short; granularity=weight, scope=global, schedule=one_shot, when=trained,",
        "finetune=low, finetune_epochs=10, device=cpu",
        "",
        "criterion    epochs        0 %        50 %         98.5 %",
        "dense            30 98.2 ± 0.3",
        "dense_longer     40 98.0 ± 0.0",
        "taylor           40             97.3 ± 0.4* 80.0 (1 of 2)",
        "snip             40             96.0 ± 0.0     81.0 ± 0.7*",
        "",
        "2 seeds (0, 1).",
    ]


def test_text_fits_a_terminal(two_criteria: Out) -> None:
    assert max(map(len, tables.text(two_criteria.results()).splitlines())) <= tables.WIDTH


def test_markdown_has_one_table_a_panel(two_criteria: Out) -> None:
    lines = written(two_criteria.results(), "md").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0] == ["criterion", "epochs", "0 %", "50 %", "98.5 %"]
    assert rows[1][1].endswith(":")
    assert rows[2] == ["dense", "30", "98.2 ± 0.3", "", ""]
    assert rows[4] == ["taylor", "40", "", "**97.3 ± 0.4**", "80.0 (1 of 2)"]
    assert rows[5] == ["snip", "40", "", "96.0 ± 0.0", "**81.0 ± 0.7**"]
    assert len(rows) == 6


def test_panels_are_told_apart_everywhere(out: Out) -> None:
    cells = out.seeds("taylor", 0.9, 97.0), out.seeds("taylor", 0.9, 96.0, scope="layer")
    out.plan(*out.dense(98.0), *cells[0], *cells[1])
    results = out.results()
    for text in (tables.text(results), written(results, "md"), written(results, "csv")):
        assert "scope=global" in text
        assert "scope=layer" in text
    tex = written(results, "tex")
    assert tex.count(r"\begin{table}") == tex.count(r"\end{table}") == 2
    assert r"\label{tab:digits-1}" in tex
    assert r"\label{tab:digits-2}" in tex


def test_latex_says_what_the_other_forms_say(two_criteria: Out) -> None:
    lines = written(two_criteria.results(), "tex").splitlines()
    rows = [cells_of(line) for line in lines if line.endswith(r"\\")]
    assert rows == [
        ["criterion", "epochs", "0 %", "50 %", "98.5 %"],
        ["dense", "30", "98.2 ± 0.3", "", ""],
        ["dense_longer", "40", "98.0 ± 0.0", "", ""],
        ["taylor", "40", "", "**97.3 ± 0.4**", "80.0 (1 of 2)"],
        ["snip", "40", "", "96.0 ± 0.0", "**81.0 ± 0.7**"],
    ]
    rules = [line for line in lines if line in (r"\toprule", r"\midrule", r"\bottomrule")]
    assert rules == [r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"]
    caption = next(line for line in lines if line.startswith(r"\caption{"))
    assert "Digits, digits_net, recipe short; granularity=weight" in typeset(caption[9:-1])
    assert caption.endswith("2 seeds (0, 1).}")
    assert r"\label{tab:digits}" in lines
    (tabular,) = (line for line in lines if line.startswith(r"\begin{tabular}"))
    number = r"S[table-format=2.1,table-space-text-post={\,\scriptsize\mdseries $\pm$ 0.4}]"
    assert number in tabular
    assert tabular.startswith(r"\begin{tabular}{lS[table-format=2]S")


def test_every_name_survives_latex(out: Out) -> None:
    options = "{a_b: 50%}"
    names = {f"taylor ({options[1:-1].replace(': ', '=')})", *NASTY}
    cells = [out.pruned(name, 0.9, 0) for name in NASTY]
    out.plan(
        *cells,
        out.pruned("taylor", 0.9, 0, criterion_options=options),
        experiment="my_exp#1",
        titles={"digits": "A & B_50%"},
        recipes={"short": "the 5% of #2, x_y"},
    )
    out.record(cells[0], reason="50% of {GPU_0} & ~all\nof it")
    tex = written(out.results(), "tex")
    rows = [cells_of(line) for line in tex.splitlines() if line.endswith(r"\\")]
    assert {row[0] for row in rows[1:]} == names
    caption = re.search(r"\\caption\{(.*)\}", tex)
    below = re.search(r"\{\\footnotesize (.*)\}", tex)
    assert caption
    assert below
    assert "A & B_50%, digits_net" in typeset(caption[1])
    assert "(a_b at 90 %, seed 0): 50% of {GPU_0} & ~all of it." in typeset(below[1])
    assert "Recipe short: the 5% of #2, x_y." in typeset(below[1])
    assert r"\label{tab:my-exp-1}" in tex


def test_every_name_survives_markdown(out: Out) -> None:
    out.plan(*(out.pruned(name, 0.9, 0) for name in NASTY))
    lines = [line for line in written(out.results(), "md").splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1].strip() for line in lines[2:]]
    assert {re.sub(rf"\\([{re.escape(string.punctuation)}])", r"\1", cell) for cell in cells} == set(NASTY)
    assert {"p\\|q", "\\*st", "\\_in\\_", "a_b"} <= set(cells)


def test_csv_reads_back_as_the_unrounded_means(two_criteria: Out) -> None:
    frame = pd.read_csv(io.StringIO(written(two_criteria.results(), "csv")))
    assert tuple(frame.columns) == tables.TIDY
    assert len(frame) == 6
    row = frame.query("row == 'taylor' and sparsity_target == 0.5").iloc[0]
    assert row["top1"] == mean((97.0, 97.6))
    assert row["top1_std"] == pytest.approx(stdev((97.0, 97.6)), rel=1e-15)
    assert (row["n"], row["n_planned"], row["top1_pruned"], row["top1_pruned_bn"]) == (2, 2, 50, 60)
    assert (row["sparsity_effective"], row["collapsed_layers"], row["params"], row["flops"]) == (0.5, 0, 1000, 5000)
    assert (row["dataset"], row["scope"], row["finetune_epochs"]) == ("digits", "global", 10)
    partly = frame.query("row == 'taylor' and sparsity_target == 0.985").iloc[0]
    assert (partly["top1"], partly["n"], partly["missing"]) == (80.0, 1, 1)


def test_the_table_for_a_logger_is_plain_json(two_criteria: Out) -> None:
    results = two_criteria.results()
    columns, rows = tables.table(results)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert columns == list(tables.TIDY)
    frame = tables.tidy(results)
    assert [row[columns.index("top1")] for row in rows] == frame["top1"].tolist()
    assert [row[columns.index("scope")] for row in rows][:2] == [None, None]


def test_nothing_to_show_yet_is_no_error(out: Out) -> None:
    out.plan(*out.controls(0), out.pruned("taylor", 0.9, 0))
    results = out.results()
    for text in (tables.text(results), written(results, "md"), written(results, "tex")):
        assert "missing" in text
    assert len(tables.tidy(results)) == 3
