"""From the command line to validated Settings: Hydra composes groups, plain values replace, pydantic checks once."""

import functools
import itertools
import json
import os
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from bench import catalogue
from bench.cell import quoted
from bench.errors import UserError, near_misses
from bench.frozen import Frozen
from bench.schema import Dataset, Settings
from bench.source import OWN

GROUPS = ("dataset", "model", "recipe")
CHOICE = (*GROUPS, "scoring", "prunable")
AXES = (
    "criterion sparsity seed granularity scope schedule when finetune finetune_epochs ablation target_kind budget "
    "score_mode precision"
).split()
NAMED = ("granularity", "scope", "schedule", "when", "finetune")
"""Axes whose values are a name with options: `iterative` is short for `{name: iterative}`."""
ASKED = ("criterion", "sparsity", "seed")
"""Axes that have no default but the experiment's own."""
PLAIN = (*AXES, *"vary claims out device threads workers launcher logger debug".split())
LIBRARIES = ("torchvision", "timm")
"""What names models: `model=timm:vit_tiny_patch16_224`."""
PATHS = ("out", "dataset.root", "model.weights")


def conf_folder() -> Path:
    """Return the folder of the configuration: inside the installed package, or beside it in a checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "conf"


def load(arguments: list[str], beside: Iterable[str] = ()) -> Settings:
    """Return the settings for Hydra overrides such as `criterion=[taylor,snip] recipe.epochs=3`.

    beside: keys that a verb takes for itself. Raises UserError in one line for an unknown key, choice or value.
    """
    overrides = _parse(arguments)
    plain, groups, dotted = _sort(overrides, beside)
    try:
        combinations = [dict(zip(groups, values, strict=True)) for values in itertools.product(*groups.values())]
        composed = [_compose(combination, dotted, plain) for combination in combinations]
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_line(error)) from error
    if unknown := sorted(composed[0].keys() - {*PLAIN, *CHOICE}):
        raise UserError(f"the experiment's file has an unknown key {unknown[0]!r}; {_known(unknown[0])}")
    plain = {key: value for key, value in plain.items() if value is not None or key not in ASKED}
    values = {key: plain.get(key, composed[0][key]) for key in PLAIN}
    values |= {axis: _normal(axis, values[axis]) for axis in (*AXES, "vary")}
    values |= {
        "experiment": str(groups.get("experiment", ["digits"])[0]),
        "choices": [{key: config[key] for key in CHOICE} for config in composed],
        "named": sorted(plain),
        "changed": [
            # Of a file its name: readers have other folders.
            re.sub(r"[^\s'\"\[,=]*/", "", str(override.input_line))
            for override in overrides
            if _changes(override.key_or_group, plain, composed[0])
        ],
    }
    return _validated(values)


def _parse(arguments: list[str]) -> list[Override]:
    if options := [argument for argument in arguments if argument.startswith("-")]:
        raise UserError(f"there is no option {options[0]}; write KEY=VALUE")
    try:
        return OverridesParser.create().parse_overrides([_quoted(argument) for argument in arguments])
    except HydraException as error:
        raise UserError(f"cannot read the arguments: {_one_line(error)}; write KEY=VALUE, lists as [a,b]") from error


def _quoted(argument: str) -> str:
    """Quote paths for Hydra, so that spaces, `=`, `~`, `#`, quotes and letters of any alphabet pass."""
    key, equals, value = argument.partition("=")
    if not equals or value[:1] in ("'", '"', "{"):
        return argument
    if key in PATHS:
        return f"{key}={quoted(value)}"
    inner = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    items = [inner] if os.path.exists(inner) else [item.strip() for item in inner.split(",")]
    options = any(item.startswith(("{", "'", '"')) for item in items)
    if key in ("criterion", *OWN) and not options and any(map(_is_path, items)):
        return f"{key}=[{','.join(quoted(item) if _is_path(item) else item for item in items)}]"
    return argument


def _is_path(text: str) -> bool:
    return "/" in text or text.split(":")[0].endswith(".py")


def _sort(overrides: list[Override], beside: Iterable[str]) -> tuple[dict[str, Any], dict[str, list[Any]], list[str]]:
    """Return plain values (they replace, never merge), groups with their choices, and what is left to Hydra."""
    plain: dict[str, Any] = {}
    groups: dict[str, list[Any]] = {}
    dotted = []
    for override in overrides:
        key = override.key_or_group
        if key in (*PLAIN, *PATHS) and override.is_delete():
            raise UserError(f"~{key}: a plain value cannot be deleted; write {key}=null")
        if key in (*PLAIN, *PATHS):
            plain[key] = list(_sweep(override)) if override.is_sweep_override() else override.value()
        elif key in GROUPS or key == "experiment":
            value = list(_sweep(override)) if override.is_sweep_override() else override.value()
            groups[key] = value if isinstance(value, list) else [value]
        else:
            dotted.append(_dotted(key, override, beside))
    if len(groups.get("experiment", [])) > 1:
        raise UserError("experiment: one run makes one experiment; run them one after the other")
    return plain, groups, dotted


def _known(key: str, beside: Iterable[str] = ()) -> str:
    return near_misses(key, (*PLAIN, *CHOICE, "experiment", *beside))


def _changes(key: str, plain: dict[str, Any], experiment: dict[str, Any]) -> bool:
    """Whether an argument makes another plan than the experiment's file alone; a group that is named always does."""
    if key in (*AXES, "vary", "claims"):
        return bool(_normal(key, plain.get(key)) != _normal(key, experiment[key]))
    return key.split(".")[0] in CHOICE and key not in PATHS


def _sweep(override: Override) -> Iterable[Any]:
    return override.sweep_iterator(transformer=lambda value: value)


def _dotted(key: str, override: Override, beside: Iterable[str]) -> str:
    top = key.split(".")[0]
    if top not in (*CHOICE,):
        raise UserError(f"unknown key {key!r}; {_known(top, beside)}")
    if override.is_sweep_override():
        raise UserError(f"{key} is no axis: one run has one value of it")
    line = str(override.input_line)
    # Fields that a file leaves to their defaults can be set as well; the schema refuses unknown ones.
    return line if override.is_delete() else f"++{line.lstrip('+')}"


def _compose(choices: dict[str, Any], dotted: list[str], plain: dict[str, Any]) -> dict[str, Any]:
    """Return one composed configuration as plain Python values; paths come from `plain`, letter by letter."""
    own = {group: made for group, choice in choices.items() if (made := _own(group, str(choice)))}
    names = {group: choice for group, choice in choices.items() if group not in own}
    fields = [line for line in dotted if line.lstrip("+~").split(".")[0] in own]
    rest = [line for line in dotted if line not in fields]
    for group, choice in names.items():
        known = [path.stem for path in (conf_folder() / group).glob("*.yaml")]
        if choice not in known:
            raise UserError(f"unknown {group} {choice!r}; {near_misses(str(choice), known)}")
    with initialize_config_dir(str(conf_folder()), version_base=None):
        config = compose("config", [*(f"{group}={choice}" for group, choice in names.items()), *rest])
    paths = {path: plain[path] for path in PATHS[1:] if plain.get(path) is not None}
    for path in paths:  # never read by OmegaConf, which would take ${ for its own
        OmegaConf.update(config, path, None, force_add=True)
    values: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    missing = sorted(key for key in OmegaConf.missing_keys(config) if key.split(".")[0] not in own)
    if missing:
        raise UserError(f"{missing[0]} is needed: give {missing[0]}={_needed(missing[0], values)}")
    values |= own
    for override in OverridesParser.create().parse_overrides(fields):
        *parents, field = override.key_or_group.split(".")
        functools.reduce(lambda node, key: node.setdefault(key, {}), parents, values)[field] = override.value()
    for path, value in paths.items():
        group, field = path.split(".")
        values[group][field] = value
    return values


def _needed(key: str, values: dict[str, Any]) -> str:
    """Return what the value of a missing key is."""
    if key != "dataset.root":
        return "VALUE"
    dataset = Dataset.model_validate_json(json.dumps(values["dataset"] | {"root": None}))
    return f"DIR; put {catalogue.held(dataset)} into DIR"


def _own(group: str, choice: str) -> dict[str, Any] | None:
    """Return the fields of what has no file in conf: a user's own function, or a model that a library knows by name."""
    source, _, function = choice.rpartition(":")
    if group == "model" and source in LIBRARIES:
        return {"name": function, "factory": f"bench.models.zoo:{source}_model", "options": {"name": function}}
    if group not in OWN or not _is_path(choice):
        return None
    name = f"{Path(source).stem}.{function}"
    return {"name": name, OWN[group]: choice} | ({"title": name, "validation": 0.1} if group == "dataset" else {})


def _normal(axis: str, value: Any) -> list[Any]:
    """Return an axis as a list of its full form."""
    values = value if isinstance(value, list) else [value]
    if axis == "criterion":
        return [_criterion(item) for item in values if item is not None]
    if axis in NAMED:
        return [{"name": item} if isinstance(item, str) else item for item in values]
    return values


def _criterion(value: Any) -> Any:
    if isinstance(value, dict):
        if "name" not in value:
            raise UserError(f"criterion={value}: give its name, as {{name: grasp, temperature: 1}}")
        return {"name": value["name"], "options": {key: v for key, v in value.items() if key != "name"}}
    return {"name": value, "options": {}}


def _validated(values: dict[str, Any]) -> Settings:
    try:
        # By way of JSON: strict types, yet lists become tuples.
        return Settings.model_validate_json(json.dumps(values))
    except TypeError as error:
        raise UserError(f"the configuration holds a value that is no JSON: {error}") from error
    except ValidationError as error:
        raise UserError(_say(error)) from error


def _say(error: ValidationError) -> str:
    """Return the first error as `where = value: what is wrong`."""
    first = next((e for e in error.errors() if e["type"] not in ("none_required",)), error.errors()[0])
    where = ".".join(str(part) for part in first["loc"] if not isinstance(part, int) and part != "choices")
    message = first["msg"].removeprefix("Value error, ")
    expected = first.get("ctx", {}).get("expected") or first.get("ctx", {}).get("expected_tags")
    if expected and isinstance(first["input"], str | dict):
        name = first["input"] if isinstance(first["input"], str) else str(first["input"].get("name"))
        options = [option.strip(" '") for option in str(expected).replace(" or ", ",").split(",")]
        message = f"unknown value {name!r}; {near_misses(name, options)}"
    elif first["type"] == "union_tag_not_found":
        message = f"give its name, as {{name: ..., ...}}: {first['ctx']['discriminator']} is missing"
    elif first["type"] == "too_short":
        message = "give at least one"
    elif first["type"] == "value_error" and isinstance(first["input"], dict):
        return f"{where}: {message}" if where else message
    elif first["type"] == "extra_forbidden":
        *parents, key = first["loc"]
        parent = next(part for part in reversed(parents) if isinstance(part, str))  # others count values of an axis
        kinds = {kind.__name__.lower(): kind.model_fields for kind in Frozen.__subclasses__()}
        fields = kinds.get(str(parent).replace("_", ""), {})
        message = f"there is no such option; {near_misses(str(key), fields) if fields else f'{parent} has none'}"
    return f"{where} = {textwrap.shorten(json.dumps(first['input'], ensure_ascii=False), 80)}: {message}"


def _one_line(error: Exception) -> str:
    return " ".join(re.split(r"\n(full_key|See )", str(error))[0].split())
