"""Images a second and core from JPEGs of ImageNet's usual size, beside torchvision's ImageFolder and DataLoader."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, RandomHorizontalFlip, RandomResizedCrop, ToTensor

from bench.data.streaming import ImageFiles, stream
from tests.images import image_folder
from tests.perf.timing import one_thread, race

COUNT = 240


@pytest.mark.perf
def test_a_core_decodes_more_images_than_with_torchvisions_loader(tmp_path: Path) -> None:
    root = image_folder(tmp_path, train=COUNT // 4, val=1, size=(500, 375))
    paths = sorted(str(path.relative_to(root)) for path in (root / "train").rglob("*.JPEG"))
    files = ImageFiles(root, paths, 224, 256, torch.arange(COUNT))
    chance = torch.Generator().manual_seed(0)

    def ours(threads: int) -> None:
        for batch in stream(files, torch.arange(COUNT), 60, torch.device("cpu"), chance, 0.08, True, threads):
            batch.float()

    transforms = Compose([RandomResizedCrop(224), RandomHorizontalFlip(), ToTensor()])
    loader = DataLoader(ImageFolder(root / "train", transforms), 60)  # in this process, whose time is measured

    def theirs() -> None:
        for inputs, _ in loader:
            inputs.float()

    with one_thread():
        seconds = race(3, ours=lambda: ours(1), four=lambda: ours(4), theirs=theirs)
    print({name: f"{COUNT / value:.0f} images a second and core" for name, value in seconds.items()})
    assert seconds["ours"] < seconds["theirs"]
    assert seconds["four"] < 1.3 * seconds["ours"]
