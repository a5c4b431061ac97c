"""Images in class folders (bench.folders): ImageNet, Imagenette, TinyImageNet, a user's own.

The publisher's val/ is the test set, since ImageNet's own test labels were never published; the validation split is
held out of train/. Published weights of ImageNet have seen those held-out images too: what is chosen on them is chosen
on training images.
"""

from typing import cast

import torch
from torch import Tensor

from bench import catalogue, folders, identity, schema
from bench.data import download, imagenet_archives
from bench.data.samples import Raw, Split
from bench.data.streaming import ImageFiles, stream
from bench.errors import UserError

CHUNK = 256
"""Images that are decoded together into memory."""


def read(dataset: schema.Dataset) -> Raw:
    """Return images that stay in their files. UserError for absent or misplaced ones, and for a missing `size`."""
    root = catalogue.image_folder(dataset)
    if not folders.is_present(root):
        raise catalogue.absent(dataset)
    if dataset.size is None:
        raise UserError(f"dataset {dataset.name} needs the side of its square inputs: give dataset.size=224")
    # The plan has looked for unreadable ones: only where they are to be left out are they needed here.
    train, val = identity.images(dataset) if dataset.skip_unreadable else folders.parts(root)
    resize = dataset.resize or dataset.size
    one, two = (
        Split(
            cast(Tensor, ImageFiles(root, part.paths, dataset.size, resize, torch.arange(len(part.paths)))),
            torch.tensor(part.labels),
        )
        for part in (train, val)
    )
    return Raw(one, two, len(folders.classes(root)))


imagenet = imagenette = read


def tiny_imagenet(dataset: schema.Dataset) -> Raw:
    """Return the images in memory, uint8 [N, 3, size, size]: 1.2 GB for the 100,000 of 64x64; errors as `read`."""
    raw = read(dataset)
    return Raw(_in_memory(raw.train), _in_memory(raw.test), raw.num_classes)


def _in_memory(split: Split) -> Split:
    files = cast(ImageFiles, split.inputs)
    images = torch.empty(len(files), files.size, files.size, 3, dtype=torch.uint8)
    decoded = stream(files, torch.arange(len(files)), CHUNK, images.device)
    for number, batch in enumerate(decoded):
        images[number * CHUNK : (number + 1) * CHUNK] = batch
    return Split(images.permute(0, 3, 1, 2), split.targets)


def fetch(dataset: schema.Dataset) -> None:
    """Make the folders: unpack ImageNet's archives, download Imagenette or TinyImageNet; else UserError what to do."""
    if dataset.reader in catalogue.ARCHIVES:
        download.fetch(dataset)
    elif dataset.reader == catalogue.IMAGENET:
        imagenet_archives.unpack(dataset)
    else:
        raise catalogue.absent(dataset)
