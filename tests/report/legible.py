"""Whether a figure can be read: no text covers another or leaves the page."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

SLACK = 0.5
"""Pixels by which boxes may touch."""


def texts(drawn: Figure) -> list[Text]:
    """Return every text of a figure that is to be seen."""
    drawn.draw_without_rendering()
    found = list(drawn.texts)
    for legend in drawn.legends:
        found += [*legend.get_texts(), legend.get_title()]
    for axes in drawn.axes:
        found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts, *_ticks(axes)]
    return [text for text in found if text.get_text().strip() and text.get_visible()]


def _ticks(axes: Axes) -> list[Text]:
    if not axes.axison:
        return []
    ticks = [tick for axis in (axes.xaxis, axes.yaxis) for tick in axis._update_ticks()]
    return [label for tick in ticks for label in (tick.label1, tick.label2) if label.get_visible()]


def check(drawn: Figure) -> None:
    """Fail where a text covers another, leaves the page, or is smaller than 7 points; or a page is no column wide."""
    assert any(abs(drawn.get_figwidth() - width) < 1e-9 for width in (3.3, 7.0)), drawn.get_figwidth()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(drawn)]
    assert min(text.get_fontsize() for text in texts(drawn)) >= 7
    page = drawn.bbox.padded(SLACK)
    outside = [text for text, box in boxes if not (_within(box, page))]
    assert not outside, f"outside the page: {outside}"
    over = [(a, b) for i, (a, one) in enumerate(boxes) for b, two in boxes[:i] if one.padded(-SLACK).overlaps(two)]
    assert not over, f"one over the other: {over}"


def _within(box: Bbox, page: Bbox) -> bool:
    return bool(box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1)
