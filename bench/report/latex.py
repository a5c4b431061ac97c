"""Reports in LaTeX (packages booktabs and siunitx 3): numbers are columns of type S, every text is escaped."""

import re
import unicodedata

from bench.report.table import Report, Table

NEEDS = r"% needs \usepackage{booktabs} and \usepackage{siunitx} (version 3)"

ROOM = 340.0
"""Points of a line from which a table is folded: the narrowest text width in use (article, LNCS) is 345."""

ROWS = 42
"""Rows of a page; pieces of a table that have more together float apart."""

SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    # Without T1 fonts these three print as other characters.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # At the start of a row they would be read as arguments of the line break before it.
    "[": "{[}",
    "*": "{*}",
    "±": r"$\pm$",
    "²": "$^2$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "–": r"\textendash{}",
}
ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327"
"""Those that any font sets above or below a letter."""
LETTERS = "ßÆæØøŒœŁłı"

NUMBER = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?((?: (?:±|\(|at ).*)?)")
"""A cell that is lined up at its decimal point: sign, digits, decimals, and what follows in a smaller size."""

SETUP = (
    r"\sisetup{mode=match,reset-text-series=false,text-series-to-math=true,retain-explicit-plus,group-digits=integer}"
)
"""Bold rows are bold in S columns, too; a difference keeps its plus."""

SIZE, SMALL, GAP = 8.0, 7.0, 5.0
"""Points of \\footnotesize and of \\scriptsize, and between two columns."""
NAME, HEADING = 130.0, 75.0
"""Points from which the name of a row, or of a column, takes several lines."""
NARROW, WIDE = " .,:;|!'()[]-_/fijlrt", "mwMW±×∞%+=<>"
"""Characters of about a third of the size and of more than four fifths; others take half."""


def document(report: Report) -> str:
    """Return a `table` environment a table, more where it is longer than a page."""
    floats = [(table, group) for table in report.tables for group in _pages(_pieces(table))]
    slug = re.sub(r"[^a-z0-9]+", "-", report.experiment.lower()).strip("-")
    slug += "" if report.name == "accuracy" else f"-{report.name}"
    labels = [f"tab:{slug}" + (f"-{number}" if len(floats) > 1 else "") for number in range(1, len(floats) + 1)]
    parts = [_float(table, group, label, report.legend) for (table, group), label in zip(floats, labels, strict=True)]
    return "\n".join([NEEDS, *parts])


def escaped(text: str) -> str:
    """Return what prints the text; a letter that plain fonts lack is printed as its code point, `U+4E2D`."""
    plain = unicodedata.normalize("NFC", " ".join(text.split()))
    return re.sub("-(?=-)", "-{}", "".join(map(_character, plain)))


def _breakable(text: str, room: float) -> str:
    """Return what prints the text; words of more than `room` points can be broken after their punctuation."""
    words = [(escaped(word), _points(word, SIZE) > room) for word in text.split()]
    return " ".join(re.sub(r"(\\_|[./=-])(?=.)", r"\1\\allowbreak ", word) if long else word for word, long in words)


def _character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    base, accents = (parts := unicodedata.normalize("NFD", character))[0], parts[1:]
    plain = base.isascii() and base.isprintable() and len(accents) < 2 and {*accents} <= {*ACCENTS}
    return character if plain or character in LETTERS else f"U+{ord(character):04X}"


def _float(table: Table, group: list[Table], label: str, legend: tuple[str, ...]) -> str:
    subject = f"{table.subject[0].upper()}{table.subject[1:]}"
    about = "; ".join(filter(None, (table.about, table.title)))
    below = escaped(" ".join([*table.notes[1:], *legend]))
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\footnotesize\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}{SETUP}",
        rf"\caption{{{escaped(f'{subject}: {about}. {table.notes[0]}')}}}",
        rf"\label{{{label}}}",
        "\n\\par\\medskip\n".join(map(_tabular, group)),
        rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {below}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tabular(table: Table) -> str:
    numbers = [_has_numbers(table, number) for number in range(len(table.columns))]
    rows = []
    for place, row in enumerate(table.rows):
        cells = [_cell(text, number in row.best, numbers[number]) for number, text in enumerate(row.cells)]
        rows += [r"\midrule"] * (row.rule and place > 0) + [" & ".join(cells) + r" \\"]
    names = [_heading(column.name) for column in table.columns]
    lines = [
        rf"\begin{{tabular}}{{{''.join(_column(table, number) for number in range(len(table.columns)))}}}",
        *(r"\toprule", *_spans(table), " & ".join(names) + r" \\", r"\midrule"),
        *(*rows, r"\bottomrule", r"\end{tabular}"),
    ]
    return "\n".join(lines)


def _heading(name: str) -> str:
    """Return a column's name in braces, in several lines where it is long."""
    if _points(name, SIZE) <= HEADING:
        return f"{{{escaped(name)}}}"
    return rf"{{\parbox[b]{{{HEADING:g}pt}}{{\raggedright\strut {_breakable(name, HEADING)}\strut}}}}"


def _spans(table: Table) -> list[str]:
    """Return the headings over several columns and the rules below them."""
    spans = table.spans()
    if not any(span for span, _ in spans):
        return []
    cells = [rf"\multicolumn{{{len(own)}}}{{c}}{{{escaped(span)}}}" for span, own in spans]
    rules = [rf"\cmidrule(lr){{{own[0] + 1}-{own[-1] + 1}}}" for span, own in spans if span]
    return [" & ".join([""] * table.stub + cells) + r" \\", "".join(rules)]


def _column(table: Table, number: int) -> str:
    """Return a column's type: S with room for its longest number and what follows it, else l or r."""
    if number == 0:
        long = any(_points(text, SIZE) > NAME for text in table.column(0))
        return rf">{{\raggedright\arraybackslash}}p{{{NAME:g}pt}}" if long else "l"
    if not _has_numbers(table, number):
        return "r"
    matches = [match for text in table.column(number) if (match := NUMBER.fullmatch(text))]
    signs, whole, decimals, after = (max((match[part] or "" for match in matches), key=len) for part in range(1, 5))
    plus = "+" if any(match[1] == "+" for match in matches) else signs
    shape = f"{plus}{len(whole)}" + (f".{len(decimals)}" if decimals else "")
    post = f",table-space-text-post={_after(after)}" if after else ""
    return f"S[table-format={shape}{post}]"


def _has_numbers(table: Table, number: int) -> bool:
    return number > 0 and any(NUMBER.fullmatch(text) for text in table.column(number))


def _cell(text: str, best: bool, numbers: bool) -> str:
    match = NUMBER.fullmatch(text)
    if numbers and match:
        cell = text[: match.start(4)] + (_after(match[4]) if match[4] else "")
        return rf"\bfseries {cell}" if best else cell
    words = _minus(_breakable(text, 0.9 * NAME))  # how wide they are is only guessed
    # In a column of numbers a text must be in braces.
    cell = rf"\textbf{{{words}}}" if best else words
    return f"{{{cell}}}" if numbers and text else cell


def _after(text: str) -> str:
    """Return `{\\,\\scriptsize\\mdseries $\\pm$ 0.4}`, which is not bold with its number."""
    return rf"{{\,\scriptsize\mdseries {_minus(escaped(text))}}}"


def _minus(words: str) -> str:
    """Return words with a minus, no hyphen, before numbers."""
    return re.sub(r"(?<![\w.])-(?=[0-9])", "$-$", words)


def _pieces(table: Table) -> list[Table]:
    narrow = table.folded([_width(table, number) for number in range(len(table.columns))], ROOM)
    return [piece for part in narrow for piece in part.paged(ROWS)]


def _width(table: Table, number: int) -> float:
    """Return about how many points a column takes."""
    texts = [text for text in table.column(number) if text]
    matches = [match for text in texts if (match := NUMBER.fullmatch(text))] if _has_numbers(table, number) else []
    others = {*texts} - {match[0] for match in matches}
    heading = min(_points(table.columns[number].name, SIZE), NAME if number == 0 else HEADING)
    # A minus is as wide as a plus.
    heads = [_points(match[0][: match.start(4)].replace("-", "+"), SIZE) for match in matches]
    after = [_points(match[4].replace("-", "+"), SMALL) for match in matches]
    lined_up = max(heads) + max(after) if matches else 0.0
    widest = max(lined_up, heading, *(_points(text, SIZE) for text in others))
    return (min(widest, NAME) if number == 0 else widest) + GAP


def _points(text: str, size: float) -> float:
    return size * sum(0.33 if c in NARROW else 0.83 if c in WIDE or c.isupper() else 0.53 for c in text)


def _pages(pieces: list[Table]) -> list[list[Table]]:
    """Return the pieces, those together that have their place on one page."""
    pages: list[list[Table]] = [[]]
    for piece in pieces:
        if pages[-1] and sum(len(one.rows) + 3 for one in [*pages[-1], piece]) > ROWS:
            pages.append([])
        pages[-1].append(piece)
    return pages
