"""How figures look: print-ready sizes and fonts, and one colour, marker and line a criterion in all of them."""

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from bench.cell import CONTROLS

# Okabe and Ito's colours, which the colour-blind tell apart, less yellow (too light) and black (the controls'), and two
# of Tol's as far from them as they are from each other, seen with or without red or green cones.
COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#CC79A7", "#009E73", "#E69F00", "#666633", "#AA3377")
SHARING = (
    "taylor",
    "lamp grasp bn_scale",
    "magnitude l1_norm",
    "random",
    "fisher snip l2_norm",
    "gradient",
    "fpgm wanda obd",
    "synflow hrank movement",
)
"""Who shares each of COLOURS: of trained weights, of weights at initialisation and of filters, seldom in one panel."""
KNOWN = " ".join(SHARING).split()
"""Each keeps its colour, marker and line in all figures; other names take the next ones."""

# Seven and five: no two of 35 names look alike in grey, and those that share a colour differ in both.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (5, 1, 1, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
CONTROL_LINES = ("-", ("--", "-.", ":"))
"""Of each of CONTROLS; a dense net can be trained longer in several ways."""

SINGLE, DOUBLE = 3.3, 7.0
"""Widths in inches of one and of two columns of a paper."""
SMALL = 7
"""Points of the smallest text."""
CHARACTER = 0.062
"""Inches of a character of a legend, on average."""
LABEL = 33
"""Longest line of a legend, in characters."""

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 3,
    "text.parse_math": False,  # a name may hold a dollar sign
    "pdf.fonttype": 42,  # publishers refuse matplotlib's default, Type 3
    "savefig.dpi": 300,
}

Look = dict[str, Any]
"""How a row is drawn: arguments of Axes.plot."""


def rendered(drawn: Figure, name: str) -> dict[str, bytes]:
    """Return NAME.pdf and NAME.png of a figure, the same bytes each time; call it under STYLE."""
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")  # once is enough, and takes longer than all the rest
    files = {}
    for kind, metadata in (("pdf", {"CreationDate": None}), ("png", {})):
        data = io.BytesIO()
        drawn.savefig(data, format=kind, metadata=metadata)
        files[f"{name}.{kind}"] = data.getvalue()
    return files


def colours_and_markers(criteria: set[str]) -> dict[str, Look]:
    """Return `color` and `marker` of each criterion, the same in all figures; those not KNOWN take the next ones."""
    others = sorted(criteria - {*KNOWN})
    colours = {name: colour for colour, names in zip(COLOURS, SHARING, strict=True) for name in names.split()}
    # From the last: the first are those of the criteria that others are most often compared with.
    colours |= {name: COLOURS[-1 - place % len(COLOURS)] for place, name in enumerate(others)}
    return {
        name: {"color": colour, "marker": MARKERS[place % len(MARKERS)]}
        for place, (name, colour) in enumerate(colours.items())
    }


def looks(table: pd.DataFrame) -> dict[str, Look]:
    """Return how each `row` of a panel's table is drawn, controls first; rows of a criterion share colour, marker."""
    rows = table.drop_duplicates("row").sort_values("row")
    found: dict[str, Look] = {}
    controls = rows[rows["control"]]
    for control, lines in zip(CONTROLS, CONTROL_LINES, strict=True):
        for variant, name in enumerate(controls.loc[controls["criterion"] == control, "row"]):
            found[name] = {"color": "black", "linewidth": 0.9, "linestyle": lines[variant % len(lines)]}
    criteria = rows[~rows["control"]]
    for place, (name, mark) in enumerate(colours_and_markers(set(criteria["criterion"])).items()):
        for variant, row in enumerate(criteria.loc[criteria["criterion"] == name, "row"]):
            found[str(row)] = mark | {
                "markerfacecolor": "white" if variant else mark["color"],
                "linestyle": LINES[(place + variant) % len(LINES)],
            }
    return found


def wrapped(title: str, width: float) -> str:
    """Return a title of SMALL letters broken into lines of `width` inches."""
    return "\n".join(textwrap.wrap(title, max(8, int(18.5 * width))))


def broken(name: str, width: int) -> str:
    """Return a name in lines of `width` characters; longer words break after `=`, before `(`, else anywhere."""
    words = [word if len(word) <= width else re.sub(r"(?<==)|(?=\()", "\n", word) for word in name.split()]
    return "\n".join(textwrap.fill(line, width) for line in " ".join(words).split("\n") if line.strip())


def apart(names: Sequence[str]) -> tuple[str, list[str]]:
    """Return what names share, `snip (schedule=…)`, and the rest of each; "" and the names where one would be empty."""
    parts = [re.split(r"(?<=[ =(])|(?=[ )])", name) for name in names]
    begin = _shared(parts)
    end = _shared([own[len(begin) :][::-1] for own in parts])[::-1]
    rest = ["".join(own[len(begin) : len(own) - len(end)]) for own in parts]
    shared = f"{''.join(begin)}…{''.join(end)}"
    return (shared, rest) if len(names) > 1 and all(rest) and shared != "…" else ("", [*names])


def _shared(parts: Sequence[Sequence[str]]) -> list[str]:
    """Return with what all begin."""
    return [first for first, *_ in takewhile(lambda own: len({*own}) == 1, zip(*parts, strict=False))]


def legend(drawn: Figure, handles: Mapping[str, Artist], title: str) -> None:
    """Put one legend for all axes below them, in as many columns as fit, and make the figure higher by it."""
    # A thin space first: matplotlib leaves out what begins with an underscore.
    labels = ["\n".join(textwrap.wrap(name, LABEL)).replace("_", "\u2009_", name[0] == "_") for name in handles]
    longest = max((len(part) for label in labels for part in label.split("\n")), default=0)
    below = drawn.legend(
        [*handles.values()],
        labels,
        title=wrapped(title, drawn.get_figwidth()),
        loc="outside lower center",
        ncols=max(1, int(drawn.get_figwidth() / (0.6 + CHARACTER * longest))),
        columnspacing=1.5,
    )
    drawn.set_figheight(drawn.get_figheight() + below.get_window_extent().height / drawn.dpi)
