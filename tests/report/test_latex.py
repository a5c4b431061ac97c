"""The renderer's output is compiled by a real TeX where there is one."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from bench.report import latex
from bench.report.table import Column, Report, Row, Table
from tests.report.typeset import NASTY

UNBROKEN = (
    "a_criterion_whose_author_could_not_stop_in_time_and_went_on",
    "encoder.layers.encoder_layer_11.self_attention.out_proj",
    "folder/of--mine/that=lies-deep/in_another/criterion.py",
)
UNICODE = ("naïve Łódź Ångström", "中文 ✓", "ąę", "α → ∞", "²×–", "e\u0301", "\x07")


def report() -> Report:
    """Every kind of cell in every place: numbers, spreads, words, nothing; names and headings that are hostile."""
    names = (*NASTY, *UNICODE, " ".join(["a long name"] * 9))
    kinds = (
        "97.1 ± 0.4",
        "-0.021 ± 11.414 (2 of 3)",
        "+1.5 (-2.3 to +0.1)",
        "missing",
        "1 failed, 2 missing",
        "",
        "∞",
        "7",
    )
    columns = [
        Column("name", ""),
        Column("[x]", ""),
        *(Column(name, f"{100 - place // 3} %") for place, name in enumerate(names)),
    ]
    rows = [
        Row(
            (name, *(kinds[(place + shift) % len(kinds)] for shift in range(len(columns) - 1))),
            frozenset({2, 3, 4}),
            place == 3,
        )
        for place, name in enumerate(names)
    ]
    told = (f"5 seeds {' '.join(names)}.", *names)
    one = Table(f"x {names[3]}", " ".join(names), names[1], tuple(columns), tuple(rows), told, stub=2)
    text = Table(
        "only words", "", "", (Column("a"), Column("*b")), (Row(("[1]", "*")), Row(("", "missing"))), ("One.",)
    )
    long = Table("unbroken", "", "", (Column("a"), *map(Column, UNBROKEN)), tuple(map(_numbers, UNBROKEN)), ("One.",))
    return Report("odd", "a_b #1", "subject", (one, text, long), names, pd.DataFrame())


def _numbers(name: str) -> Row:
    return Row((name, *["0.87 ± 0.02"] * len(UNBROKEN)))


def test_a_real_tex_compiles_hostile_tables_that_fit_the_page(tmp_path: Path) -> None:
    tex = shutil.which("pdflatex")
    if tex is None or subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True).returncode:
        pytest.skip("no pdflatex with siunitx on this machine")
    head = "\\documentclass{article}\n\\usepackage{booktabs,siunitx}\n\\begin{document}\n"
    (tmp_path / "odd.tex").write_text(f"{head}{latex.document(report())}\\end{{document}}\n", encoding="utf-8")
    command = [tex, "-interaction=nonstopmode", "-halt-on-error", "odd.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert run.returncode == 0, run.stdout[-2000:]
    too_wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", run.stdout)]
    assert max(too_wide, default=0) < 2
    assert "too large for page" not in run.stdout


def test_spans_get_rules_over_their_columns() -> None:
    columns = (
        Column("criterion"),
        Column("epochs"),
        Column("top-1", "90 %"),
        Column("size", "90 %"),
        Column("top-1", "95 %"),
    )
    rows = (
        Row(("dense", "30", "97.1 ± 0.4", "2", "")),
        Row(("snip", "30", "missing", "10.5", "x"), frozenset({3}), rule=True),
    )
    lines = latex.document(
        Report("r", "e", "s", (Table("s", "", "", columns, rows, ("One.",), 2),), (), pd.DataFrame())
    )
    start = lines.index(r"\toprule")
    assert lines[start:].splitlines()[1:8] == [
        r" &  & \multicolumn{2}{c}{90 \%} & \multicolumn{1}{c}{95 \%} \\",
        r"\cmidrule(lr){3-4}\cmidrule(lr){5-5}",
        r"{criterion} & {epochs} & {top-1} & {size} & {top-1} \\",
        r"\midrule",
        r"dense & 30 & 97.1{\,\scriptsize\mdseries $\pm$ 0.4} & 2 &  \\",
        r"\midrule",
        r"snip & 30 & {missing} & \bfseries 10.5 & x \\",
    ]


def test_a_name_that_is_too_long_for_its_column_may_be_broken_after_its_punctuation() -> None:
    long, usual = "encoder.layers/encoder_layer_11=self-attention.out_proj", "a_name-of/usual=length.py"
    rows = (Row((long, "1.0")), Row((usual, "1.0")))
    one = Table("s", "", "", (Column("layer"), Column(usual)), rows, ("One.",))
    tex = latex.document(Report("r", "e", "s", (one,), (), pd.DataFrame())).replace(r"\allowbreak ", "'")
    assert "\nencoder.'layers/'encoder\\_'layer\\_'11='self-'attention.'out\\_'proj & 1.0" in tex
    assert "\na\\_name-of/usual=length.py & 1.0" in tex
    # Headings have less room.
    assert r"\strut a\_'name-'of/'usual='length.'py\strut" in tex


@pytest.mark.parametrize(
    ("text", "tex"),
    [("e\u0301", "é"), ("Łß", "Łß"), ("中", "U+4E2D"), ("ą", "U+0105"), ("\x07", "U+0007"), ("a---b", "a-{}-{}-b")],
)
def test_letters_that_plain_fonts_lack_are_named(text: str, tex: str) -> None:
    assert latex.escaped(text) == tex


def test_a_long_table_floats_in_parts() -> None:
    rows = tuple(Row((str(number), "1.0")) for number in range(100))
    one = Table("s", "", "", (Column("layer"), Column("x")), rows, ("One.",))
    tex = latex.document(Report("layers", "e", "s", (one,), (), pd.DataFrame()))
    assert re.findall(r"\\label\{(.*)\}", tex) == ["tab:e-layers-1", "tab:e-layers-2", "tab:e-layers-3"]
    assert tex.count("& 1.0") == 100
