"""Schedules of sparsity and of learning rates against their closed forms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.axes import Cosine, Gradual, Iterative, Low, OneShot, Regrow, Rewound
from bench.schedule import boundaries, finetuning_rates, pruning_steps, replaced_share, sparsities, training_rates
from bench.schema import Recipe


def iterative(steps: int, curve: str) -> Iterative:
    return Iterative.model_validate({"name": "iterative", "steps": steps, "curve": curve})


def recipe(**changes: object) -> Recipe:
    fields = {"name": "r", "source": "test", "epochs": 10, "batch_size": 4, "optimizer": "sgd", "lr": 0.5}
    return Recipe.model_validate(fields | {"lr_schedule": "constant", "finetune_epochs": 2} | changes)


def test_one_shot_is_one_step() -> None:
    assert pruning_steps(OneShot(name="one_shot"), 0.9, 100, trains_between=True) == [(0, 0.9)]


def test_iterative_spreads_over_the_training_or_comes_before_it() -> None:
    schedule = iterative(4, "linear")
    assert [step for step, _ in pruning_steps(schedule, 0.8, 100, trains_between=True)] == [0, 25, 50, 75]
    path = pruning_steps(schedule, 0.8, 100, trains_between=False)
    assert [step for step, _ in path] == [0, 0, 0, 0]
    assert [target for _, target in path] == pytest.approx([0.2, 0.4, 0.6, 0.8])


@given(st.integers(1, 60), st.floats(0, 1, exclude_max=True), st.integers(0, 2000))
def test_gradual_is_cubic_up_to_three_quarters_of_the_training(every: int, target: float, steps: int) -> None:
    path = pruning_steps(Gradual(name="gradual", every=every), target, steps, trains_between=True)
    times = [step for step, _ in path]
    assert times == sorted(times)
    assert times[-1] <= 0.75 * steps
    assert path[-1][1] == target
    reached = [share for _, share in path if share is not None]
    assert reached == sorted(reached)
    for step, share in path[:-1]:
        assert step % every == 0
        assert share == pytest.approx(target * (1 - (1 - step / times[-1]) ** 3))


def test_regrow_starts_sparse_and_acts_up_to_three_quarters() -> None:
    schedule = Regrow(name="regrow", every=30)
    assert pruning_steps(schedule, 0.9, 200, trains_between=True) == [(t, 0.9) for t in (0, 30, 60, 90, 120, 150)]
    assert replaced_share(schedule, 0, 200) == pytest.approx(0.3)
    assert replaced_share(schedule, 75, 200) == pytest.approx(0.15)
    assert replaced_share(schedule, 150, 200) == pytest.approx(0)


def test_exponential_removes_the_same_share_each_step() -> None:
    kept = [1 - s for s in sparsities(iterative(4, "exponential"), 1 - 0.5**4)]
    assert kept == pytest.approx([0.5, 0.25, 0.125, 0.0625])


def test_linear_and_cosine() -> None:
    assert sparsities(iterative(4, "linear"), 0.8) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    expected = [0.8 * (1 - math.cos(math.pi * i / 4)) / 2 for i in range(1, 5)]
    assert sparsities(iterative(4, "cosine"), 0.8) == pytest.approx(expected)


@given(
    st.integers(1, 120),
    st.sampled_from(["exponential", "linear", "cosine"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 10**6),
)
def test_counts_never_fall_and_end_at_the_target(steps: int, curve: str, target: float, weights: int) -> None:
    path = sparsities(iterative(steps, curve), target)
    assert len(path) == steps
    assert path[-1] == target
    counts = [round(s * weights) for s in path]
    assert counts == sorted(counts)


def test_path_of_a_schedule_that_stops_leads_to_its_end() -> None:
    schedule = iterative(3, "linear").model_copy(update={"stop": 1.0, "end": 0.6})
    assert sparsities(schedule, None) == pytest.approx([0.2, 0.4, 0.6])


@given(st.integers(0, 1000), st.integers(1, 50))
def test_boundaries_cover_all_steps_once_in_equal_parts(steps: int, pieces: int) -> None:
    parts = boundaries(steps, pieces)
    assert len(parts) == pieces
    assert [step for first, end in parts for step in range(first, end)] == list(range(steps))
    lengths = [end - first for first, end in parts]
    assert max(lengths) - min(lengths) <= 1


def test_step_rates_change_at_the_milestones() -> None:
    rates = training_rates(recipe(lr_schedule="step", milestones=(4, 8), gamma=0.1), steps_per_epoch=3)
    assert len(rates) == 30
    assert rates == pytest.approx([0.5] * 12 + [0.05] * 12 + [0.005] * 6)


def test_cosine_rates_fall_from_the_peak_towards_zero() -> None:
    rates = training_rates(recipe(lr_schedule="cosine"), steps_per_epoch=2)
    assert rates[0] == 0.5
    assert rates[10] == pytest.approx(0.25)
    assert rates[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 19 / 20)) / 2)


def test_warmup_rises_linearly_to_the_peak_and_the_rest_follows() -> None:
    rates = training_rates(recipe(lr_schedule="cosine", warmup_epochs=2), steps_per_epoch=2)
    assert rates[:4] == pytest.approx([0.125, 0.25, 0.375, 0.5])
    assert rates[4] == 0.5
    assert rates[12] == pytest.approx(0.25)
    milestones = training_rates(recipe(lr_schedule="step", milestones=(4,), warmup_epochs=2), 1)
    assert milestones == pytest.approx([0.25, 0.5, 0.5, 0.5] + [0.05] * 6)


def test_low_is_the_last_rate_of_a_step_schedule_else_a_hundredth() -> None:
    low = Low(name="low")
    step = recipe(lr_schedule="step", milestones=(4, 8))
    assert finetuning_rates(low, 2, step, 3) == pytest.approx([0.005] * 6)
    assert finetuning_rates(low, 2, recipe(lr_schedule="cosine"), 3) == pytest.approx([0.005] * 6)
    assert finetuning_rates(low, 1, recipe(), 2) == pytest.approx([0.005] * 2)


def test_rewound_replays_the_last_epochs() -> None:
    step = recipe(lr_schedule="step", milestones=(4, 8))
    assert finetuning_rates(Rewound(name="rewound"), 3, step, 2) == training_rates(step, 2)[-6:]
    assert finetuning_rates(Rewound(name="rewound"), 10, step, 2) == training_rates(step, 2)
    assert finetuning_rates(Rewound(name="rewound"), 0, step, 2) == []


def test_cosine_finetuning_falls_from_the_declared_peak() -> None:
    rates = finetuning_rates(Cosine(name="cosine", peak=0.2), 2, recipe(), 2)
    assert rates == pytest.approx(
        [0.2, 0.2 * (1 + math.cos(math.pi / 4)) / 2, 0.1, 0.2 * (1 - math.cos(math.pi / 4)) / 2]
    )
    assert finetuning_rates(Cosine(name="cosine"), 2, recipe(), 2)[0] == 0.5
