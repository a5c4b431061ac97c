"""Images decoded from their files: what comes out, whatever the threads."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from bench.data import Data, Split, batches
from bench.data.streaming import DRAWS, ImageFiles, random_box, stream
from bench.errors import UserError
from tests.images import image_folder, jpeg

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ImageFiles:
    root = image_folder(tmp_path_factory.mktemp("images"), train=4, val=1)
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*.JPEG"))
    return ImageFiles(root, paths, size=24, resize=30, positions=torch.arange(len(paths)))


def decoded(files: ImageFiles, threads: int, batch: int = 6, first: int = 0) -> torch.Tensor:
    chance = torch.Generator().manual_seed(3)
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(1))
    images = stream(files, order, batch, CPU, chance, crop_area=0.08, flip=True, first=first, threads=threads)
    return torch.cat(list(images))


def test_neither_threads_nor_batches_change_a_bit(files: ImageFiles) -> None:
    one = decoded(files, threads=1)
    assert one.shape == (20, 24, 24, 3)
    assert torch.equal(one, decoded(files, threads=4))
    assert torch.equal(one, decoded(files, threads=4, batch=20))
    assert threading.active_count() < 4 + 2


def test_what_comes_before_the_first_batch_is_not_decoded(files: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = ImageFiles.image

    def counted(self: ImageFiles, position: int, *rest: Any) -> torch.Tensor:
        read.append(position)
        return original(self, position, *rest)

    monkeypatch.setattr(ImageFiles, "image", counted)
    whole = decoded(files, threads=1)
    read.clear()
    assert torch.equal(decoded(files, threads=1, first=2), whole[12:])
    assert len(read) == 8


def test_evaluation_is_torchvisions_resize_and_centre_crop(files: ImageFiles) -> None:
    transform = v2.Compose([v2.Resize(30, antialias=True), v2.CenterCrop(24)])
    (got,) = stream(files, torch.arange(len(files)), 99, CPU)
    for image, path in zip(got, files.paths, strict=True):
        pixels = torch.from_numpy(np.array(Image.open(files.root / path))).permute(2, 0, 1)
        assert (image.permute(2, 0, 1).int() - transform(pixels).int()).abs().max() <= 2


@given(st.integers(1, 700), st.integers(1, 700), st.floats(0.01, 1), st.integers(0, 2**31))
def test_a_random_box_lies_in_the_image(height: int, width: int, crop_area: float, seed: int) -> None:
    chance = torch.rand(DRAWS, generator=torch.Generator().manual_seed(seed)).tolist()
    top, left, tall, wide = random_box(height, width, chance, crop_area)
    assert 0 <= top <= top + tall <= height
    assert 0 <= left <= left + wide <= width
    assert min(tall, wide) > 0


def test_boxes_are_distributed_as_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    chances = torch.rand(4000, DRAWS, generator=torch.Generator().manual_seed(0)).tolist()
    ours = torch.tensor([random_box(375, 500, chance, 0.08) for chance in chances]).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        crop = v2.RandomResizedCrop(224)
        drawn = [crop.make_params([torch.empty(3, 375, 500)]) for _ in range(4000)]
    theirs = torch.tensor([[box[key] for key in ("top", "left", "height", "width")] for box in drawn]).double()
    spread = theirs.std(0) / 4000**0.5
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 5 * spread).all()
    torch.testing.assert_close(ours.std(0), theirs.std(0), rtol=0.06, atol=0)


def test_whole_crops_differ_from_flipped_ones_by_the_flip_alone(tmp_path: Path) -> None:
    jpeg(tmp_path / "0.JPEG", 0, size=(24, 24))
    one = ImageFiles(tmp_path, ["0.JPEG"], 24, 24, torch.zeros(40, dtype=torch.int64))
    plain = one.image(0, None, None, flip=True)
    (drawn,) = stream(one, torch.arange(40), 40, CPU, torch.Generator().manual_seed(0), flip=True)
    same = [torch.equal(image.permute(2, 0, 1), plain) for image in drawn]
    flipped = [torch.equal(image.permute(2, 0, 1), plain.flip(2)) for image in drawn]
    assert all(a != b for a, b in zip(same, flipped, strict=True))
    assert 10 < sum(flipped) < 30


def test_batches_of_files_are_normalised_labelled_and_shuffled(files: ImageFiles) -> None:
    split = Split(files, torch.arange(20))  # type: ignore[arg-type]
    data = Data(split, split, split, 20, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    inputs, targets = zip(*batches(data, split[torch.arange(19)], 6, torch.Generator().manual_seed(0)), strict=True)
    assert [len(part) for part in inputs] == [6, 6, 6]  # a remainder of one is left out
    for image, target in zip(torch.cat(inputs), torch.cat(targets), strict=True):
        pixels = files.image(int(target), None, None, False).double() / 255
        mean, std = (torch.tensor(of).double()[:, None, None] for of in (data.mean, data.std))
        torch.testing.assert_close(image.double(), (pixels - mean) / std, atol=1e-4, rtol=0)
    assert split[split.targets < 7].inputs.shape == (7, 3, 24, 24)


def test_formats_that_are_no_common_jpeg(tmp_path: Path) -> None:
    grey = np.arange(0, 240, 10, dtype=np.uint8)[None].repeat(24, 0)
    Image.fromarray(grey).save(tmp_path / "grey.JPEG", quality=95)
    Image.fromarray(grey).convert("RGB").save(tmp_path / "png.JPEG", format="PNG")
    Image.fromarray(grey).convert("CMYK").save(tmp_path / "cmyk.JPEG", quality=95)
    names = ["grey.JPEG", "png.JPEG", "cmyk.JPEG"]
    (images,) = stream(ImageFiles(tmp_path, names, 24, 24, torch.arange(3)), torch.arange(3), 3, CPU)
    expected = torch.from_numpy(grey)[None, :, :, None].expand(3, 24, 24, 3)
    assert (images.int() - expected.int()).abs().max() < 8


def test_a_file_that_has_become_unreadable_is_named(files: ImageFiles, tmp_path: Path) -> None:
    (tmp_path / "0.JPEG").write_text("no image")
    with pytest.raises(UserError, match=r"0\.JPEG cannot be read as an image .*skip_unreadable=true") as error:
        list(stream(ImageFiles(tmp_path, ["0.JPEG"], 8, 8, torch.zeros(9, dtype=torch.int64)), torch.arange(9), 3, CPU))
    assert "\n" not in str(error.value)
