"""The files of a report, each made from records alone: the same records give the same bytes."""

import re
from collections.abc import Mapping
from pathlib import Path

from bench import store
from bench.report import figure, tables, times
from bench.report.frame import Results, tabulate, untrained
from bench.report.places import UNITS

NAMES = (
    "accuracy comparisons ablations ranks claims tradeoff pareto speedup compression cost layers "
    "density scores latency oracle compare"
).split()
"""What the files of reports are called, but for the number of a panel and the ending."""


def is_report(path: Path) -> bool:
    """Whether a path has the name of a file that reports make."""
    return re.fullmatch(rf"({'|'.join(NAMES)})(-\d+)?\.(md|csv|tex|html|pdf|png)", path.name) is not None


def accuracy_files(results: Results) -> dict[str, bytes]:
    """Return the accuracy table and figure, which a run shows at its end; nothing where nothing was trained."""
    return {} if untrained(results.frame) else tables.files(results) | figure.files(results)


def report_files(root: Path, results: Results) -> dict[str, bytes]:
    """Return every table and figure that the records below `root` and the times beside them give."""
    # They import scipy, which a run that writes none of them need not wait for.
    from bench.report import (
        ablations,
        claims,
        comparisons,
        cost,
        density,
        histograms,
        latency,
        layers,
        pareto,
        ranks,
        tradeoff,
    )

    found = accuracy_files(results)
    of_accuracy = () if untrained(results.frame) else (comparisons, ablations, ranks)
    for module in (claims, tradeoff, pareto, cost, layers, density, histograms, *of_accuracy):
        found |= module.files(results)
    return found | latency.files(results, times.read(times.path(root, results.plan)))


def folder_files(folder: Path) -> dict[str, bytes]:
    """Return every file that a published folder holds beside its records, made from these."""
    from bench.report import oracle

    if (folder / UNITS).is_file():
        return oracle.files(oracle.read(folder / UNITS))
    return report_files(folder, tabulate(folder))


def write(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write files into a folder, each whole or not at all, and return their paths."""
    for name, content in files.items():
        store.write(folder / name, content)
    return [folder / name for name in files]
