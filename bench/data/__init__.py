"""Labelled samples: read once a process, split, moved to the device, and cut into batches there."""

import pkgutil
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from bench import catalogue, identity, schema
from bench.data.batching import batches
from bench.data.fitting import indexed, standardised
from bench.data.samples import Data, Raw, Split
from bench.data.scoring import scoring_positions
from bench.data.splits import hold_out
from bench.data.streaming import ImageFiles
from bench.errors import UserError
from bench.own import function_of, say
from bench.seeds import generator

__all__ = ["Data", "Raw", "Split", "batches", "fetch", "load", "scoring_positions"]


@lru_cache(maxsize=4)
def load(dataset: schema.Dataset, device: torch.device) -> Data:
    """Return a dataset on a device, decoded once per process; its validation split is fixed by the dataset's name.

    Raises UserError where files are absent or broken, or the configuration does not fit them.
    """
    raw = _read(dataset)
    _check(dataset, raw)
    count = dataset.validation * (len(raw.train) if dataset.validation < 1 else 1)
    train, validation = hold_out(raw.train, round(count), generator(0, "validation", dataset.name))
    splits = standardised(train, validation, raw.test)
    if dataset.text:
        splits = indexed(*splits, dataset.text.vocabulary)
    train, validation, test = (_on_device(split, device) for split in splits)
    mean, std = (dataset.mean, dataset.std) if dataset.mean else _colours(train)
    return Data(train, validation, test, raw.num_classes, mean, std)


def _colours(train: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel of images for pixels scaled to [0, 1]; (), () without images."""
    if train.inputs.dtype != torch.uint8:
        return (), ()
    values = torch.arange(256).double() / 255
    shares = torch.stack([channel.bincount(minlength=256).cpu() for channel in train.inputs.transpose(0, 1).flatten(1)])
    shares = shares.double() / shares[0].sum()
    means = shares @ values
    stds = (shares @ values**2 - means**2).clamp(min=1e-6).sqrt()
    return tuple(means.tolist()), tuple(stds.tolist())


def _read(dataset: schema.Dataset) -> Raw:
    path = catalogue.reader_file(dataset)
    if path is None:
        raw = _reader(dataset)(dataset)
    else:
        name = dataset.reader.rpartition(":")[2]
        with function_of(path, name, identity.reader_hash(dataset), "dataset") as reader:
            try:
                raw = reader(dataset)
            except UserError:
                raise
            except Exception as error:
                raise UserError(say(f"dataset {dataset.name}", f"{dataset.reader} failed", error, path)) from error
    if not isinstance(raw, Raw):
        raise UserError(f"dataset {dataset.name}: {dataset.reader} returned a {type(raw).__name__}, not bench.data.Raw")
    return raw


def _check(dataset: schema.Dataset, raw: Raw) -> None:
    for part, split in (("training", raw.train), ("test", raw.test)):
        if wrong := _wrong(split, raw.num_classes):
            raise UserError(f"dataset {dataset.name}: {wrong} in its {part} set")
    inputs = raw.train.inputs
    if dataset.text and (inputs.is_floating_point() or len(inputs.shape) != 2):
        raise UserError(f"dataset {dataset.name} is no text: leave dataset.text out")
    channels = inputs.shape[1] if inputs.dtype == torch.uint8 else 0
    given = bool(dataset.mean or dataset.std or isinstance(inputs, ImageFiles))
    if given and not len(dataset.mean) == len(dataset.std) == channels:
        raise UserError(f"dataset {dataset.name} has {channels} channels: dataset.mean and std need as many values")
    if dataset.validation >= len(inputs):
        raise UserError(
            f"dataset.validation={dataset.validation} leaves nothing to train on: the training set of {dataset.name} "
            f"has {len(inputs)} samples"
        )


def _wrong(split: Split, classes: int | None) -> str | None:
    """Return what is wrong with what a reader has read, if anything."""
    inputs, targets = split.inputs, split.targets
    if not isinstance(inputs, Tensor | ImageFiles) or not isinstance(targets, Tensor):
        return f"inputs and targets are {type(inputs).__name__} and {type(targets).__name__}, not tensors,"
    if len(inputs) != len(targets) or not len(targets):
        return f"there are {len(inputs)} inputs and {len(targets)} targets"
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        return "inputs are not finite"
    if classes is None:
        numbers = targets.is_floating_point() and bool(torch.isfinite(targets).all())
        return None if numbers else "targets are no finite numbers"
    if targets.dtype != torch.int64:
        return f"targets are {targets.dtype}, not int64,"
    if not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        return f"targets go from {int(targets.min())} to {int(targets.max())}, not from 0 to {classes - 1},"
    return None


def fetch(dataset: schema.Dataset) -> None:
    """Download a dataset where it is absent and its reader's module has a `fetch`; else UserError says what is needed.

    Downloading shows its progress on stderr.
    """
    if catalogue.is_present(dataset):
        return
    module = None if catalogue.reader_file(dataset) else sys.modules[_reader(dataset).__module__]
    if module is None or not hasattr(module, "fetch"):
        raise catalogue.absent(dataset)
    module.fetch(dataset)


def _reader(dataset: schema.Dataset) -> Callable[[schema.Dataset], Any]:
    try:
        reader: Callable[[schema.Dataset], Any] = pkgutil.resolve_name(dataset.reader)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"dataset.reader={dataset.reader} is no `module:function`: {error}") from error
    return reader


def _on_device(split: Split, device: torch.device) -> Split:
    if isinstance(split.inputs, ImageFiles):
        return Split(split.inputs, split.targets.to(device))
    # channels_last: a pixel's channels lie together, so that augmentation moves whole pixels.
    layout = torch.channels_last if split.inputs.dim() == 4 else torch.contiguous_format
    return Split(split.inputs.contiguous(memory_format=layout).to(device), split.targets.to(device))
