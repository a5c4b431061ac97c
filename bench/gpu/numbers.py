"""Does the device compute what the CPU does, the same twice, and the same masked and compacted?"""

import copy
from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import criteria
from bench import config
from bench.channels import channels
from bench.compact import Compacted
from bench.data import batches
from bench.gpu.rows import Row, bounded, failure
from bench.gpu.setting import CLASSES, Sizes, images, largest, network, trained, trainer
from bench.masks import Masks, apply_masks_, select
from bench.mode import kernels
from bench.models import build
from bench.seeds import generator, global_stream, restored_generators
from bench.structured import sound, weight_masks
from bench.units import Units
from criteria import CriterionError
from criteria._guard import Criterion
from criteria.tools.gradients import gradients
from criteria.tools.parameters import prunable

Scores = dict[str, Tensor]
BOUNDS = {"random": (0.0, 0.0), "hrank": (0.02, 0.05)}
"""Largest difference of scores, and of masks, where not the usual. hrank counts: a singular value at the edge flips."""
USUAL = (1e-3, 5e-3)
SPARSITY = 0.9
COMPACTED = 1e-4


def scores(name: str, form: str, device: torch.device, sizes: Sizes) -> list[Row]:
    """Compare a criterion's scores and masks on the CPU with those on the device, and these with a second reading."""
    try:
        criterion = _loaded(name, form)
        with kernels():
            expected, masks = _scored(criterion, torch.device("cpu"), sizes)
            (first, others), (second, _) = (_scored(criterion, device, sizes) for _ in range(2))
    except CriterionError as error:
        return [Row("scores", note=f"refused: {error}")]
    apart, masked = BOUNDS.get(name, USUAL)
    total = sum(mask.numel() for mask in masks.values())
    swap = 2 / total if masked else 0.0  # one unit against another, where there are few
    return [
        bounded("scores, CPU against device", difference(expected, first), apart),
        bounded("masks, CPU against device", differing(masks, others) / total, max(masked, swap)),
        bounded("entries that differ when scored twice", differing(first, second), 0),
    ]


def _loaded(name: str, form: str) -> Criterion:
    description = criteria.describe(name)
    fixed = {"seed": 0, "probes": 2, "granularity": form}
    return criteria.load(name, **{option: fixed[option] for option in description.options if option in fixed})


def _scored(criterion: Criterion, device: torch.device, sizes: Sizes) -> tuple[Scores, Masks]:
    """Return the scores of the same network on the same samples, and the masks that they give; moved to the CPU."""
    samples = images(8 * sizes.score_batch, sizes.side, device)
    cut = list(batches(samples, samples.train, sizes.score_batch))
    found = criterion.score(trained(sizes).to(device), cut, F.cross_entropy)
    scope = "layer" if criterion.description.facts["SCALE"] == "layer" else "global"
    masks = select(found, SPARSITY, scope)
    return {name: score.cpu() for name, score in found.items()}, {name: mask.cpu() for name, mask in masks.items()}


def difference(one: Scores, other: Scores) -> float:
    """Return the largest difference as a share of the layer's largest score; infinite where layers are missing."""
    if one.keys() != other.keys():
        return float("inf")
    # The layer's own largest score, but a layer whose scores are zero has nothing to be a share of.
    return max(largest(score - other[name]) / (largest(score) or 1.0) for name, score in one.items())


def differing(one: Scores, other: Scores) -> int:
    """Return how many entries of the same tensors differ."""
    return sum(int((tensor != other[name]).sum()) for name, tensor in one.items())


def deterministic(device: torch.device, sizes: Sizes) -> list[Row]:
    """Train the same network twice in each precision and count the weights that differ."""
    rows = []
    for precision in ("fp32", "tf32", "bf16"):
        ends = []
        for _ in range(2):
            model = network(sizes.depth).to(device)
            with kernels(precision):
                trainer(model, sizes, device, precision).run(sizes.steps, lambda row: None)
            ends.append(model.state_dict())
        rows.append(bounded(f"{precision}: weights that differ after two trainings", differing(*ends), 0))
    return rows


def networks(device: torch.device, sizes: Sizes) -> list[Row]:
    """Compute the gradients of other networks twice; torch refuses some operations in deterministic mode, on CUDA only.

    A network that is refused cannot be trained by a run on this device.
    """
    rows = []
    for name in sizes.networks:
        label = f"{name}: gradients that differ when computed twice"
        try:
            with kernels():
                one, other = (_gradients(name, device, sizes) for _ in range(2))
            rows.append(bounded(label, differing(one, other), 0))
        except Exception as error:  # of one network, which says nothing of the next
            rows.append(failure(label, error))
    return rows


def _gradients(name: str, device: torch.device, sizes: Sizes) -> Scores:
    settings = config.load(["experiment=cifar10_resnet20", f"model={name}"])
    samples = images(8, sizes.vit_side if name.endswith("_imagenet") else sizes.side, device)
    inputs, targets = next(batches(samples, samples.train, 8))
    model = build(settings.choices[0].model, samples.input_shape, CLASSES, seed=0).to(device)
    with restored_generators(device):
        torch.manual_seed(0)  # of dropout
        loss = F.cross_entropy(model.to(memory_format=torch.channels_last).train()(inputs), targets)
        return gradients(loss, dict(model.named_parameters()))


def compacted(device: torch.device, sizes: Sizes) -> list[Row]:
    """Compare the outputs of networks with half of each layer's channels masked and with these taken out."""

    def vit() -> nn.Module:
        with global_stream(0, "gpu-check", "vit"):
            return timm.create_model(
                "vit_tiny_patch16_224", num_classes=CLASSES, img_size=sizes.vit_side, depth=sizes.vit_depth
            )

    rows = []
    for name, make, side in (
        (f"resnet{sizes.depth}", lambda: network(sizes.depth), sizes.side),
        ("vit_tiny", vit, sizes.vit_side),
    ):
        with kernels():
            rows += _compacted(name, make, side, device)
    return rows


@torch.no_grad()
def _compacted(name: str, make: Callable[[], nn.Module], side: int, device: torch.device) -> list[Row]:
    samples = images(16, side, device)
    inputs = next(batches(samples, samples.train, 16))[0]
    model = make().eval().to(device)
    groups = _groups(model, inputs[:1])
    missing = len(_groups(copy.deepcopy(model).cpu(), inputs[:1].cpu())) - len(groups)
    found = bounded(f"{name}: groups of channels not found on the device", abs(missing), 0, f"{len(groups)} are found")
    if not groups:
        return [found, Row(f"{name}: outputs", ok=False, note="no group of channels is found")]
    chance = generator(0, "gpu-check", "units")
    kept = {u.name: torch.randperm(u.count, generator=chance) < (u.count + 1) // 2 for u in groups}
    masks = weight_masks(model, groups, kept, prunable(model).keys())
    apply_masks_(model, masks)
    expected, got = model(inputs), Compacted(model, groups, masks).model(inputs)
    return [found, bounded(f"{name}: outputs", largest(got - expected) / largest(expected), COMPACTED)]


def _groups(model: nn.Module, sample: Tensor) -> list[Units]:
    return [units for units in channels(model, sample) if sound(model, [units], sample)]


def forms(name: str) -> tuple[str, ...]:
    """Return what a criterion can score: weights, filters, or both; weights for one that cannot be read."""
    try:
        return tuple(criteria.describe(name).forms)
    except CriterionError:
        return ("weight",)
