"""Losses against their formulas, written out one sample at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.loss import loss_function
from tests.helpers import recipe


def logits(samples: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    outputs = 3 * torch.randn(samples, classes, generator=g, dtype=torch.float64)
    return outputs, torch.randint(max(classes, 2), (samples,), generator=g)


def log_softmax(row: list[float]) -> list[float]:
    total = math.log(sum(math.exp(x) for x in row))
    return [x - total for x in row]


@given(st.integers(1, 9), st.integers(2, 7), st.floats(0, 0.9))
@settings(max_examples=30)
def test_cross_entropy_with_smoothed_targets(samples: int, classes: int, epsilon: float) -> None:
    outputs, targets = logits(samples, classes)
    total = 0.0
    for row, target in zip(outputs.tolist(), targets.tolist(), strict=True):
        wanted = [epsilon / classes + (1 - epsilon) * (k == target) for k in range(classes)]
        total -= sum(w * p for w, p in zip(wanted, log_softmax(row), strict=True))
    loss = loss_function(recipe(label_smoothing=epsilon), smoothing=True)
    assert float(loss(outputs, targets)) == pytest.approx(total / samples)


def test_smoothing_is_for_training_alone() -> None:
    outputs, targets = logits(5, 4)
    smoothed, plain = recipe(label_smoothing=0.3), recipe()
    assert torch.equal(loss_function(smoothed)(outputs, targets), loss_function(plain)(outputs, targets))
    assert loss_function(smoothed, smoothing=True)(outputs, targets) != loss_function(plain)(outputs, targets)


def test_mse_is_the_mean_over_samples_and_outputs_against_one_hot_targets() -> None:
    outputs, targets = logits(4, 3)
    errors = [
        (x - (k == target)) ** 2
        for row, target in zip(outputs.tolist(), targets.tolist(), strict=True)
        for k, x in enumerate(row)
    ]
    assert float(loss_function(recipe(loss="mse"))(outputs, targets)) == pytest.approx(sum(errors) / 12)


def test_mse_of_a_regression_reads_one_output() -> None:
    outputs, _ = logits(4, 1)
    targets = torch.tensor([0.5, -1.0, 2.0, 0.0])
    errors = [(x - y) ** 2 for (x,), y in zip(outputs.tolist(), targets.tolist(), strict=True)]
    assert float(loss_function(recipe(loss="mse"))(outputs, targets)) == pytest.approx(sum(errors) / 4)


def test_bce_reads_one_logit_of_class_one() -> None:
    outputs, targets = logits(6, 1)
    expected = [
        math.log1p(math.exp(-x if y else x)) for (x,), y in zip(outputs.tolist(), targets.tolist(), strict=True)
    ]
    assert float(loss_function(recipe(loss="bce"))(outputs, targets)) == pytest.approx(sum(expected) / 6)


@pytest.mark.parametrize("name", ["cross_entropy", "mse", "bce"])
def test_losses_keep_the_precision_of_the_outputs_and_have_gradients(name: str) -> None:
    outputs, targets = logits(4, 1 if name == "bce" else 3)
    for dtype in (torch.float32, torch.float64):
        leaf = outputs.to(dtype).requires_grad_()
        loss = loss_function(recipe(loss=name))(leaf, targets)
        assert (loss.dtype, loss.shape) == (dtype, ())
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert gradient.shape == outputs.shape
        assert gradient.ne(0).all()


@pytest.mark.parametrize("name", ["cross_entropy", "mse", "bce"])
def test_a_loss_is_a_mean_over_the_batch(name: str) -> None:
    """Unequal parts, weighted by their samples, give the loss of the whole."""
    outputs, targets = logits(7, 1 if name == "bce" else 3)
    loss = loss_function(recipe(loss=name))
    parts = 5 * loss(outputs[:5], targets[:5]) + 2 * loss(outputs[5:], targets[5:])
    assert float(parts / 7) == pytest.approx(float(loss(outputs, targets)))
