"""The command that makes one cell again, from its record alone."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import criteria
from bench.cell import CONTROLS, quoted

AXES = "granularity scope schedule when ablation target_kind score_mode precision device threads".split()

STAND_IN = {
    "criterion": "magnitude",
    "criterion_options": "",
    "sparsity_target": 0.5,
    "granularity": "weight",
    "scope": "global",
    "schedule": "one_shot",
    "when": "trained",
    "ablation": "none",
    "target_kind": "weights",
    "score_mode": "eval",
}
"""A control comes with any criterion: this one stands in, at the least cost."""


def command(plan: Mapping[str, Any], columns: Mapping[str, Any], config: Mapping[str, Any] | None) -> str:
    """Return the shell command whose plan is this cell and its controls (for a control: one cell more).

    plan: as OUT/plans keeps it; columns: the cell's, as a plan holds them, None where a value does not apply; config:
    the record's, without which paths of data and weights are left to the experiment. A criterion that is neither built
    in nor installed is named as a file, since a record does not keep the place of its file.
    """
    named, config = dict(columns), config or {}
    if named["criterion"] in CONTROLS:
        named |= STAND_IN | {"finetune": named["finetune"] or "low"}
        config = {**config, "criterion_options": {}}
    schedule, sparsity = _schedule(named["schedule"], named["sparsity_target"])
    values = {name: named[name] for name in AXES} | {"schedule": schedule}
    values |= {name: named[name] for name in ("finetune", "finetune_epochs") if named[name] is not None}
    if named["when"] == "init":
        values["budget"] = "equal" if named["finetune"] else None
    values |= {} if sparsity is None else {"sparsity": sparsity}
    arguments = [f"experiment={plan['experiment']}", *_groups(named, config), *_fields(plan["changed"])]
    arguments += [f"criterion={_criterion(named, config)}", f"seed={named['seed']}"]
    arguments += [f"{name}={'null' if value is None else value}" for name, value in values.items()]
    return shlex.join(["python", "-m", "bench", "run", *arguments])


def _fields(changed: Iterable[str]) -> list[str]:
    """Return what a run changed that no column says: fields of data, model and recipe, and the claims."""
    keys = {argument: argument.partition("=")[0] for argument in changed}
    return [argument for argument, key in keys.items() if "." in key or key == "claims"]


def _schedule(spelled: str, sparsity: float | None) -> tuple[str, float | str | None]:
    """Return schedule and sparsity as they were given: with `stop`, the end of the path is the sparsity."""
    end = re.search(r", end: ([^,}]+)", spelled)
    return (spelled.replace(end[0], ""), end[1]) if end else (spelled, sparsity)


def _groups(columns: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return data, model and recipe, each as the command line names it, and where data and weights lie."""
    data, model = config.get("dataset", {}), config.get("model", {})
    reader = data.get("reader", "")
    named = {
        "dataset": reader if ".py:" in reader else columns["dataset"],
        "model": _model(columns["model"], model.get("factory", ""), model.get("options")),
        "recipe": columns["recipe"],
        "dataset.root": data.get("root"),
        "model.weights": model.get("weights"),
    }
    return [f"{key}={value}" for key, value in named.items() if value]


def _model(name: str, factory: str, options: Mapping[str, Any] | None) -> str:
    """Return the user's own file, `timm:NAME` or `torchvision:NAME` where the library names it, or the name in conf."""
    library = re.fullmatch(r"bench\.models\.zoo:(\w+)_model", factory)
    if library and options == {"name": name}:
        return f"{library[1]}:{name}"
    return factory if ".py:" in factory else name


@cache
def _available() -> frozenset[str]:
    return frozenset(criteria.available())


def _criterion(columns: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    name = columns["criterion"] if columns["criterion"] in _available() else f"{columns['criterion']}.py"
    if options := config.get("criterion_options", {}):
        return _spelled({"name": name} | options)
    given = str(columns["criterion_options"] or "") if not config else ""
    return f"{{name: {_spelled(name)}, {given[1:-1]}}}" if given else _spelled(name)


def _spelled(value: Any) -> str:
    """Return a plain value as Hydra reads it back."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_spelled(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_spelled, value)) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"(?!(?i:null|true|false|nan|inf)$)[A-Za-z_]\w*", value):
        return value
    return quoted(value)
