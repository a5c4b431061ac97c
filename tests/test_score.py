"""How criteria are asked: scoring set, mode, options of the harness, and what takes part."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from bench.axes import Filter
from bench.cell import Cell
from bench.errors import UserError
from bench.schema import Prunable, Scoring
from bench.score import harness_options, load, score, scoring_set, taking_part
from bench.seeds import derived_seed
from criteria import CriterionError
from criteria.tools.parameters import prunable
from tests.helpers import cell, data, net, plugin, recipe, same, scoring_batches, weights

MODE_AS_SCORE = "return {k: torch.full_like(p, float(model.training)) for k, p in prunable(model).items()}"


def scores_of(one: Cell, **of_data: Any) -> dict[str, torch.Tensor]:
    return score(one, load(one), net(), scoring_set(one, data(train=80, **of_data)))


# The scoring set


def test_the_scoring_set_is_that_of_the_seed_for_every_criterion() -> None:
    samples = data(train=80)
    expected = scoring_batches(samples, 4, 64, 8)
    for criterion in ("magnitude", "taylor", "snip"):
        got = scoring_set(cell(criterion=criterion, seed=4), samples)
        assert [len(targets) for _, targets in got] == [8] * 8
        pairs = zip(got, expected, strict=True)
        assert all(torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in pairs)
    other = scoring_set(cell(seed=5), samples)
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(other, expected, strict=True))


def test_train_mode_scores_all_samples_as_one_batch() -> None:
    samples = data(train=80)
    parts = scoring_set(cell(), samples)
    ((inputs, targets),) = scoring_set(cell(score_mode="train"), samples)
    assert torch.equal(inputs, torch.cat([x for x, _ in parts]))
    assert torch.equal(targets, torch.cat([y for _, y in parts]))


@pytest.mark.parametrize(("mode", "batch", "size"), [("eval", 8, 2), ("eval", 1, 1), ("train", 1, 2)])
def test_a_trial_is_the_first_of_the_same_samples(mode: str, batch: int, size: int) -> None:
    """A batch of one stays one, since batch norm may fail on it."""
    samples, one = data(train=80), cell(score_mode=mode, scoring=Scoring(samples=64, batch=batch))
    (inputs, targets), *_ = scoring_set(one, samples)
    ((tried, labels),) = scoring_set(one, samples, trial=True)
    assert len(labels) == size
    assert torch.equal(tried, inputs[:size])
    assert torch.equal(labels, targets[:size])


def test_taylor_needs_eight_batches() -> None:
    """With one batch it is snip squared, with batches of one sample twice fisher."""
    samples = data(train=80)
    assert len(scoring_set(cell(criterion="taylor", scoring=Scoring(samples=64, batch=8)), samples)) == 8
    with pytest.raises(UserError) as caught:
        scoring_set(cell(criterion="taylor", scoring=Scoring(samples=63, batch=8)), samples)
    assert str(caught.value) == (
        "taylor needs at least 8 batches to score, the scoring set has 7: raise scoring.samples or lower scoring.batch"
    )
    assert len(scoring_set(cell(criterion="snip", scoring=Scoring(samples=8, batch=8)), samples)) == 1


# The mode


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_mode_is_the_cells_and_is_restored(tmp_path: Path, mode: str, before: bool) -> None:
    one = cell(score_mode=mode, **plugin(tmp_path, MODE_AS_SCORE))
    model = net().train(before)
    got = score(one, load(one), model, scoring_set(one, data(train=80)))
    assert all(values.eq(mode == "train").all() for values in got.values())
    assert all(module.training == before for module in model.modules())


@pytest.mark.parametrize("before", [True, False])
def test_the_mode_is_restored_after_an_error(tmp_path: Path, before: bool) -> None:
    one = cell(**plugin(tmp_path, "raise KeyError('mine')"))
    model = net().train(before)
    with pytest.raises(KeyError, match="mine"):
        score(one, load(one), model, scoring_set(one, data(train=80)))
    assert all(module.training == before for module in model.modules())


@pytest.mark.parametrize("criterion", ["random", "magnitude", "gradient", "taylor", "snip", "grasp"])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_scoring_moves_nothing(criterion: str, mode: str) -> None:
    """Scoring in train mode moved BN statistics in a published code."""
    one = cell(criterion=criterion, score_mode=mode)
    model = net()
    before, numbers = weights(model), torch.get_rng_state()
    score(one, load(one), model, scoring_set(one, data(train=80)))
    assert same(before, weights(model))
    assert torch.equal(numbers, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


def test_batch_statistics_change_the_scores() -> None:
    assert not same(scores_of(cell(criterion="snip")), scores_of(cell(criterion="snip", score_mode="train")))


# Whatever ran before


def test_gradients_that_training_left_do_not_enter(tmp_path: Path) -> None:
    """A criterion that calls backward and reads p.grad; stale gradients entered the score in a published code."""
    body = (
        "for x, y in batches:\n    loss_fn(model(x), y).backward()\n"
        "return {k: (p.grad * p).abs().detach() for k, p in prunable(model).items()}"
    )
    one = cell(**plugin(tmp_path, body))
    batches = scoring_set(one, data(train=80))
    clean = score(one, load(one), net(), batches)
    model = net().eval()
    F.cross_entropy(model(batches[0][0]), batches[0][1]).backward()
    stale = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert same(score(one, load(one), model, batches), clean)
    assert same(score(one, load(one), model, batches), clean)
    assert all(torch.equal(p.grad, stale[name]) for name, p in model.named_parameters())


def test_the_loss_is_the_recipes_without_label_smoothing() -> None:
    plain = scores_of(cell(criterion="snip"))
    assert same(scores_of(cell(criterion="snip", recipe=recipe(label_smoothing=0.5))), plain)
    assert not same(scores_of(cell(criterion="snip", recipe=recipe(loss="mse"))), plain)


# Options


def test_random_takes_its_seed_from_the_cells() -> None:
    assert harness_options(cell(criterion="random", seed=5)) == {"seed": derived_seed(5, "criterion")}
    one, again, other = (scores_of(cell(criterion="random", seed=seed)) for seed in (5, 5, 6))
    assert same(one, again)
    assert not same(one, other)
    given = cell(criterion="random", seed=5, criterion_options={"seed": 1})
    assert harness_options(given) == {"seed": 1}
    assert not same(scores_of(given), one)


def test_random_is_not_the_stream_that_initialised_the_weights() -> None:
    values = torch.cat([s.flatten() for s in scores_of(cell(criterion="random", seed=0)).values()])
    raw = torch.rand(len(values), generator=torch.Generator().manual_seed(0))
    assert not torch.equal(values, raw)


@pytest.mark.parametrize(("loss", "expected"), [("cross_entropy", {}), ("bce", {}), ("mse", {"temperature": 1.0})])
def test_grasp_tempers_logits_alone(loss: str, expected: dict[str, float]) -> None:
    one = cell(criterion="grasp", recipe=recipe(loss=loss))
    assert harness_options(one) == expected
    own = one.model_copy(update={"criterion_options": {"temperature": 3.0}})
    assert harness_options(own) == {"temperature": 3.0}


def test_options_that_the_harness_does_not_know_pass_through(tmp_path: Path) -> None:
    body = "return {k: torch.full_like(p, alpha + seed * 0) for k, p in prunable(model).items()}"
    named = plugin(tmp_path, body, options="alpha=1.0, seed=0")
    one = cell(criterion_options={"alpha": 7.0}, **named)
    assert harness_options(one).keys() == {"alpha", "seed"}
    assert all(values.eq(7).all() for values in scores_of(one).values())
    with pytest.raises(CriterionError, match="no option 'beta'"):
        scores_of(cell(criterion_options={"beta": 1}, **named))


# What takes part


def test_excluded_patterns_name_weights_that_stay_dense() -> None:
    model = net()
    assert list(taking_part(cell(), model)) == list(prunable(model)) == ["0.weight", "4.weight"]
    assert list(taking_part(cell(prunable=Prunable(exclude=("4.*",))), model)) == ["0.weight"]
    assert list(taking_part(cell(prunable=Prunable(exclude=("[1-9].weight",))), model)) == ["0.weight"]
    assert list(taking_part(cell(prunable=Prunable(exclude=("fc.*", "4.*"))), model)) == ["0.weight"]
    with pytest.raises(UserError, match=r"exclude=\['weight'\] names no weight of lenet \(0\.weight, 4\.weight\)"):
        taking_part(cell(prunable=Prunable(exclude=("weight",))), model)
    with pytest.raises(UserError, match=r"prunable\.exclude=\['\*weight'\] leaves nothing to prune in lenet"):
        taking_part(cell(prunable=Prunable(exclude=("*weight",))), model)


@pytest.mark.parametrize("criterion", ["taylor", "fisher", "movement"])
def test_where_filters_are_removed_a_criterion_gives_its_filter_form(criterion: str) -> None:
    one = cell(criterion=criterion, granularity=Filter(name="filter"), target_kind="filters")
    model, batches = net(), scoring_set(one, data(train=80))
    got = score(one, load(one), model, batches)
    assert got
    assert all(values.shape == model.get_parameter(name).shape[:1] for name, values in got.items())
