import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from bench.data import load
from bench.data.parquet import read
from bench.errors import UserError
from bench.schema import Dataset


def pixels(count: int, size: int = 8, seed: int = 0) -> np.ndarray:
    """Smooth colour images, uint8 [count, size, size, 3], that JPEG keeps nearly as they are."""
    corners = np.random.default_rng(seed).integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BILINEAR)) for c in corners])


def encoded(image: np.ndarray, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format, quality=95)
    return buffer.getvalue()


@pytest.fixture
def make(tmp_path: Path, make_dataset: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """Write both files, with `columns` in place of the good ones of the training file."""

    def write(**columns: Any) -> Dataset:
        folder = tmp_path / "a folder=ä"
        folder.mkdir(exist_ok=True)
        for name, count, seed in (("train", 12, 0), ("test", 5, 1)):
            good = {
                "image": [encoded(image) for image in pixels(count, seed=seed)],
                "label": np.arange(count, dtype=np.uint8) % 10,
            }
            values = good | (columns if name == "train" else {})
            frame = pd.DataFrame({key: value for key, value in values.items() if value is not None})
            frame.to_parquet(folder / f"{name}.parquet")
        return make_dataset(name="images", reader="bench.data.parquet:read", root=str(folder))

    return write


def test_images_and_labels_are_read_back(make: Callable[..., Dataset]) -> None:
    raw = read(make())
    for split, count, seed in ((raw.train, 12, 0), (raw.test, 5, 1)):
        assert torch.equal(split.inputs, torch.from_numpy(pixels(count, seed=seed)).permute(0, 3, 1, 2))
        assert split.targets.tolist() == [number % 10 for number in range(count)]
        assert (split.inputs.dtype, split.targets.dtype) == (torch.uint8, torch.int64)
    assert raw.num_classes == 10


def test_jpeg_and_grey_images(make: Callable[..., Dataset]) -> None:
    images = pixels(2)
    grey = images[1, :, :, 0]
    raw = read(make(image=[encoded(images[0], "JPEG"), encoded(grey)], label=[3, 4]))
    difference = raw.train.inputs[0].int() - torch.from_numpy(images[0]).permute(2, 0, 1)
    assert difference.abs().float().mean() < 6
    assert torch.equal(raw.train.inputs[1], torch.from_numpy(grey.copy()).expand(3, 8, 8))


def test_it_loads_as_a_dataset(make: Callable[..., Dataset]) -> None:
    data = load(make(), torch.device("cpu"))
    assert (data.input_shape, len(data.train)) == ((3, 8, 8), 12)


GOOD = [encoded(image) for image in pixels(3)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": None}, r"train\.parquet has no column 'label'; its columns: image"),
        ({"image": None, "picture": GOOD, "label": [0, 1, 2]}, "no column 'image'; its columns: label, picture"),
        (
            {"image": [*GOOD[:2], b"no image"], "label": [0, 1, 2]},
            r"train\.parquet: row 2: the image cannot",
        ),
        ({"image": [*GOOD[:2], GOOD[2][:40]], "label": [0, 1, 2]}, "row 2: the image cannot be decoded"),
        ({"image": [GOOD[0], b"", GOOD[1]], "label": [0, 1, 2]}, "row 1: the image cannot be decoded"),
        ({"image": [None, *GOOD[:2]], "label": [0, 1, 2]}, "row 0: the image cannot be decoded"),
        ({"image": [1, 2, 3], "label": [0, 1, 2]}, "row 0: the image cannot be decoded"),
        ({"image": GOOD, "label": [0, 10, 2]}, r"row 1: label 10 is outside 0\.\.9"),
        ({"image": GOOD, "label": [0, 1, -1]}, "row 2: label -1 is outside"),
        ({"image": GOOD, "label": [0, None, 2]}, "'label' must hold an integer in every row"),
        ({"image": GOOD, "label": ["cat", "dog", "cat"]}, "'label' must hold an integer in every row"),
        ({"image": [GOOD[0], encoded(pixels(1, 9)[0])], "label": [0, 1]}, r"row 1: .*one size.*\(9, 9\).*\(8, 8\)"),
        ({"image": [encoded(pixels(1, 9)[0])], "label": [0]}, r"train\.parquet and .*test\.parquet differ in size"),
        ({"image": [], "label": np.array([], dtype=int)}, "holds no images"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(make: Callable[..., Dataset], columns: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read(make(**columns))
    assert "\n" not in str(error.value)


def test_absent_files(make: Callable[..., Dataset], make_dataset: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = make()
    assert dataset.root
    (Path(dataset.root) / "test.parquet").unlink()
    absent = make_dataset(name="images", reader="bench.data.parquet:read", root=str(tmp_path / "absent"))
    for of in (dataset, absent):
        with pytest.raises(UserError, match=r"images is not there: put train\.parquet and test\.parquet into .*root="):
            read(of)


def test_a_file_that_is_no_parquet(make: Callable[..., Dataset]) -> None:
    dataset = make()
    assert dataset.root
    (Path(dataset.root) / "train.parquet").write_bytes(b"image,label\n")
    with pytest.raises(UserError, match=r"train\.parquet cannot be read as parquet"):
        read(dataset)
