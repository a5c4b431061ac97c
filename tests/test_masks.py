"""select: exact counts, ties, nesting; against a sort that is written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from bench.masks import apply_masks_, layer_counts, select, share_within

# Few distinct values, signed zeros and denormals among them: most draws hold ties.
VALUES = st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 1e-310, 0.5, 0.5, -1.0, 3.0, 3.0e38])
ELEMENTS = st.floats(width=32, allow_nan=False, allow_infinity=False) | VALUES.map(np.float32)
LAYERS = st.lists(
    hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=5), elements=ELEMENTS), min_size=1, max_size=4
)
SPARSITY = st.floats(0, 1, exclude_max=True) | st.sampled_from([0.0, 0.5, 0.9, 1 - 2**-53])


def scores_of(layers: list[np.ndarray]) -> dict[str, torch.Tensor]:
    return {f"layer{i}": torch.from_numpy(layer.copy()) for i, layer in enumerate(layers)}


def kept_by_sorting(values: list[float], remove: int) -> list[bool]:
    """Remove the lowest; among equals the later first. -0.0 equals 0.0."""
    order = sorted(range(len(values)), key=lambda i: (values[i], -i))
    removed = set(order[:remove])
    return [i not in removed for i in range(len(values))]


@given(LAYERS, SPARSITY)
def test_global_equals_a_sort(layers: list[np.ndarray], sparsity: float) -> None:
    scores = scores_of(layers)
    flat = [float(v) for layer in layers for v in layer.flatten()]
    masks = select(scores, sparsity)
    assert list(masks) == list(scores)
    assert all(masks[name].shape == scores[name].shape and masks[name].dtype == torch.bool for name in scores)
    got = torch.cat([mask.flatten() for mask in masks.values()]).tolist()
    assert got == kept_by_sorting(flat, round(sparsity * len(flat)))


@given(LAYERS, SPARSITY)
def test_layer_equals_a_sort_in_each_layer(layers: list[np.ndarray], sparsity: float) -> None:
    scores = scores_of(layers)
    for name, mask in select(scores, sparsity, scope="layer").items():
        values = [float(v) for v in scores[name].flatten()]
        assert mask.flatten().tolist() == kept_by_sorting(values, round(sparsity * len(values)))


@given(LAYERS, LAYERS, SPARSITY, SPARSITY, st.sampled_from(["global", "layer"]))
def test_within_nests_exactly(
    layers: list[np.ndarray], other: list[np.ndarray], one: float, two: float, scope: str
) -> None:
    """The second step has new scores, among them ones that would revive what the first removed."""
    low, high = sorted((one, two))
    first_scores = scores_of(layers)
    pool = np.resize(np.concatenate([layer.flatten() for layer in other]), 10_000)
    second_scores = {n: torch.from_numpy(pool[: s.numel()].reshape(s.shape).copy()) for n, s in first_scores.items()}
    first = select(first_scores, low, scope)
    second = select(second_scores, high, scope, within=first)
    assert all((second[name] <= first[name]).all() for name in first)
    removed = {name: int((~mask).sum()) for name, mask in second.items()}
    if scope == "global":
        assert sum(removed.values()) == round(high * sum(s.numel() for s in first_scores.values()))
    else:
        assert removed == {name: round(high * s.numel()) for name, s in first_scores.items()}


@given(LAYERS, SPARSITY)
def test_one_ranking_gives_nested_masks(layers: list[np.ndarray], sparsity: float) -> None:
    scores = scores_of(layers)
    denser = select(scores, sparsity / 2)
    assert all((mask <= denser[name]).all() for name, mask in select(scores, sparsity).items())


def test_all_equal_scores_remove_exactly_the_last() -> None:
    masks = select({"a": torch.zeros(4), "b": torch.zeros(2, 3)}, 0.5)
    assert masks["a"].tolist() == [True] * 4
    assert masks["b"].flatten().tolist() == [True] + [False] * 5


def test_signed_zeros_are_equal() -> None:
    assert select({"a": torch.tensor([-0.0, 0.0, -0.0, 0.0])}, 0.5)["a"].tolist() == [True, True, False, False]


def test_denormals_are_ranked() -> None:
    assert select({"a": torch.tensor([2e-45, 1e-45, 3e-45, 0.0])}, 0.5)["a"].tolist() == [True, False, True, False]


def test_float64_differences_below_float32_count() -> None:
    scores = {"a": torch.tensor([1 + 1e-12, 1.0], dtype=torch.float64), "b": torch.tensor([2.0, 3.0])}
    assert select(scores, 0.25)["a"].tolist() == [True, False]


def test_one_element_and_scalar_shapes() -> None:
    assert select({"a": torch.tensor([3.0])}, 0.4)["a"].tolist() == [True]
    assert select({"a": torch.tensor([3.0])}, 0.9)["a"].tolist() == [False]
    assert select({}, 0.5) == {}


def test_masks_do_not_share_memory() -> None:
    masks = select({"a": torch.arange(4.0), "b": torch.arange(4.0)}, 0.5)
    masks["a"].fill_(False)
    assert masks["b"].any()


def test_scores_of_channels_last_layout_are_read_row_major() -> None:
    scores = torch.arange(16.0).reshape(1, 4, 2, 2)
    laid_out = scores.contiguous(memory_format=torch.channels_last)
    assert torch.equal(select({"a": laid_out}, 0.5)["a"], select({"a": scores}, 0.5)["a"])
    ties = torch.zeros(1, 4, 2, 2).contiguous(memory_format=torch.channels_last)
    assert select({"a": ties}, 0.5)["a"].flatten().tolist() == [True] * 8 + [False] * 8


@pytest.mark.parametrize("sparsity", [1.0, 1.3, -0.1, math.nan, math.inf])
def test_sparsity_outside_its_range_is_refused(sparsity: float) -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1\)"):
        select({"a": torch.rand(3)}, sparsity)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_scores_are_refused_by_name(value: float) -> None:
    with pytest.raises(ValueError, match=r"conv1\.weight"):
        select({"fc.weight": torch.rand(3), "conv1.weight": torch.tensor([1.0, value])}, 0.5)


def test_unknown_scope_and_unfit_within_are_refused() -> None:
    scores = {"a": torch.rand(4)}
    with pytest.raises(ValueError, match="unknown scope 'globl'"):
        select(scores, 0.5, scope="globl")
    with pytest.raises(ValueError, match="removed more"):
        select(scores, 0.25, within={"a": torch.tensor([True, False, False, True])})
    with pytest.raises(ValueError, match="no entry of the shape of a"):
        select(scores, 0.5, within={"a": torch.ones(3, dtype=torch.bool)})


@given(st.integers(1, 500), st.integers(0, 500), SPARSITY)
@settings(max_examples=200)
def test_share_within_removes_the_count_of_all(scored: int, unscored: int, sparsity: float) -> None:
    total = scored + unscored
    if round(sparsity * total) >= scored:
        with pytest.raises(ValueError, match=f"scores only {scored}"):
            share_within(sparsity, scored, total)
    else:
        assert round(share_within(sparsity, scored, total) * scored) == round(sparsity * total)


def test_apply_and_count() -> None:
    model = nn.Linear(4, 2)
    masks = {"weight": torch.tensor([[True, False, True, False], [False, False, False, True]])}
    before = model.weight.detach().clone()
    apply_masks_(model, masks)
    assert torch.equal(model.weight.detach(), torch.where(masks["weight"], before, torch.zeros(())))
    assert layer_counts(masks) == [("weight", 3, 8)]
