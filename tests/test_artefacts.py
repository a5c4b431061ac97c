"""Tensors to bytes and back."""

import torch

from bench.artefacts import pack, unpack

CPU = torch.device("cpu")


def test_tied_weights_come_back_under_both_names() -> None:
    weight = torch.rand(3, 4)
    stored = unpack(pack({"first": weight, "last": weight, "part": weight[1]}), CPU)
    assert all(torch.equal(stored[name], weight) for name in ("first", "last"))
    assert torch.equal(stored["part"], weight[1])


def test_equal_values_are_equal_bytes_in_every_memory_format() -> None:
    images = torch.rand(2, 3, 4, 5)
    assert pack({"a": images}) == pack({"a": images.to(memory_format=torch.channels_last)})
