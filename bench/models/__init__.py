"""Networks: plain modules from factories `f(input_shape, num_classes, **options)`, built-in or in a user's file."""

import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from bench import identity
from bench.errors import UserError, near_misses
from bench.models.weights import load_weights_
from bench.schema import Model
from bench.seeds import global_stream
from criteria._import import importable, line_of


def build(model: Model, input_shape: tuple[int, ...], num_classes: int, seed: int) -> nn.Module:
    """Return a new network on the CPU with the weights of its file, or those that `seed` initialises.

    No global generator is moved. Raises UserError in one line for a factory that cannot be found, does not take the
    options, or fails, and for a weights file that cannot be read or does not fit.
    """
    path = identity.model_file(model)
    if path is None:
        network = _make(_resolved(model), model, input_shape, num_classes, seed)
    else:
        # The file's folder stays importable while the factory runs: it may import its helpers late.
        with importable(path.parent):
            network = _make(_from_file(path, model), model, input_shape, num_classes, seed)
    if model.weights:
        load_weights_(network, model.weights)
    return network


def _resolved(model: Model) -> Callable[..., Any]:
    try:
        factory: Callable[..., Any] = pkgutil.resolve_name(model.factory)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"model {model.name}: factory {model.factory} cannot be found: {error}") from error
    return factory


def _from_file(path: Path, model: Model) -> Callable[..., Any]:
    name = model.factory.rpartition(":")[2]
    module = _run(path, f"model_{path.stem}_{identity.fingerprint(model)}")
    factory = getattr(module, name, None)
    if not callable(factory):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UserError(f"model file {path} has no factory {name!r}; {near_misses(name, known)}")
    return factory  # type: ignore[no-any-return]


def _run(path: Path, name: str) -> ModuleType:
    """Import a file under a name of its own."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses, pickle and inspect look a class's module up there
    try:
        with global_stream(0, "import"):
            spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(_say(f"model file {path}", "cannot be imported", error, path)) from error
    return module


def _make(
    factory: Callable[..., Any], model: Model, input_shape: tuple[int, ...], num_classes: int, seed: int
) -> nn.Module:
    try:
        inspect.signature(factory).bind(input_shape, num_classes, **model.options)
    except TypeError as error:
        known = list(inspect.signature(factory).parameters)[2:]
        raise UserError(
            f"model {model.name}: {model.factory} cannot be called with (input_shape, num_classes) and the options "
            f"{list(model.options)}: {error}; its options: {', '.join(known) or 'none'}"
        ) from error
    try:
        with global_stream(seed, "init"):
            network = factory(input_shape, num_classes, **model.options)
    except UserError:
        raise
    except Exception as error:
        path = Path(inspect.getsourcefile(factory) or model.factory)
        raise UserError(_say(f"model {model.name}", f"{model.factory} failed", error, path)) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"model {model.name}: {model.factory} returned a {type(network).__name__}, not an nn.Module")
    return network


def _say(what: str, went_wrong: str, error: Exception, path: Path) -> str:
    return f"{what}{line_of(error, path)} {went_wrong}: {type(error).__name__}: {' '.join(str(error).split())}"
