"""Scikit-learn's embedded tables: breast cancer (two classes) and diabetes (a regression)."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench import catalogue, schema
from bench.data.samples import Raw, Split
from bench.data.splits import hold_out
from bench.errors import UserError
from bench.seeds import generator

TEST_SHARE = 0.2
"""Of the fixed test split; the publishers of these files have none."""


def breast_cancer(dataset: schema.Dataset) -> Raw:
    """Return 569 tumours: 30 features of cell nuclei; classes malignant 0, benign 1 (Street et al. 1993)."""
    (path,) = catalogue.files(dataset)
    table = _table(path, "breast_cancer", header=1, delimiter=",")
    return _parted(Split(table[:, :-1], table[:, -1].long()), "breast_cancer", num_classes=2)


def diabetes(dataset: schema.Dataset) -> Raw:
    """Return 442 patients: ten features; the disease's progression a year later, 25 to 346 (Efron et al. 2004)."""
    features, targets = (_table(path, "diabetes") for path in catalogue.files(dataset))
    return _parted(Split(features, targets), "diabetes", num_classes=None)


def _table(path: Path, name: str, header: int = 0, delimiter: str | None = None) -> Tensor:
    # As `sklearn.datasets` reads it: importing scikit-learn costs every worker a second.
    try:
        return torch.from_numpy(np.loadtxt(path, np.float32, delimiter=delimiter, skiprows=header))
    except (OSError, ValueError) as error:
        raise UserError(f"dataset {name} cannot be read from {path}: {error}; install scikit-learn again") from error


def _parted(table: Split, name: str, num_classes: int | None) -> Raw:
    train, test = hold_out(table, round(TEST_SHARE * len(table)), generator(0, "test", name))
    return Raw(train, test, num_classes)
