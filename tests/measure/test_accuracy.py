"""Accuracy and loss as means over samples; batch-norm statistics against sums by hand."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score
from torch import Tensor, nn
from torch.nn import functional as F

from bench.loss import loss_function
from bench.measure.accuracy import evaluate, reestimated_batchnorm
from tests.helpers import net, recipe, same, weights

CROSS_ENTROPY = loss_function(recipe())
Loss = Callable[[Tensor, Tensor], Tensor]
Pairs = list[tuple[Tensor, Tensor]]


class Given(nn.Module):
    """Its outputs are its inputs."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


def read(outputs: Tensor, targets: Tensor, cut: list[int], loss: Loss = CROSS_ENTROPY) -> dict[str, Any]:
    return evaluate(Given(), zip(outputs.split(cut), targets.split(cut), strict=True), loss)


@given(st.integers(1, 12), st.integers(2, 12), st.integers(0, 2**32), st.data())
@settings(max_examples=60)
def test_means_are_over_samples_however_they_are_cut(
    samples: int, classes: int, seed: int, draw: st.DataObject
) -> None:
    g = torch.Generator().manual_seed(seed)
    outputs = torch.randn(samples, classes, generator=g)
    targets = torch.randint(classes, (samples,), generator=g)
    cut: list[int] = []
    while sum(cut) < samples:
        cut.append(draw.draw(st.integers(1, samples - sum(cut))))
    ranks = [sorted(range(classes), key=lambda k: -row[k]).index(y) for row, y in zip(outputs, targets, strict=True)]
    got = read(outputs, targets, cut)
    assert got["top1"] == 100 * sum(rank < 1 for rank in ranks) / samples
    assert got["top5"] == (100 * sum(rank < 5 for rank in ranks) / samples if classes >= 6 else None)
    assert got["loss"] == pytest.approx(float(F.cross_entropy(outputs, targets)), rel=1e-5)


def test_a_small_last_batch_counts_by_its_samples() -> None:
    """9 samples right at a loss near 0, one wrong at 1,000: a mean of batch means would say 500 and 50 %."""
    outputs = torch.zeros(10, 3)
    outputs[:, 0] = 1000
    targets = torch.zeros(10, dtype=torch.long)
    targets[-1] = 1
    got = read(outputs, targets, [9, 1])
    assert (got["loss"], got["top1"]) == (100.0, 90.0)


def test_top5_is_null_below_six_classes() -> None:
    targets = torch.arange(5)
    assert read(torch.eye(5), targets, [5])["top5"] is None
    assert read(torch.eye(6)[:5], targets, [5])["top5"] == 100


def test_one_logit_is_two_classes() -> None:
    outputs = torch.tensor([[2.0], [-1.0], [-0.5], [-3.0], [0.1]])
    targets = torch.tensor([1, 0, 0, 1, 1])
    got = read(outputs, targets, [3, 2], loss_function(recipe(loss="bce")))
    assert (got["top1"], got["top5"]) == (80.0, None)
    assert got["loss"] == pytest.approx(float(F.binary_cross_entropy_with_logits(outputs[:, 0], targets.float())))


@given(st.integers(2, 20), st.integers(0, 2**32), st.integers(1, 20))
@settings(max_examples=30)
def test_r2_of_a_regression_is_over_all_samples_however_they_are_cut(samples: int, seed: int, size: int) -> None:
    g = torch.Generator().manual_seed(seed)
    targets = torch.randn(samples, generator=g)
    outputs = targets[:, None] + torch.randn(samples, 1, generator=g)
    pairs = zip(outputs.split(size), targets.split(size), strict=True)
    got = evaluate(Given(), pairs, loss_function(recipe(loss="mse")))
    assert got.keys() == {"loss", "r2"}
    assert got["r2"] == pytest.approx(r2_score(targets.double(), outputs[:, 0].double()), abs=1e-6)
    assert got["loss"] == pytest.approx(float(F.mse_loss(outputs[:, 0], targets)), rel=1e-5)


def test_r2_is_null_where_targets_do_not_vary() -> None:
    assert read(torch.zeros(3, 1), torch.zeros(3), [2, 1], loss_function(recipe(loss="mse")))["r2"] is None


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_is_in_eval_mode_restores_the_mode_and_moves_nothing(training: bool) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.BatchNorm1d(4), nn.Linear(4, 3)).train(training)
    modes: list[bool] = []
    model.register_forward_hook(lambda module, inputs, outputs: modes.append(module.training))
    before, pairs = weights(model), [(torch.randn(5, 4), torch.zeros(5, dtype=torch.long))]
    one, two = evaluate(model, pairs, CROSS_ENTROPY), evaluate(model, pairs, CROSS_ENTROPY)
    assert one == two
    assert modes == [False, False]
    assert all(module.training == training for module in model.modules())
    assert same(before, weights(model))
    assert all(p.grad is None for p in model.parameters())


# Batch norm


def pairs(count: int, shape: tuple[int, ...] = (1, 4, 4), batches: int = 4) -> Pairs:
    inputs = torch.randn(count * batches, *shape, generator=torch.Generator().manual_seed(1)) * 3 + 1
    return [(x, torch.zeros(len(x), dtype=torch.long)) for x in inputs.split(count)]


def test_statistics_are_the_averages_over_the_batches() -> None:
    model, batches = net().train(), pairs(5)
    for inputs, _ in pairs(7):  # statistics of a training before
        model(-3 * inputs)
    model.eval()
    maps = [model[0](inputs).detach() for inputs, _ in batches]
    expected = {
        "running_mean": torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0),
        # Unbiased, as batch norm keeps it.
        "running_var": torch.stack([m.transpose(0, 1).flatten(1).var(1) for m in maps]).mean(0),
    }
    with reestimated_batchnorm(model, batches):
        assert not any(module.training for module in model.modules())
        for name, value in expected.items():
            torch.testing.assert_close(getattr(model[1], name), value)
        outputs = model(batches[0][0])
    normed = (maps[0] - expected["running_mean"][:, None, None]) / (
        expected["running_var"][:, None, None] + 1e-5
    ).sqrt()
    torch.testing.assert_close(outputs, model[3:](normed.relu()))


def test_the_second_norm_sees_what_the_first_gives_under_batch_statistics() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3)).train()
    batches = pairs(6, (3,))
    twin = copy.deepcopy(model)
    for norm in (twin[0], twin[2]):
        norm.momentum = None
    for inputs, _ in batches:
        twin(inputs)
    with reestimated_batchnorm(model, batches):
        assert same(weights(model), weights(twin))


@pytest.mark.parametrize("training", [True, False])
def test_buffers_momentum_and_mode_come_back_exactly(training: bool) -> None:
    model = nn.Sequential(net(), nn.Unflatten(1, (3, 1, 1)), nn.BatchNorm2d(3, momentum=0.37, affine=False))
    model.train()
    model(torch.randn(9, 1, 4, 4))
    model.train(training)
    model[0][1].num_batches_tracked += 7
    before, momenta = weights(model), [m.momentum for m in (model[0][1], model[2])]
    assert any("num_batches_tracked" in name for name in before)
    with reestimated_batchnorm(model, pairs(8)):
        assert not same(before, weights(model))
    assert same(before, weights(model))
    assert [m.momentum for m in (model[0][1], model[2])] == momenta == [0.1, 0.37]
    assert all(module.training == training for module in model.modules())


def test_they_come_back_after_an_error_in_the_block_and_in_the_batches() -> None:
    model = net().train()
    before = weights(model)
    with pytest.raises(KeyError), reestimated_batchnorm(model, pairs(8)):
        raise KeyError
    with pytest.raises(RuntimeError), reestimated_batchnorm(model, pairs(8, (2, 4, 4))):
        pass
    assert same(before, weights(model))
    assert model[1].momentum == 0.1
    assert model.training


def test_networks_without_statistics_are_left_alone() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.LayerNorm(3)).train()
    before = weights(model)
    with reestimated_batchnorm(model, pairs(8, (3,))):
        assert same(before, weights(model))
    assert model.training


def test_dropout_is_off_while_statistics_are_taken() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)).train()
    batches = pairs(8, (3,))
    with reestimated_batchnorm(model, batches):
        torch.testing.assert_close(model[1].running_mean, torch.stack([x.mean(0) for x, _ in batches]).mean(0))


def test_re_estimation_moves_no_weight_and_leaves_no_gradient() -> None:
    model = net()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    with reestimated_batchnorm(model, pairs(8)):
        evaluate(model, pairs(3), CROSS_ENTROPY)
    assert all(torch.equal(p, before[n]) and p.grad is None for n, p in model.named_parameters())
