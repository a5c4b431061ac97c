"""Texts and their labels in CSV or parquet: train.* and test.* below the root, or one file of which a fifth is tested.

Tokens are lower-case words, so that nothing is downloaded.
"""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench import catalogue, schema
from bench.data.fitting import UNKNOWN
from bench.data.samples import Raw, Split
from bench.data.splits import hold_out
from bench.errors import UserError, near_misses
from bench.seeds import generator

WORD = re.compile(r"\w+(?:'\w+)*")
TEST_SHARE = 0.2

Rows = tuple[list[str], list[str]]
"""Texts and labels of a file."""


def read(dataset: schema.Dataset) -> Raw:
    """Return tokens int64 [N, length], ids by the alphabet over all files, and classes in the order of their labels.

    `bench.data.load` then gives ids to the training part's most frequent words alone. A text without a word is one
    unknown word. Raises UserError that names the file, the row (from 1) and what is wrong.
    """
    text = dataset.text
    if text is None:
        raise UserError(f"dataset {dataset.name} needs dataset.text, see conf/dataset/text.yaml")
    catalogue.require(dataset)
    paths = catalogue.files(dataset)
    files = [_rows(path, text) for path in paths]
    classes = _classes(files[0][1], paths[0])
    words = [[WORD.findall(one.lower())[: text.length] for one in texts] for texts, _ in files]
    ids = {word: place for place, word in enumerate(_alphabet(words), start=UNKNOWN + 1)}
    train, *test = (
        Split(_tokens(lists, ids, text.length), _targets(labels, classes, path))
        for lists, (_, labels), path in zip(words, files, paths, strict=True)
    )
    if test:
        return Raw(train, test[0], len(classes))
    return Raw(*hold_out(train, round(TEST_SHARE * len(train)), generator(0, "test", dataset.name)), len(classes))


def _rows(path: Path, text: schema.Text) -> Rows:
    if not path.stat().st_size:
        raise UserError(f"{path} is empty")
    table = _table(path)
    for name in (text.column, text.label):
        if name not in table:
            raise UserError(
                f"{path} has no column {name!r}; {near_misses(name, table)}; name the columns with "
                "dataset.text.column=NAME dataset.text.label=NAME"
            )
    texts, labels = table[text.column], table[text.label]
    if not texts:
        raise UserError(f"{path} holds no texts")
    for row, (one, label) in enumerate(zip(texts, labels, strict=True), start=1):
        if not isinstance(one, str):
            raise UserError(f"{path}: row {row}: column {text.column!r} must hold text, not {one!r}")
        if not isinstance(label, str | int) or label == "":
            raise UserError(f"{path}: row {row}: column {text.label!r} must hold a string or an integer, not {label!r}")
    return texts, [str(label) for label in labels]


def _table(path: Path) -> dict[str, list[Any]]:
    """Return column -> values; of CSV all are strings."""
    is_csv = path.suffix == ".csv"
    try:
        if is_csv:
            return _csv(path)
        # Nullable, so that integers stay integers where a row has none.
        frame = pd.read_parquet(path, dtype_backend="numpy_nullable")
        return {str(name): column.tolist() for name, column in frame.items()}
    except (ValueError, OSError, csv.Error) as error:
        kind = "CSV in UTF-8" if is_csv else "parquet"
        hint = "" if is_csv or path.suffix == ".parquet" else "; give a file that ends in .csv or .parquet"
        raise UserError(f"{path} cannot be read as {kind}: {' '.join(str(error).split())}{hint}") from error


def _csv(path: Path) -> dict[str, list[Any]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        # Empty lines, as at a file's end, are no rows.
        header, *rows = [row for row in csv.reader(file, strict=True) if row] or [[]]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ValueError(
                f"row {number} has {len(row)} values for {len(header)} columns (a text with commas needs quotes)"
            )
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def _classes(labels: list[str], path: Path) -> dict[str, int]:
    """Return label -> class: integers by size, strings by the alphabet."""
    names = set(labels)
    if len(names) < 2:
        raise UserError(f"{path} has but one label, {labels[0]!r}: a classifier needs two")
    numbers = all(re.fullmatch(r"-?\d+", name) for name in names)
    ordered = sorted(names, key=lambda name: (int(name) if numbers else 0, name))
    return {name: place for place, name in enumerate(ordered)}


def _targets(labels: list[str], classes: dict[str, int], path: Path) -> Tensor:
    for row, label in enumerate(labels, start=1):
        if label not in classes:
            raise UserError(f"{path}: row {row}: label {label!r} is not in the training set; {_some(classes)}")
    return torch.tensor([classes[label] for label in labels])


def _some(classes: dict[str, int]) -> str:
    names = list(map(repr, classes))
    return f"its labels: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"


def _alphabet(words: Iterable[Iterable[list[str]]]) -> list[str]:
    return sorted({word for lists in words for found in lists for word in found})


def _tokens(lists: list[list[str]], ids: dict[str, int], length: int) -> Tensor:
    tokens = np.zeros((len(lists), length), np.int64)
    for row, found in enumerate(lists):
        tokens[row, : max(len(found), 1)] = [ids[word] for word in found] or UNKNOWN
    return torch.from_numpy(tokens)
