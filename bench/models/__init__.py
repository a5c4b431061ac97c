"""Networks: plain modules from factories `f(input_shape, num_classes, **options)`, built-in or in a user's file."""

import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from bench import identity
from bench.errors import UserError
from bench.models.weights import load_weights_
from bench.own import function_of, say
from bench.schema import Model
from bench.seeds import global_stream


def build(model: Model, input_shape: tuple[int, ...], num_classes: int, seed: int) -> nn.Module:
    """Return a new network on the CPU with published weights, those of its file, or those that `seed` initialises.

    No global generator is moved. Raises UserError in one line for a factory that cannot be found, does not take the
    options, or fails, and for a weights file that cannot be read or does not fit.
    """
    if published := identity.published_weights(model):
        model = model.model_copy(update={"options": model.options | {"published": published}, "weights": None})
    path = identity.model_file(model)
    if path is None:
        network = _make(_resolved(model), model, input_shape, num_classes, seed)
    else:
        name = model.factory.rpartition(":")[2]
        with function_of(path, name, identity.model_hash(model), "model") as factory:
            network = _make(factory, model, input_shape, num_classes, seed)
    if model.weights:
        load_weights_(network, model.weights)
    return network


def _resolved(model: Model) -> Callable[..., Any]:
    try:
        factory: Callable[..., Any] = pkgutil.resolve_name(model.factory)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"model {model.name}: factory {model.factory} cannot be found: {error}") from error
    return factory


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
        raise UserError(say(f"model {model.name}", f"{model.factory} failed", error, path)) from error
    if not isinstance(network, nn.Module):
        raise UserError(f"model {model.name}: {model.factory} returned a {type(network).__name__}, not an nn.Module")
    return network
