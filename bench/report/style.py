"""How figures look: print-ready sizes and fonts, and one colour, marker and line a criterion in all of them."""

import io
import re
import textwrap
import zlib
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
"""Each keeps its colour, marker and line in all figures."""
OTHERS = COLOURS[4:]
"""Of other criteria: those that they are most often compared with have the first."""

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


def _places(criteria: set[str]) -> dict[str, int]:
    """Return each criterion's place in MARKERS and LINES and, if it is not KNOWN, in OTHERS, which all start again.

    A name that is not KNOWN has a place of its own, whatever the others are. Only where two would share a colour the
    later one moves on to a free colour, or place: so give all figures of a report the same criteria.
    """
    room = len(MARKERS) * len(LINES) - len(KNOWN)
    taken: dict[str, int] = {}
    for name in sorted(criteria - {*KNOWN}):
        first = zlib.crc32(name.encode())  # hash() is another in each process
        places = [len(KNOWN) + (first + step) % room for step in range(room)]
        own, colours = [*taken.values()], [place % len(OTHERS) for place in taken.values()]
        taken[name] = min(places, key=lambda place: (colours.count(place % len(OTHERS)), own.count(place)))
    return {name: place for place, name in enumerate(KNOWN)} | taken


def colours_and_markers(criteria: set[str]) -> dict[str, Look]:
    """Return `color` and `marker` of each criterion and of KNOWN; see _places."""
    known = {name: colour for colour, names in zip(COLOURS, SHARING, strict=True) for name in names.split()}
    return {
        name: {"color": known.get(name, OTHERS[place % len(OTHERS)]), "marker": MARKERS[place % len(MARKERS)]}
        for name, place in _places(criteria).items()
    }


def looks(table: pd.DataFrame) -> dict[str, Look]:
    """Return how each `row` of a report is drawn, controls first; rows of a criterion share colour and marker.

    table: of all panels of the report, so that no look changes from figure to figure.
    """
    rows = table.drop_duplicates("row").sort_values("row")
    found: dict[str, Look] = {}
    controls = rows[rows["control"]]
    for control, lines in zip(CONTROLS, CONTROL_LINES, strict=True):
        for variant, name in enumerate(controls.loc[controls["criterion"] == control, "row"]):
            found[name] = {"color": "black", "linewidth": 0.9, "linestyle": lines[variant % len(lines)]}
    criteria = rows[~rows["control"]]
    names = {*criteria["criterion"]}
    marks = colours_and_markers(names)
    for name, place in _places(names).items():
        for variant, row in enumerate(criteria.loc[criteria["criterion"] == name, "row"]):
            found[str(row)] = marks[name] | {
                "markerfacecolor": "white" if variant else marks[name]["color"],
                "linestyle": LINES[(place + variant) % len(LINES)],
            }
    return found


def partial(look: Look) -> Look:
    """Return how points are marked that lack seeds: half filled, since hollow ones are those of variants."""
    half = {"fillstyle": "left", "markerfacecolor": look["color"], "markerfacecoloralt": "white"}
    return look | half | {"linestyle": "none"}


def over_seeds(what: str, counts: "pd.Series[int]") -> str:
    """Return `WHAT over 3 seeds` or `over 1 to 3 seeds`, counts being those of points; `one seed` where all are 1."""
    low, high = int(counts.min()), int(counts.max())
    return "one seed" if high == 1 else f"{what} over {high if low == high else f'{low} to {high}'} seeds"


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
    whole = shared != "…" and shared.count("(") == shared.count(")")  # no half of a bracket stays behind
    return (shared, rest) if len(names) > 1 and all(rest) and whole else ("", [*names])


def _shared(parts: Sequence[Sequence[str]]) -> list[str]:
    """Return with what all begin."""
    return [first for first, *_ in takewhile(lambda own: len({*own}) == 1, zip(*parts, strict=False))]


def headed(drawn: Figure, *texts: str) -> None:
    """Put what a figure shows above it, empty texts left out, and make the figure higher by it."""
    lines = [wrapped(text, drawn.get_figwidth() - 0.3) for text in texts if text]
    title = drawn.suptitle("\n".join(lines), fontsize=SMALL)
    drawn.set_figheight(drawn.get_figheight() + title.get_window_extent().height / drawn.dpi)


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
