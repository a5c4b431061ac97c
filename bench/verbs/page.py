"""`page`: one HTML file that holds all results of a folder, to open and share."""

from collections.abc import Iterator
from pathlib import Path

from bench import store
from bench.errors import UserError
from bench.report import claims, frame, latency, times
from bench.report.frame import Results
from bench.report.page import page
from bench.report.page_data import Book
from bench.report.places import published
from bench.verbs.where import where


def main(arguments: list[str]) -> int:
    """Write OUT/page.html and print its path.

    OUT is a folder of runs (the last plan of each experiment), a published one, or a folder of published ones.
    """
    root, experiment = where("page", arguments)
    books = list(_books(root, experiment))
    if not books:
        raise UserError(f"no plan of experiment {experiment!r} in {root}; leave experiment out to show all")
    path = root / "page.html"
    store.write(path, page(books))
    print(path)
    return 0


def _books(root: Path, experiment: str | None) -> Iterator[Book]:
    """Yield what is published in a folder, else its experiments, in the order of their names."""
    folders = [folder for folder in published(root) if (folder / store.RECORDS).is_file()]
    for folder in folders:
        if experiment in (None, store.load_plan(folder)["experiment"]):
            yield _book(folder.name, folder, frame.tabulate(folder))
    if folders:
        return
    written = sorted({path.stem.rpartition("-")[0] for path in root.glob("plans/*.json")})
    records = store.load(root)
    for name in [experiment] if experiment or not written else written:
        results = frame.joined(records, store.load_plan(root, name))
        yield _book(results.plan["experiment"], root, results)


def _book(name: str, root: Path, results: Results) -> Book:
    measured = latency.report(results, times.read(times.path(root, results.plan)))
    return Book(name, results, (claims.report(results), measured))
