"""The models of torchvision and timm, by name, for images [3, H, W]; fresh, or with published weights.

Published weights (`model.weights=NAME`) were trained on all of ImageNet's training images, those included that are held
out here for validation. They expect inputs normalised with ImageNet's mean and std.
"""

from typing import Any

import timm
from torch import nn
from torchvision import models

from bench.errors import UserError, near_misses
from bench.models.pinned import published_file

IMAGENET_MEAN = (0.485, 0.456, 0.406)


def torchvision_model(
    input_shape: tuple[int, ...],
    num_classes: int,
    name: str,
    published: str | None = None,
    sha256: str | None = None,
    **options: Any,
) -> nn.Module:
    """Return `torchvision.models.NAME`; options go to its builder.

    published: name in the model's weights enum, as IMAGENET1K_V1; sha256: see bench.models.pinned. Where the classes
    are not as many as the weights', the last layer is the seed's fresh one. Vision transformers are built for the
    input's size. UserError for unknown names and for weights that cannot be had.
    """
    _check(input_shape, name, "torchvision", models.list_models(module=models))
    if name.startswith("vit_"):
        options = {"image_size": input_shape[1]} | options
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **options)
    if name.startswith("vgg") and tuple(input_shape[1:]) == (224, 224):
        # Its pooling to 7x7 changes nothing at this size, and on CUDA has no deterministic gradient.
        network.avgpool = nn.Identity()
    if published:
        weights = {entry.name: entry for entry in models.get_model_weights(name)}
        if published not in weights:
            raise UserError(
                f"torchvision's {name} has no weights {published!r}; {near_misses(published, list(weights))}"
            )
        published_file(weights[published].url, sha256)
        _set_(network, models.get_model(name, weights=weights[published]))
    return network


def _set_(network: nn.Module, trained: nn.Module) -> None:
    """Take over all weights but those of a last layer for other classes."""
    fresh, state = network.state_dict(), trained.state_dict()
    other = [key for key in fresh.keys() & state.keys() if fresh[key].shape[1:] == state[key].shape[1:]]
    network.load_state_dict(state | {key: fresh[key] for key in other if fresh[key].shape != state[key].shape})


def timm_model(
    input_shape: tuple[int, ...],
    num_classes: int,
    name: str,
    published: str | None = None,
    sha256: str | None = None,
    **options: Any,
) -> nn.Module:
    """Return `timm.create_model(NAME)`; options go to it.

    published: tag of the weights, as fb_in1k in deit_small_patch16_224.fb_in1k; sha256: see bench.models.pinned. Where
    the classes are not as many as the weights', the last layer is the seed's fresh one; positions of another input size
    are interpolated. UserError for unknown names and for weights that cannot be had.
    """
    _check(input_shape, name, "timm", timm.list_models())
    if _fixed_size(name):
        options = {"img_size": input_shape[1]} | options
    if not published:
        return timm.create_model(name, num_classes=num_classes, **options)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if published not in tags:
        raise UserError(f"timm's {name} has no weights {published!r}; {near_misses(published, tags)}")
    full = f"{name}.{published}"
    facts = timm.models.get_pretrained_cfg(full)
    assert facts is not None
    if tuple(facts.mean) != IMAGENET_MEAN:
        raise UserError(f"timm's {full} is for images normalised with mean {facts.mean}, not with ImageNet's")
    if not facts.url or not isinstance(facts.url, str):
        raise UserError(f"timm's {full} has no address of its own: download it and give model.weights=FILE")
    file = published_file(facts.url, sha256)
    overlay = {"file": str(file), "custom_load": facts.custom_load}
    return timm.create_model(full, pretrained=True, num_classes=num_classes, pretrained_cfg_overlay=overlay, **options)


def _fixed_size(name: str) -> bool:
    facts = timm.models.get_pretrained_cfg(name)
    return facts is not None and facts.fixed_input_size


def _check(input_shape: tuple[int, ...], name: str, library: str, known: list[str]) -> None:
    if len(input_shape) != 3 or input_shape[0] != 3:
        raise UserError(f"model {name} is for colour images [3, H, W], not for inputs of shape {list(input_shape)}")
    if name not in known:
        raise UserError(f"{library} has no model {name!r}; {near_misses(name, known)}")
