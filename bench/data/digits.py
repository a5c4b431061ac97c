"""Scikit-learn's digits: 1,797 grey images of 8x8 (Alpaydin and Kaynak 1998), embedded in the package."""

import numpy as np
import torch

from bench import catalogue, schema
from bench.data.samples import Raw, Split
from bench.data.splits import hold_out
from bench.errors import UserError
from bench.seeds import generator

TEST = 360
"""Images of the fixed test split, about a fifth; the publisher of this file has none."""


def read(dataset: schema.Dataset) -> Raw:
    """Return uint8 images [N, 1, 8, 8] and ten classes; grey values 0..16 become 0..255.

    Reads the file that `sklearn.datasets.load_digits` reads: importing scikit-learn costs every worker a second.
    """
    (path,) = catalogue.files(dataset)
    try:
        table = torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.int64))
    except (OSError, ValueError) as error:
        raise UserError(f"dataset digits cannot be read from {path}: {error}; install scikit-learn again") from error
    inputs = ((table[:, :64] * 255 + 8) // 16).to(torch.uint8).view(-1, 1, 8, 8)
    train, test = hold_out(Split(inputs, table[:, 64]), TEST, generator(0, "test", "digits"))
    return Raw(train, test, num_classes=10)
