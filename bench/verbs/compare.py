"""`compare`: an experiment's results beside what its paper published."""

from pathlib import Path

from bench import store
from bench.config import conf_folder
from bench.errors import UserError, near_misses
from bench.report import agreement, compare, frame, oracle, published
from bench.report.frame import Results
from bench.report.places import UNITS
from bench.report.write import write

KEYS = ("out", "debug")


def main(arguments: list[str]) -> int:
    """Print and write compare.md and compare.csv of one experiment: OUT/compare/NAME-HASH, or the published folder."""
    names = [argument for argument in arguments if "=" not in argument]
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if len(names) != 1 or {*options} - {*KEYS}:
        raise UserError("compare takes an experiment's name, and out=DIR: compare liu2019")
    figures = published.read(_file(names[0]))
    root = Path(options.get("out", "results/runs"))
    correlations = figures["measure"].isin(list(oracle.MEASURES)).any()
    results, folder = (_oracle if correlations else _results)(root, names[0])
    files = compare.files(results, figures)
    paths = write(files, folder)
    print(files["compare.md"].decode())
    print(*paths, sep="\n")
    return 0


def _file(name: str) -> Path:
    """Return the figures of an experiment; UserError where there is no such experiment, or none are published."""
    folder = conf_folder() / "experiment"
    with_figures = [path.stem for path in folder.glob("*.csv")]
    if name in with_figures:
        return folder / f"{name}.csv"
    if name in [path.stem for path in folder.glob("*.yaml")]:
        raise UserError(f"experiment {name!r} has no published figures; these have: {', '.join(sorted(with_figures))}")
    raise UserError(f"unknown experiment {name!r}; {near_misses(name, with_figures)}")


def _results(root: Path, name: str) -> tuple[Results, Path]:
    """Return the experiment's results and where the report goes; UserError where it was not run."""
    results = frame.tabulate(root, name)
    published_folder = (root / store.RECORDS).is_file()
    return results, root if published_folder else root / "compare" / f"{name}-{results.plan['hash']}"


def _oracle(root: Path, name: str) -> tuple[Results, Path]:
    """Return the correlations written last, and where the report goes; UserError where there are none."""
    # Another experiment's measurements would give "no such cell" in every row, and a stray file in its folder.
    own = root.resolve().name.partition("-")[0] == name and (root / UNITS).is_file()
    found = [root / UNITS] if own else [*root.glob(f"oracle/{name}-*/{UNITS}")]
    if not found:
        raise UserError(f"no oracle of {name} in {root}: run `python -m bench oracle experiment={name}`")
    path = max(found, key=lambda path: (path.stat().st_mtime_ns, path))
    return agreement.oracle_results(name, oracle.correlations(oracle.read(path))), path.parent
