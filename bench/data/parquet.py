"""CIFAR-10 kept as parquet, a row an image: train.parquet and test.parquet, columns image (encoded), label (integer).

Decoding the 60,000 images of the JPEG re-encoding takes about 3 s on one CPU core, so nothing decoded is kept on disk.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from bench import catalogue, schema
from bench.data.samples import Raw, Split
from bench.errors import UserError

CLASSES = 10


def read(dataset: schema.Dataset) -> Raw:
    """Return colour images [N, 3, H, W] and ten classes; UserError for what is absent or broken, naming the row."""
    catalogue.require(dataset)
    (train_path, train), (test_path, test) = ((path, _split(path)) for path in catalogue.files(dataset))
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        sizes = (tuple(split.inputs.shape[1:]) for split in (train, test))
        raise UserError("images of {} and {} differ in size: {} and {}".format(train_path, test_path, *sizes))
    return Raw(train, test, CLASSES)


def _split(path: Path) -> Split:
    try:
        table = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as parquet: {' '.join(str(error).split())}") from error
    for column in ("image", "label"):
        if column not in table:
            raise UserError(f"{path} has no column {column!r}; its columns: {', '.join(map(str, table))}")
    if table.empty:
        raise UserError(f"{path} holds no images")
    return Split(_decoded(list(table["image"]), path), _labels(table["label"], path))


def _labels(column: "pd.Series[int]", path: Path) -> Tensor:
    if not pd.api.types.is_integer_dtype(column) or column.hasnans:
        raise UserError(f"{path}: column 'label' must hold an integer in every row")
    labels = torch.tensor(column.to_numpy(), dtype=torch.int64)
    for row in ((labels < 0) | (labels >= CLASSES)).nonzero().flatten().tolist()[:1]:
        raise UserError(f"{path}: row {row}: label {labels[row]} is outside 0..{CLASSES - 1}")
    return labels


def _decoded(rows: list[bytes], path: Path) -> Tensor:
    """Return all images of a file, uint8 [N, 3, H, W]."""
    first = _image(rows[0], 0, path)
    images = np.empty((len(rows), *first.shape), np.uint8)
    for row, encoded in enumerate(rows):
        image = _image(encoded, row, path)
        if image.shape != first.shape:
            sizes = f"{image.shape[:2]}, that of row 0 {first.shape[:2]}"
            raise UserError(f"{path}: row {row}: images must be of one size; this one's is {sizes}")
        images[row] = image
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _image(encoded: bytes, row: int, path: Path) -> "np.typing.NDArray[np.uint8]":
    """Return one image, uint8 [H, W, 3]."""
    try:
        image = Image.open(io.BytesIO(encoded))
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except Exception as error:  # whatever the decoder of its format raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: row {row}: the image cannot be decoded: {reason}") from error
