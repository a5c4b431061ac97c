"""Finds criteria and reads what they say of themselves by parsing: no criterion is run, no torch imported."""

import ast
import difflib
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from criteria._fingerprint import fingerprint

ENTRY_POINTS = "pruning_bench.criteria"
NO_FORMULA = "(no docstring: its first line should be the formula)"
HERE = Path(__file__).resolve().parent
FACTS = {
    "SOURCE": "",
    "UNIT": "mean",
    "GRANULARITY": "weight",
    "SCOPE": "global",
    "SCHEDULE": "one_shot",
    "WHEN": "trained",
    "COUPLED": "mean",
    "SIGNED": False,
    "SCALE": "network",
}
CHOICES: dict[str, tuple[tuple[Any, ...], str]] = {
    "UNIT": (("mean", "batch", "sample"), "what many batches mean"),
    "COUPLED": (("mean", "sum"), "how the scores of coupled filters become one"),
    "SIGNED": ((True, False), "whether scores may be negative"),
    "SCALE": (("network", "layer"), "within what scores can be compared"),
}
"""What a fact may be, and what it says; the others are the harness's to judge."""
FORMS = ("weight", "filter")
"""One score a weight, in the parameter's shape, or one a filter: [out_channels] (linear layers: [out_features])."""


class CriterionError(ValueError):
    """A criterion that is unknown, cannot be read, or does not keep its contract; the message is one line."""


class NonFiniteScoresError(CriterionError):
    """A score that is NaN or infinite: another try would give the same."""


class BrokenCriterionError(CriterionError):
    """A criterion whose file is there but cannot be read; `description` says as much of it as is known."""

    def __init__(self, message: str, description: "Description") -> None:
        super().__init__(message)
        self.description = description


@dataclass(frozen=True)
class Description:
    """What a criterion's file says of it."""

    name: str
    path: Path
    formula: str
    """The first line of the module's docstring."""
    options: dict[str, Any]
    """Keyword-only parameters of `score`, or of the class, with their defaults."""
    facts: dict[str, Any]
    """SOURCE, UNIT, COUPLED, SIGNED, SCALE and the defaults GRANULARITY, SCOPE, SCHEDULE, WHEN."""
    fingerprint: str
    """Hash of the file and of every module it imports from its own folder."""
    observer: str = ""
    """Name of the class that gathers during training; empty where the criterion is a function."""

    @property
    def observes(self) -> bool:
        """Whether it gathers during training: a class with `score` and `observe` instead of a function."""
        return bool(self.observer)

    @property
    def forms(self) -> tuple[str, ...]:
        """What it can score: ("weight",), ("weight", "filter") by its option `granularity`, or ("filter",)."""
        if "granularity" in self.options:
            return FORMS
        return ("filter",) if self.facts["GRANULARITY"] == "filter" else ("weight",)

    def form(self, options: Mapping[str, Any]) -> str:
        """Return which of its forms these options mean. Raises CriterionError for a granularity that is no form."""
        if "granularity" not in self.options:
            return self.forms[0]
        form = options.get("granularity", self.options["granularity"])
        if form not in FORMS:
            close = _close(str(form), FORMS)
            raise CriterionError(f"criterion {self.name}: unknown granularity {form!r}; {close}known: weight, filter")
        return str(form)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise CriterionError for an option that the criterion does not have, or a granularity that is none."""
        for option in options:
            if option not in self.options:
                known = f"its options: {', '.join(self.options)}" if self.options else "it has no options"
                raise CriterionError(
                    f"criterion {self.name} has no option {option!r}; {_close(option, self.options)}{known}"
                )
        self.form(options)


def available() -> tuple[str, ...]:
    """Return the names of all criteria, built-in and published by other packages, sorted."""
    return tuple(sorted(_files()))


def describe(name: str) -> Description:
    """Return what the criterion `name`, or the file `path/to/mine.py`, says of itself.

    Raises CriterionError in one line: unknown (with near misses), taken twice, or unreadable (with the line).
    """
    found = _files()
    if name.endswith(".py") or "/" in name:
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise CriterionError(f"criterion file {name} not found; give the path of a file with a `score` function")
        found = {path.stem: sorted({path, *found.get(path.stem, [])})}
        name = path.stem
    if name not in found:
        raise CriterionError(f"unknown criterion {name!r}; {_close(name, found)}known: {', '.join(sorted(found))}")
    if len(found[name]) > 1:
        raise CriterionError(
            f"criterion {name!r} is defined twice: {', '.join(map(str, found[name]))}; rename one file"
        )
    return _parse(name, found[name][0])


def _files() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(HERE.glob("[!_]*.py")):
        found.setdefault(path.stem, []).append(path)
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        path = _module_file(point.value)
        if path not in found.setdefault(point.name, []):
            found[point.name].append(path)
    return found


def _module_file(module: str) -> Path:
    """Return the file of a dotted module without importing the packages above it."""
    top, *rest = module.split(":")[0].split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return Path(module)
    origin = Path(spec.origin).resolve()
    return origin.parent.joinpath(*rest).with_suffix(".py") if rest else origin


def _parse(name: str, path: Path) -> Description:
    try:
        return _parsed(name, path, fingerprint(path))
    except (SyntaxError, ValueError, OSError) as error:
        message = str(error) if isinstance(error, CriterionError) else f"criterion {path} cannot be read: {error}"
        code = hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()[:16]
        raise BrokenCriterionError(message, Description(name, path, message, {}, dict(FACTS), code)) from error


@cache
def _parsed(name: str, path: Path, code: str) -> Description:
    tree = ast.parse(path.read_bytes(), filename=str(path))
    observer, options = _signature(tree, path)
    return Description(
        name=name,
        path=path,
        formula=(ast.get_docstring(tree) or NO_FORMULA).splitlines()[0],
        options=options,
        facts=_facts(tree, path),
        fingerprint=code,
        observer=observer,
    )


def _signature(tree: ast.Module, path: Path) -> tuple[str, dict[str, Any]]:
    """Return the name of the class that observes, or nothing, and the options of the function or of the class."""
    if score := _functions(tree).get("score"):
        return "", _options(score, "(model, batches, loss_fn)", path)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and {"score", "observe"} <= (methods := _functions(node)).keys():
            _no_options(methods["score"], "(self, model, batches, loss_fn)", path)
            _no_options(methods["observe"], "(self, model)", path)
            return node.name, _options(methods["__init__"], "(self)", path) if "__init__" in methods else {}
    raise CriterionError(
        f"criterion {path} has no function `score(model, batches, loss_fn)` and no class with `score` and `observe`"
    )


def _functions(node: ast.Module | ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}


def _no_options(function: ast.FunctionDef, takes: str, path: Path) -> None:
    if _options(function, takes, path):
        raise CriterionError(
            f"criterion {path}: `{function.name}` of the class takes {takes}; give the options to `__init__`"
        )


def _options(function: ast.FunctionDef, takes: str, path: Path) -> dict[str, Any]:
    """Return the keyword-only parameters with their defaults; raise for other parameters than `takes`."""
    arguments = function.args
    count = len(arguments.posonlyargs + arguments.args)
    if count != takes.count(",") + 1 or arguments.vararg or arguments.kwarg:
        raise CriterionError(f"criterion {path}: `{function.name}` takes {takes} and keyword-only options after `*`")
    options = {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is None:
            raise CriterionError(f"criterion {path}: option {argument.arg!r} of `{function.name}` needs a default")
        options[argument.arg] = _literal(default, f"the default of option {argument.arg!r}", path)
    return options


def _facts(tree: ast.Module, path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = dict(FACTS)
    for node in tree.body:
        target = (
            node.targets[0]
            if isinstance(node, ast.Assign)
            else node.target
            if isinstance(node, ast.AnnAssign)
            else None
        )
        if (
            isinstance(target, ast.Name)
            and target.id in FACTS
            and isinstance(node, ast.Assign | ast.AnnAssign)
            and node.value
        ):
            facts[target.id] = _literal(node.value, target.id, path)
    for fact, (choices, meaning) in CHOICES.items():
        if facts[fact] not in choices:
            *others, last = map(str, choices)
            raise CriterionError(
                f"criterion {path}: {fact} is {facts[fact]!r}; it says {meaning}: {', '.join(others)} or {last}"
            )
    return facts


def _literal(node: ast.expr, what: str, path: Path) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise CriterionError(
            f"criterion {path}, line {node.lineno}: {what} must be a literal (it is read without running)"
        ) from None


def _close(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=2)
    return f"did you mean {' or '.join(close)}? " if close else ""
