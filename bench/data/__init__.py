"""Labelled images: read once a process, split, moved to the device, and cut into batches there."""

import pkgutil
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from bench import identity, schema
from bench.data.batching import batches
from bench.data.samples import Data, Raw, Split
from bench.data.scoring import scoring_batches
from bench.data.splits import hold_out
from bench.errors import UserError
from bench.seeds import generator

__all__ = ["Data", "Raw", "Split", "batches", "fetch", "load", "scoring_batches"]


@lru_cache(maxsize=4)
def load(dataset: schema.Dataset, device: torch.device) -> Data:
    """Return a dataset on a device, decoded once per process; its validation split is fixed by the dataset's name.

    Raises UserError where files are absent or broken, or the configuration does not fit them.
    """
    raw: Raw = _reader(dataset)(dataset)
    channels = raw.train.inputs.shape[1]
    if not len(dataset.mean) == len(dataset.std) == channels:
        raise UserError(f"dataset {dataset.name} has {channels} channels: dataset.mean and std need as many values")
    if dataset.validation >= len(raw.train):
        raise UserError(
            f"dataset.validation={dataset.validation} leaves nothing to train on: the training set of {dataset.name} "
            f"has {len(raw.train)} images"
        )
    train, validation = hold_out(raw.train, dataset.validation, generator(0, "validation", dataset.name))
    train, validation, test = (_on_device(split, device) for split in (train, validation, raw.test))
    return Data(train, validation, test, raw.num_classes, dataset.mean, dataset.std)


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
    # channels_last: a pixel's channels lie together, so that augmentation moves whole pixels.
    return Split(split.inputs.contiguous(memory_format=torch.channels_last).to(device), split.targets.to(device))
