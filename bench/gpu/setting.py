"""What the checks run on: their sizes, random images, a briefly trained network."""

import copy
import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.data import Data, Split
from bench.models.resnet import resnet
from bench.schema import Recipe
from bench.seeds import generator, global_stream
from bench.train import Trainer

CLASSES = 10


@dataclass(frozen=True)
class Sizes:
    """How much is computed; the tests' sizes are tiny."""

    side: int = 32
    """Pixels a side of the images of the residual networks."""
    scored_depth: int = 8
    """Layers of the ResNet that is scored, on the CPU too."""
    score_batch: int = 32
    """Samples a batch of the scoring set, which has eight."""
    depth: int = 20
    """Layers of the ResNet that is trained, compacted and timed."""
    batch: int = 128
    steps: int = 20
    """Training steps: of each training, and between two readings of the clock."""
    repeats: int = 9
    """Readings of the clock of each contestant; the median counts."""
    networks: tuple[str, ...] = tuple(
        "vgg16_bn wrn28_10 mobilenet_v2 resnet50 convnext_t vgg16_bn_imagenet vit_s".split()
    )
    """Of conf/model: what else must train in deterministic mode."""
    vit_side: int = 224
    """Pixels a side of the images of what is made for ImageNet."""
    vit_depth: int = 12
    linears: tuple[tuple[int, int, int], ...] = ((4096, 4096, 4096), (64 * 197, 768, 3072))
    """Rows, inputs and outputs of linear layers: a large one, and that of ViT-B's MLP for 64 images."""


def network(depth: int) -> nn.Module:
    """Return a new ResNet on the CPU, always the same, laid out as a run's."""
    with global_stream(0, "gpu-check"):
        return resnet((3, 32, 32), CLASSES, depth=depth).to(memory_format=torch.channels_last)


def images(count: int, side: int, device: torch.device) -> Data:
    """Return random images and classes as a dataset on a device, without validation and test."""
    chance = generator(0, "gpu-check", "images")
    pixels = torch.randint(0, 256, (count, 3, side, side), generator=chance, dtype=torch.uint8)
    targets = torch.randint(0, CLASSES, (count,), generator=chance)
    train = Split(pixels.contiguous(memory_format=torch.channels_last).to(device), targets.to(device))
    none = train[torch.arange(0, device=device)]
    return Data(train, none, none, CLASSES, (0.5,) * 3, (0.25,) * 3)


def trainer(model: nn.Module, sizes: Sizes, device: torch.device, precision: str = "fp32") -> Trainer:
    """Return the harness's trainer of a model on random images, an epoch of which has `sizes.steps` steps."""
    samples = images(sizes.steps * sizes.batch, sizes.side, device)
    return Trainer(model, samples, recipe(sizes), [0.01] * 100_000, 0, "gpu-check", precision)


def recipe(sizes: Sizes) -> Recipe:
    """Return a recipe like that of CIFAR, at a rate that does no harm."""
    return Recipe(
        name="gpu-check",
        source="none",
        epochs=1,
        batch_size=sizes.batch,
        optimizer="sgd",
        lr=0.01,
        momentum=0.9,
        weight_decay=1e-4,
        lr_schedule="constant",
        crop_padding=4,
        flip=True,
        finetune_epochs=0,
    )


def trained(sizes: Sizes) -> nn.Module:
    """Return the network to be scored, in eval mode on the CPU: scales and statistics of batch norm have moved."""
    return copy.deepcopy(_trained(sizes))


@functools.cache
def _trained(sizes: Sizes) -> nn.Module:
    model = network(sizes.scored_depth)
    trainer(model, sizes, torch.device("cpu")).run(sizes.steps, lambda row: None)
    return model.eval()


def largest(tensor: Tensor) -> float:
    """Return the largest absolute value."""
    return float(tensor.abs().max())
