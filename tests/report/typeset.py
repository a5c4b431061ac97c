"""What TeX would print, worked out by hand, and names that choke a careless renderer."""

import re

NASTY = (
    "a_b",
    "50%",
    "x&y",
    "#1",
    "~",
    "^",
    "\\",
    "$x$",
    "{b}",
    "<i>",
    "p|q",
    "[x]",
    "*st",
    "_in_",
    "été",
    "a--b`",
    "±",
)
TEX = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textasciigrave{}": "`",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    "{[}": "[",
    "{*}": "*",
    "{}": "",
    r"$\pm$": "±",
    "$-$": "-",
} | {f"\\{character}": character for character in "&%$#_{}"}


def typeset(tex: str) -> str:
    """The text that TeX would print for a piece without commands; fails at a special character left as it is."""
    printed = ""
    while tex:
        piece = next((piece for piece in TEX if tex.startswith(piece)), tex[0])
        assert piece in TEX or piece not in "\\&%$#_{}~^<>|*", f"TeX would choke on {tex!r}"
        printed += TEX.get(piece, piece)
        tex = tex[len(piece) :]
    return printed


def cells_of(line: str) -> list[str]:
    """The cells of a row of a tabular as printed, bold ones in **, without their font sizes."""
    assert line[0] not in "[*", "read as an argument of the line break before it"
    return [_cell(cell.strip()) for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\"))]


def _cell(cell: str) -> str:
    bold = cell.startswith(r"\bfseries ")
    number = re.fullmatch(r"(?:\\bfseries )?([+-]?[\d.]+)(?:\{\\,\\scriptsize\\mdseries (.*)\})?", cell)
    words = re.fullmatch(r"\{([^{}]*(?:\{\}[^{}]*)*)\}", cell)
    text = " ".join(filter(None, number.groups())) if number else words[1] if words else cell
    return f"**{typeset(text)}**" if bold else typeset(text)
