from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from bench import catalogue
from bench.data.digits import read
from bench.errors import UserError
from bench.schema import Dataset


def test_they_are_scikit_learns_digits(make_dataset: Callable[..., Dataset]) -> None:
    raw = read(make_dataset())
    published = load_digits()
    grey = np.rint(published.images * 255 / 16 + 1e-9).astype(np.uint8)  # halves are rounded up
    expected = sorted((label, image.tobytes()) for label, image in zip(published.target, grey, strict=True))
    read_back = [
        (int(label), image.numpy().tobytes())
        for split in (raw.train, raw.test)
        for image, label in zip(split.inputs, split.targets, strict=True)
    ]
    assert sorted(read_back) == expected
    assert raw.train.inputs.shape == (1437, 1, 8, 8)
    assert raw.train.inputs.dtype == torch.uint8
    assert (int(raw.train.inputs.min()), int(raw.train.inputs.max())) == (0, 255)


def test_the_test_split_is_fixed_and_stratified(make_dataset: Callable[..., Dataset]) -> None:
    raw = read(make_dataset())
    counts = raw.test.targets.bincount()
    shares = torch.cat([raw.train.targets, raw.test.targets]).bincount() * 360 / 1797
    assert int(counts.sum()) == 360
    assert ((counts - shares).abs() < 1).all()
    assert torch.equal(raw.test.inputs, read(make_dataset(name="other", validation=9)).test.inputs)


def test_a_broken_file_is_named(
    make_dataset: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "digits.csv.gz").write_bytes(b"no gzip")
    monkeypatch.setattr(catalogue, "sklearn_folder", lambda: tmp_path)
    with pytest.raises(UserError, match=r"cannot be read from .*digits\.csv\.gz.*install scikit-learn"):
        read(make_dataset())
