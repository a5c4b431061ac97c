"""Densities of the scopes against independent solvers; shares turned into whole numbers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.scopes import apportion, removed_per_layer

SHAPES = st.lists(
    st.lists(st.integers(1, 6), min_size=2, max_size=4).map(tuple), min_size=1, max_size=5
)  # kernels and matrices
SPARSITY = st.floats(0, 0.999)


def bounds(weights: dict[str, torch.Tensor]) -> tuple[list[int], list[int]]:
    return [0] * len(weights), [w.numel() for w in weights.values()]


def empty(shapes: list[tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {f"layer{i}": torch.empty(shape) for i, shape in enumerate(shapes)}


def noise(shapes: list[tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return {f"layer{i}": torch.randn(shape, generator=chance) for i, shape in enumerate(shapes)}


def erk_by_bisection(shapes: list[tuple[int, ...]], kept: int, least: int = 0) -> list[float]:
    """Return the kept numbers at the epsilon where min(1, epsilon * sum / prod) keeps `kept`, each layer `least`."""

    def at(epsilon: float) -> list[float]:
        return [min(math.prod(shape), max(least, epsilon * sum(shape))) for shape in shapes]

    low, high = 0.0, float(max(math.prod(shape) for shape in shapes))
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(at(middle)) < kept else (low, middle)
    return at(high)


@given(SHAPES, SPARSITY)
def test_erk_equals_bisection_on_epsilon(shapes: list[tuple[int, ...]], sparsity: float) -> None:
    weights = empty(shapes)
    sizes = [math.prod(shape) for shape in shapes]
    total = round(sparsity * sum(sizes))
    removed = removed_per_layer("erk", weights, sparsity, *bounds(weights))
    assert sum(removed) == total
    for n, lost, kept in zip(sizes, removed, erk_by_bisection(shapes, sum(sizes) - total), strict=True):
        assert 0 <= lost <= n
        assert abs(n - lost - kept) < 1 + 1e-6


def test_erk_makes_small_layers_dense_and_gives_their_rest_to_the_others() -> None:
    shapes = [(8, 1, 3, 3), (16, 8, 3, 3), (100, 16)]  # raw densities 15/72, 30/1152, 116/1600
    removed = removed_per_layer("erk", empty(shapes), 0.5, *bounds(empty(shapes)))
    assert removed[0] == 0
    e = (1412 - 72) / (30 + 116)  # without a cap it would be 8.77, and the first layer's density 1.8
    assert 72 - 1412 / (15 + 30 + 116) * 15 < 0
    assert removed[1:] == pytest.approx([1152 - 30 * e, 1600 - 116 * e], abs=1)
    assert sum(removed) == 1412


def test_layer_is_the_share_of_each_up_to_what_must_stay() -> None:
    weights = empty([(4, 5), (3, 3)])
    assert removed_per_layer("layer", weights, 0.9, [0, 0], [20, 9]) == [18, 8]
    assert removed_per_layer("layer", weights, 0.9, [0, 0], [15, 9]) == [15, 8]


@given(SHAPES, SPARSITY, st.integers(0, 3))
def test_lamp_equals_ranking_all_scores_together(shapes: list[tuple[int, ...]], sparsity: float, seed: int) -> None:
    weights = noise(shapes, seed)
    scores: list[tuple[float, int]] = []
    for layer, weight in enumerate(weights.values()):
        squares = [float(w) ** 2 for w in weight.flatten().double()]
        scores += [(s / math.fsum(other for other in squares if other >= s), layer) for s in squares]
    total = round(sparsity * len(scores))
    lowest = [layer for _, layer in sorted(scores)[:total]]
    # The largest weight of each layer scores 1; only those tie, and which of them goes first is free.
    if total <= len(scores) - len(weights):
        expected = [lowest.count(layer) for layer in range(len(weights))]
        assert removed_per_layer("lamp", weights, sparsity, *bounds(weights)) == expected
    assert sum(removed_per_layer("lamp", weights, sparsity, *bounds(weights))) == total


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[float], int, list[int], list[int]]:
    highs = draw(st.lists(st.integers(0, 30), min_size=1, max_size=6))
    lows = [draw(st.integers(0, high)) for high in highs]
    shares = [draw(st.floats(0, 40)) for _ in highs]
    return shares, draw(st.integers(sum(lows), sum(highs))), lows, highs


@given(problems())
def test_apportion_sums_exactly_within_the_bounds(problem: tuple[list[float], int, list[int], list[int]]) -> None:
    shares, total, low, high = problem
    counts = apportion(shares, total, low, high)
    assert sum(counts) == total
    assert all(lo <= c <= hi for lo, c, hi in zip(low, counts, high, strict=True))


@given(st.lists(st.floats(0, 30), min_size=1, max_size=6))
def test_apportion_is_within_one_of_the_shares_where_nothing_binds(shares: list[float]) -> None:
    total = round(sum(shares))
    counts = apportion(shares, total, [0] * len(shares), [100] * len(shares))
    assert sum(counts) == total
    assert all(abs(c - x) <= 1 for c, x in zip(counts, shares, strict=True))


@pytest.mark.parametrize("total", [2, 11])
def test_apportion_refuses_what_the_bounds_exclude(total: int) -> None:
    with pytest.raises(ValueError, match=f"{total} weights cannot be removed: between 3 and 10 can"):
        apportion([1.0, 2.0], total, [1, 2], [4, 6])


@given(SHAPES, SPARSITY, st.integers(1, 20))
def test_what_every_layer_keeps_is_taken_from_the_others_by_their_densities(
    shapes: list[tuple[int, ...]], sparsity: float, least: int
) -> None:
    sizes = [math.prod(shape) for shape in shapes]
    least = min(least, *sizes)
    total = min(round(sparsity * sum(sizes)), sum(sizes) - least * len(sizes))
    removed = removed_per_layer("erk", empty(shapes), total / sum(sizes), [0] * len(sizes), [n - least for n in sizes])
    assert sum(removed) == total
    for n, lost, kept in zip(sizes, removed, erk_by_bisection(shapes, sum(sizes) - total, least), strict=True):
        assert n - lost >= least
        assert abs(n - lost - kept) < 1 + 1e-6


def test_a_small_layer_is_not_emptied_to_let_a_large_one_keep_its_least() -> None:
    shapes = [(64, 3, 3, 3), (512, 512, 3, 3), (10, 512)]
    sizes = [math.prod(shape) for shape in shapes]
    removed = removed_per_layer("erk", empty(shapes), 0.97, [0, 0, 0], [n - round(0.028 * n) for n in sizes])
    kept = [n - lost for n, lost in zip(sizes, removed, strict=True)]
    assert kept[1] == round(0.028 * sizes[1])
    # What is left is shared by the sums of the shapes, 73 and 522.
    rest = sum(kept) - kept[1]
    assert [kept[0], kept[2]] == pytest.approx([rest * 73 / 595, rest * 522 / 595], abs=1)
