"""The trainer against a loop written out by hand; masks that hold; resuming that is exact."""

import copy
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from bench.artefacts import load_state, save_state
from bench.data import Data, batches
from bench.masks import Masks
from bench.schedule import training_rates
from bench.schema import Recipe
from bench.seeds import generator
from bench.train import NonFiniteError, Trainer, make_optimizer, steps_per_epoch, validate
from tests.helpers import data, net, recipe, same, weights

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "plain": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-2},
    "nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2},
    "adam": {"optimizer": "adam", "lr": 1e-2, "weight_decay": 1e-2},
    "adamw": {"optimizer": "adamw", "lr": 1e-2, "weight_decay": 1e-1},
}


def trainer(model: nn.Module, samples: Data, r: Recipe, seed: int = 3, precision: str = "fp32") -> Trainer:
    return Trainer(model, samples, r, training_rates(r, steps_per_epoch(samples, r)), seed, "train", precision)


def trained(samples: Data, r: Recipe, masks: Masks | None = None, until: int | None = None) -> Trainer:
    one = trainer(net(), samples, r)
    if masks:
        one.mask(masks)
    one.run(len(one.rates) if until is None else until, lambda row: None)
    return one


def random_masks(model: nn.Module, density: float, seed: int = 0) -> Masks:
    g = torch.Generator().manual_seed(seed)
    return {n: torch.rand(p.shape, generator=g) < density for n, p in model.named_parameters() if p.dim() > 1}


# The loop by hand: its own batches, its own arithmetic of each optimiser.


def given_batches(samples: Data, size: int | None, epochs: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The stream without augmentation, normalised by hand."""
    for epoch in range(epochs):
        order = torch.randperm(len(samples.train), generator=generator(seed, "train", "order", epoch))
        cut = order.split(size or len(order))
        for positions in cut[:-1] if len(cut[-1]) == 1 and len(cut) > 1 else cut:
            pixels = samples.train.inputs[positions].float()
            yield (pixels - 127.5) / 63.75, samples.train.targets[positions]


def decay(r: Recipe, p: Tensor) -> float:
    return r.weight_decay if r.decay_norm_and_bias or p.dim() > 1 else 0.0


def sgd_by_hand(r: Recipe, p: Tensor, g: Tensor, state: dict[str, Any], lr: float) -> None:
    g = g + decay(r, p) * p
    if r.momentum:
        state["v"] = r.momentum * state["v"] + g if state else g
        g = g + r.momentum * state["v"] if r.nesterov else state["v"]
    p -= lr * g


def adam_by_hand(r: Recipe, p: Tensor, g: Tensor, state: dict[str, Any], lr: float) -> None:
    if r.optimizer == "adamw":
        p *= 1 - lr * decay(r, p)
    else:
        g = g + decay(r, p) * p
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * g * g
    p -= lr * (state["m"] / (1 - 0.9**t)) / ((state["v"] / (1 - 0.999**t)).sqrt() + 1e-8)


class ToDouble(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.double()


def train_by_hand(model: nn.Module, samples: Data, r: Recipe, rates: list[float], seed: int) -> None:
    by_hand = sgd_by_hand if r.optimizer == "sgd" else adam_by_hand
    states: dict[str, dict[str, Any]] = {name: {} for name, _ in model.named_parameters()}
    model.train()
    for lr, (inputs, targets) in zip(rates, given_batches(samples, r.batch_size, r.epochs, seed), strict=True):
        loss = -F.log_softmax(model(inputs), dim=1)[range(len(targets)), targets].mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for (name, p), g in zip(model.named_parameters(), gradients, strict=True):
                by_hand(r, p, g, states[name], lr)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decay_norm_and_bias": False},
        {"batch_size": None},
        {"lr_schedule": "cosine", "warmup_epochs": 1},
        {"lr_schedule": "step", "milestones": (1, 2), "gamma": 0.3},
    ],
    ids=["", "no decay on norm and bias", "full batch", "cosine", "step"],
)
def test_weights_equal_a_loop_by_hand(optimizer: str, options: dict[str, Any]) -> None:
    samples, r = data(train=21), recipe(**{"epochs": 4, **OPTIMIZERS[optimizer], **options})
    # In float64, so that an update that differs in kind cannot hide behind rounding.
    got, expected = (nn.Sequential(ToDouble(), net().double()) for _ in range(2))
    one = trainer(got, samples, r)
    one.run(len(one.rates), lambda row: None)
    train_by_hand(expected, samples, r, training_rates(r, 1 if r.batch_size is None else 3), seed=3)
    torch.testing.assert_close(weights(got), weights(expected), rtol=1e-9, atol=1e-11)


def test_an_optimiser_of_torch_gives_the_same_bits() -> None:
    """The trainer adds nothing of its own to the optimiser: rates, batches and masks are all that it does."""
    samples, r = data(train=20), recipe(lr_schedule="cosine", **OPTIMIZERS["nesterov"])
    model = net().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, nesterov=True, weight_decay=1e-2)
    stream = (
        batch
        for epoch in range(3)
        for batch in batches(samples, samples.train, 8, order=generator(3, "train", "order", epoch))
    )
    for step, (inputs, targets) in enumerate(stream):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 + math.cos(math.pi * step / 9)) / 2
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    assert same(weights(model), weights(trained(samples, r).model))


def test_label_smoothing_and_augmentation_reach_the_training() -> None:
    samples = data()
    plain = weights(trained(samples, recipe()).model)
    for changes in ({"label_smoothing": 0.1}, {"flip": True}, {"crop_padding": 1}):
        assert not same(plain, weights(trained(samples, recipe(**changes)).model))


# Masks


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_masked_weights_stay_exactly_zero_and_others_train(optimizer: str) -> None:
    """Momentum, weight decay and Adam revived pruned weights in published code."""
    samples, r = data(train=20), recipe(epochs=20, **OPTIMIZERS[optimizer])
    one = trainer(net(), samples, r)
    masks, narrower = random_masks(one.model, 0.6), random_masks(one.model, 0.3, seed=1)
    one.run(9, lambda row: None)  # momentum buffers are not zero when the masks come
    parameters = dict(one.model.named_parameters())
    for until, held in ((20, masks), (21, {n: masks[n] & narrower[n] for n in masks})):
        before = weights(one.model)
        one.mask(held)
        assert all(not parameters[name][~mask].any() for name, mask in held.items())
        for step in range(one.step + 1, until + 1):
            one.run(step, lambda row: None)
            assert all(not parameters[name][~mask].any() for name, mask in held.items())
        assert all((parameters[name] != before[name])[mask].any() for name, mask in held.items())
    one.run(len(one.rates), lambda row: None)
    assert all(not parameters[name][~mask].any() for name, mask in one.masks.items())


@given(st.integers(0, 2**32), st.sampled_from(sorted(OPTIMIZERS)), st.lists(st.floats(0, 1), min_size=1, max_size=3))
@settings(max_examples=15)
def test_masks_may_change_at_any_step(seed: int, optimizer: str, densities: list[float]) -> None:
    samples, r = data(train=12), recipe(epochs=6, batch_size=4, **OPTIMIZERS[optimizer])
    one = trainer(net(), samples, r)
    for i, density in enumerate(densities):
        one.mask(random_masks(one.model, density, seed + i))
        one.run(one.step + 1 + (seed + i) % 5, lambda row: None)
        held = dict(one.model.named_parameters())
        assert all(not held[name][~mask].any() for name, mask in one.masks.items())


def test_masks_of_ones_change_nothing() -> None:
    samples, r = data(), recipe(**OPTIMIZERS["momentum"])
    ones = random_masks(net(), 2.0)
    assert same(weights(trained(samples, r).model), weights(trained(samples, r, ones).model))


# Pieces, resuming


@pytest.mark.parametrize("optimizer", ["nesterov", "adamw"])
def test_pieces_equal_the_whole_bit_for_bit(optimizer: str) -> None:
    samples, r = data(), recipe(crop_padding=1, flip=True, **OPTIMIZERS[optimizer])
    rows: list[dict[str, Any]] = []
    whole = trainer(net(), samples, r)
    whole.run(9, rows.append)
    pieces = trainer(net(), samples, r)
    rows_of_pieces: list[dict[str, Any]] = []
    for until in (0, 1, 2, 5, 5, 6, 8, 9):
        pieces.run(until, rows_of_pieces.append)
        assert pieces.step == until
    assert same(weights(whole.model), weights(pieces.model))
    assert rows == rows_of_pieces


@pytest.mark.parametrize("optimizer", ["nesterov", "adamw"])
@pytest.mark.parametrize("step", [0, 1, 3, 5, 6])
def test_resuming_from_a_file_equals_going_on(tmp_path: Path, optimizer: str, step: int) -> None:
    samples, r = data(), recipe(crop_padding=1, flip=True, **OPTIMIZERS[optimizer])
    masks = random_masks(net(), 0.5)
    whole, whole_rows = trainer(net(), samples, r), list[dict[str, Any]]()
    whole.mask(masks)
    whole.run(9, whole_rows.append)
    killed = trained(samples, r, masks, until=step)
    save_state(tmp_path / "x.resume", killed.state())
    killed.run(step + 2, lambda row: None)  # what is done after the state was written is lost
    fresh = trainer(net(seed=9), samples, r)
    state = load_state(tmp_path / "x.resume", torch.device("cpu"))
    assert state is not None
    fresh.resume(state)
    fresh.mask(masks)
    rows: list[dict[str, Any]] = []
    fresh.run(9, rows.append)
    assert rows == whole_rows[step // 3 :]
    assert same(weights(whole.model), weights(fresh.model))
    assert fresh.seconds > state["seconds"] >= 0


def test_a_trainer_in_use_may_go_back_to_a_state() -> None:
    one, rows = trained(data(), recipe(), until=3), []
    state = copy.deepcopy(one.state())
    one.run(9, rows.append)
    other, rows_of_other = trained(data(), recipe(), until=8), []
    other.resume(state)
    other.run(9, rows_of_other.append)
    assert same(weights(one.model), weights(other.model))
    assert rows == rows_of_other
    assert other.step == 9


def test_training_is_in_train_mode_whatever_the_mode_was() -> None:
    model = net().eval()
    trainer(model, data(), recipe()).run(9, lambda row: None)
    assert same(weights(model), weights(trained(data(), recipe()).model))
    assert model[1].num_batches_tracked == 9


def test_streams_and_seeds_have_batches_of_their_own() -> None:
    samples, r = data(), recipe()
    rates = training_rates(r, 3)
    runs = []
    for seed, stream in ((0, "train"), (1, "train"), (0, "finetune"), (0, "train")):
        one = Trainer(net(), samples, r, rates, seed, stream, "fp32")
        one.run(3, lambda row: None)
        runs.append(weights(one.model))
    assert same(runs[0], runs[3])
    assert not same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_training_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    trained(data(), recipe(crop_padding=1, flip=True))
    assert torch.equal(before, torch.get_rng_state())


def test_an_observer_sees_the_gradient_of_the_loss_alone() -> None:
    seen = []
    for penalty in (0.0, 1.0):
        one = trainer(net(), data(), recipe(gamma_l1=penalty))
        one.observe = lambda model: seen.append([p.grad.clone() for p in model.parameters()])
        one.run(1, lambda row: None)
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


def test_the_penalty_moves_the_scales_that_are_used() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(16, 3)
            self.plain, self.scaled, self.idle = nn.BatchNorm1d(3, affine=False), nn.BatchNorm1d(3), nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.scaled(self.plain(self.linear(x.flatten(1))))  # type: ignore[no-any-return]

    model = Net()
    scales = []
    for penalty in (0.0, 0.25):
        one = trainer(copy.deepcopy(model), data(), recipe(gamma_l1=penalty))
        one.run(1, lambda row: None)
        scales.append([one.model.get_parameter(f"{name}.weight").detach() for name in ("scaled", "idle")])
    (free, idle), (penalised, still) = scales
    torch.testing.assert_close(penalised, free - 0.1 * 0.25)  # the rate times the penalty; all scales began at 1
    assert torch.equal(idle, torch.ones(3))
    assert torch.equal(still, torch.ones(3))


@pytest.mark.parametrize("filled", [True, False])
def test_memory_is_filled_after_training_as_before_it_and_not_in_between(
    filled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", filled)
    one = trainer(net(), data(), recipe())
    seen: list[bool] = []
    one.observe = lambda model: seen.append(torch.utils.deterministic.fill_uninitialized_memory)
    one.run(3, lambda row: None)
    assert seen == [False] * 3
    with pytest.raises(NonFiniteError):
        Trainer(net(), data(), recipe(), [1e38] * 9, 0, "train", "fp32").run(2, lambda row: None)
    assert torch.utils.deterministic.fill_uninitialized_memory is filled


# Steps and curves


@given(st.integers(1, 40), st.none() | st.integers(1, 45))
@settings(max_examples=60)
def test_steps_per_epoch_are_the_batches_that_come(count: int, size: int | None) -> None:
    samples, r = data(train=count), recipe(batch_size=size)
    given_ = list(batches(samples, samples.train, size, order=generator(0, "x")))
    assert steps_per_epoch(samples, r) == len(given_)
    assert all(len(targets) > 1 for _, targets in given_) or size == 1 or count == 1


@pytest.mark.parametrize("count", [16, 17, 18, 23])
def test_every_epoch_ends_with_a_row(count: int) -> None:
    """17 images in batches of 8: the remainder of one is left out, and epochs stay aligned with batches."""
    samples, r = data(train=count), recipe(lr_schedule="step", milestones=(1, 2))
    rows: list[dict[str, Any]] = []
    one = trainer(net(), samples, r)
    seen: list[int] = []
    update = one._update
    one._update = lambda inputs, targets: (seen.append(len(targets)), update(inputs, targets))[1]  # type: ignore[method-assign]
    one.run(len(one.rates), rows.append)
    assert seen == 3 * ([8, 8] if count < 18 else [8, 8, count - 16])
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["stage"] for row in rows] == ["train"] * 3
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.01, 0.001])
    assert all(row.keys() == {"stage", "epoch", "lr", "train/loss", "val/loss", "val/top1"} for row in rows)


def test_without_validation_rows_have_no_validation() -> None:
    rows: list[dict[str, Any]] = []
    trainer(net(), data(validation=0), recipe()).run(3, rows.append)
    assert rows[0].keys() == {"stage", "epoch", "lr", "train/loss"}


def test_the_training_loss_is_the_mean_over_samples() -> None:
    """Divided by the nominal batch size, a last batch of 2 would count as 8 samples."""
    samples, r = data(train=18), recipe(lr=1e-30)  # the weights stand still
    rows: list[dict[str, Any]] = []
    trainer(net(), samples, r).run(3, rows.append)
    model, total = net().train(), 0.0
    for inputs, targets in batches(samples, samples.train, 8, order=generator(3, "train", "order", 0)):
        total += float(F.cross_entropy(model(inputs), targets, reduction="sum").detach())
    assert rows[0]["train/loss"] == pytest.approx(total / 18, rel=1e-6)


def test_validation_is_read_after_the_epoch_in_eval_mode() -> None:
    samples, r = data(), recipe(label_smoothing=0.2)
    rows: list[dict[str, Any]] = []
    one = trainer(net(), samples, r)
    one.run(3, rows.append)
    assert one.model.training
    frozen = copy.deepcopy(one.model).eval()
    ((inputs, targets),) = batches(samples, samples.validation, None)
    with torch.no_grad():
        outputs = frozen(inputs)
    # Label smoothing is for training alone.
    assert rows[0]["val/loss"] == pytest.approx(float(F.cross_entropy(outputs, targets)), rel=1e-5)
    assert rows[0]["val/top1"] == pytest.approx(100 * float((outputs.argmax(1) == targets).float().mean()))


def test_validation_never_trains() -> None:
    with_it, without = data(validation=6), data(validation=0)
    assert torch.equal(with_it.train.inputs, without.train.inputs)
    assert same(weights(trained(with_it, recipe()).model), weights(trained(without, recipe()).model))


@pytest.mark.parametrize("training", [True, False])
def test_validate_restores_the_mode_and_moves_nothing(training: bool) -> None:
    model = net().train(training)
    before = weights(model)
    validate(model, data(), recipe())
    assert all(module.training == training for module in model.modules())
    assert same(before, weights(model))


# Numbers that are not finite


def test_a_loss_that_is_not_finite_names_stage_and_epoch() -> None:
    samples, r = data(), recipe(epochs=5)
    one = Trainer(net(), samples, r, [0.1] * 6 + [1e38] * 9, 0, "finetune", "fp32")
    with pytest.raises(NonFiniteError, match=r"not finite in finetune epoch 3; lower recipe\.lr"):
        one.run(15, lambda row: None)
    assert one.step == 9


def test_a_loss_that_is_not_finite_is_seen_at_the_end_of_a_piece() -> None:
    one = Trainer(net(), data(), recipe(), [1e38] * 9, 0, "train", "fp32")
    with pytest.raises(NonFiniteError, match="train epoch 1;"):
        one.run(2, lambda row: None)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_weights_that_the_last_step_broke_never_reach_the_curves(batch_size: int | None) -> None:
    """The loss of the epoch is still finite then: only validation shows it, and records hold no NaN."""
    rows: list[dict[str, Any]] = []
    steps = steps_per_epoch(data(), recipe(batch_size=batch_size))
    one = Trainer(net(), data(), recipe(batch_size=batch_size), [0.0] * (steps - 1) + [1e38] * 9, 0, "train", "fp32")
    with pytest.raises(NonFiniteError, match="in train epoch 1;"):
        one.run(3 * steps, rows.append)
    assert rows == []


# Precision


def test_bf16_trains_the_same_network_less_exactly() -> None:
    samples, r = data(train=60), recipe(epochs=5)
    exact, rough = trainer(net(), samples, r), trainer(net(), samples, r, precision="bf16")
    rows: dict[str, list[dict[str, Any]]] = {"exact": [], "rough": []}
    exact.run(len(exact.rates), rows["exact"].append)
    rough.run(len(rough.rates), rows["rough"].append)
    assert all(p.dtype == torch.float32 for p in rough.model.parameters())
    assert not same(weights(exact.model), weights(rough.model))
    losses = [[row["train/loss"] for row in rows[which]] for which in ("exact", "rough")]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


# Optimisers


def test_decay_of_norm_and_bias_is_the_recipes_choice() -> None:
    model = net()
    (both,) = make_optimizer(model, recipe(weight_decay=0.1)).param_groups
    assert both["weight_decay"] == 0.1
    assert len(both["params"]) == len(list(model.parameters()))
    decayed, free = make_optimizer(model, recipe(weight_decay=0.1, decay_norm_and_bias=False)).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert {p.dim() for p in decayed["params"]} == {2, 4}
    assert {p.dim() for p in free["params"]} == {1}


def test_the_penalty_on_scales_is_l1() -> None:
    after = []
    for penalty in (0.0, 0.5):
        model = net()
        model[1].weight.data = torch.tensor([-2.0, -0.1, 0.3, 4.0])
        trainer(model, data(), recipe(gamma_l1=penalty)).run(1, lambda row: None)
        after.append(weights(model))
    moved = {name: after[1][name] - after[0][name] for name in after[0]}
    torch.testing.assert_close(moved.pop("1.weight"), -0.1 * 0.5 * torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    assert not any(change.any() for change in moved.values())


def test_dropout_is_drawn_anew_each_step_whatever_ran_before() -> None:
    def dropped() -> list[Tensor]:
        model, seen = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(16, 3)), []
        model[1].register_forward_hook(lambda module, _, out: seen.append(out == 0) if module.training else None)
        trainer(model, data(), recipe()).run(4, lambda row: None)
        return seen

    first = dropped()
    torch.randn(7)
    assert all(torch.equal(one, other) for one, other in zip(first, dropped(), strict=True))
    assert all(not torch.equal(one[:4], other[:4]) for one, other in itertools.combinations(first, 2))
