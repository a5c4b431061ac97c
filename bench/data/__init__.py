"""Labelled samples: read once a process, split, moved to the device, and cut into batches there."""

import pkgutil
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from bench import identity, schema
from bench.data.batching import batches
from bench.data.fitting import indexed, standardised
from bench.data.samples import Data, Raw, Split
from bench.data.scoring import scoring_batches
from bench.data.splits import hold_out
from bench.data.streaming import ImageFiles
from bench.errors import UserError
from bench.seeds import generator

__all__ = ["Data", "Raw", "Split", "batches", "fetch", "load", "scoring_batches"]


@lru_cache(maxsize=4)
def load(dataset: schema.Dataset, device: torch.device) -> Data:
    """Return a dataset on a device, decoded once per process; its validation split is fixed by the dataset's name.

    Raises UserError where files are absent or broken, or the configuration does not fit them.
    """
    raw: Raw = _reader(dataset)(dataset)
    _check(dataset, raw)
    count = dataset.validation * (len(raw.train) if dataset.validation < 1 else 1)
    train, validation = hold_out(raw.train, round(count), generator(0, "validation", dataset.name))
    splits = standardised(train, validation, raw.test)
    if dataset.text:
        splits = indexed(*splits, dataset.text.vocabulary)
    train, validation, test = (_on_device(split, device) for split in splits)
    return Data(train, validation, test, raw.num_classes, dataset.mean, dataset.std)


def _check(dataset: schema.Dataset, raw: Raw) -> None:
    inputs = raw.train.inputs
    channels = inputs.shape[1] if inputs.dtype == torch.uint8 else 0
    if not len(dataset.mean) == len(dataset.std) == channels:
        raise UserError(f"dataset {dataset.name} has {channels} channels: dataset.mean and std need as many values")
    if dataset.validation >= len(inputs):
        raise UserError(
            f"dataset.validation={dataset.validation} leaves nothing to train on: the training set of {dataset.name} "
            f"has {len(inputs)} samples"
        )


def fetch(dataset: schema.Dataset) -> None:
    """Download a dataset where it is absent and its reader's module has a `fetch`; else UserError says what is needed.

    Downloading shows its progress on stderr.
    """
    if identity.is_present(dataset):
        return
    module = sys.modules[_reader(dataset).__module__]
    if not hasattr(module, "fetch"):
        raise UserError(f"dataset {dataset.name} is not there: {identity.where(dataset)}")
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
