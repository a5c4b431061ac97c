"""select at every scope: exact counts, nesting under new scores, balanced rows, min_keep; threshold."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.masks import Masks, select, threshold

SHAPES = st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=3).map(tuple), min_size=1, max_size=4)
SPARSITY = st.floats(0, 0.999)
SEED = st.integers(0, 1000)
SCOPES = ["global", "layer", "erk", "lamp", "row"]
TOGETHER = ["global", "erk", "lamp"]


def draw(shapes: list[tuple[int, ...]], seed: int, ties: bool = False) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    values = {f"layer{i}": torch.randn(shape, generator=chance) for i, shape in enumerate(shapes)}
    return {name: v.round() if ties else v for name, v in values.items()}


def removed(masks: Masks) -> list[int]:
    return [int((~mask).sum()) for mask in masks.values()]


def sizes(masks: Masks) -> list[int]:
    return [mask.numel() for mask in masks.values()]


@pytest.mark.parametrize("scope", SCOPES)
@given(SHAPES, SPARSITY, SEED, st.booleans())
def test_counts_are_exact(scope: str, shapes: list[tuple[int, ...]], sparsity: float, seed: int, ties: bool) -> None:
    scores = draw(shapes, seed, ties)
    masks = select(scores, sparsity, scope, weights=draw(shapes, seed + 1))
    if scope in TOGETHER:
        assert sum(removed(masks)) == round(sparsity * sum(sizes(masks)))
    else:
        assert removed(masks) == [round(sparsity * n) for n in sizes(masks)]


@pytest.mark.parametrize("scope", ["layer", "erk", "lamp"])
@given(SHAPES, SPARSITY, SEED)
def test_within_a_layer_the_lowest_are_removed(
    scope: str, shapes: list[tuple[int, ...]], sparsity: float, seed: int
) -> None:
    scores = draw(shapes, seed)
    for name, mask in select(scores, sparsity, scope, weights=draw(shapes, seed + 1)).items():
        if mask.any() and not mask.all():
            assert scores[name][~mask].max() < scores[name][mask].min()


@pytest.mark.parametrize("scope", SCOPES)
@given(SHAPES, st.lists(SPARSITY, min_size=2, max_size=4), SEED, st.booleans(), st.sampled_from([0, 1, 0.2]))
def test_rising_sparsities_nest_whatever_the_new_scores(
    scope: str, shapes: list[tuple[int, ...]], path: list[float], seed: int, ties: bool, min_keep: float
) -> None:
    """Weights change between the steps too, the removed ones being zero, as training leaves them."""
    within: Masks | None = None
    count = sum(math.prod(shape) for shape in shapes)
    for step, sparsity in enumerate(sorted(path)):
        scores, weights = draw(shapes, seed + step, ties), draw(shapes, seed + step + 50)
        if within:
            weights = {name: weight * within[name] for name, weight in weights.items()}
        try:
            masks = select(scores, sparsity, scope, within, min_keep=min_keep, weights=weights)
        except ValueError:
            assert min_keep  # the only obstacle here, and only where one total is to be met
            assert scope in TOGETHER
            return
        if within:
            assert all((masks[name] <= within[name]).all() for name in masks)
        if scope in TOGETHER:
            assert sum(removed(masks)) == round(sparsity * count)
        within = masks


@given(st.integers(1, 6), st.integers(1, 6), SPARSITY, SEED, st.booleans())
def test_rows_differ_by_at_most_one_and_lose_their_lowest(
    rows: int, columns: int, sparsity: float, seed: int, ties: bool
) -> None:
    score = draw([(rows, columns)], seed, ties)["layer0"]
    mask = select({"a": score}, sparsity, "row")["a"]
    lost = (~mask).sum(1).tolist()
    assert sum(lost) == round(sparsity * score.numel())
    assert max(lost) - min(lost) <= 1
    for row, kept, count in zip(score.tolist(), mask.tolist(), lost, strict=True):
        order = sorted(range(columns), key=lambda i: (row[i], -i))  # among equals the later goes first
        assert {i for i in range(columns) if not kept[i]} == set(order[:count])
    one_more = [sorted(row)[min(lost)] for row, n in zip(score.tolist(), lost, strict=True) if n > min(lost)]
    others = [sorted(row)[min(lost)] for row, n in zip(score.tolist(), lost, strict=True) if n == min(lost) < columns]
    assert not one_more or max(one_more) <= min(others)


def test_ties_between_rows_take_the_later_row_and_the_later_entry() -> None:
    mask = select({"a": torch.zeros(3, 4)}, 5 / 12, "row")["a"]
    assert mask.tolist() == [[True, True, True, False], [True, True, False, False], [True, True, False, False]]


def test_rows_of_a_kernel_are_its_outputs() -> None:
    mask = select(draw([(4, 3, 2, 2)], 0), 0.5, "row")["layer0"]
    assert (~mask).flatten(1).sum(1).tolist() == [6] * 4


def test_a_step_before_that_emptied_a_row_is_refused() -> None:
    within = {"a": torch.tensor([[False, False, False], [True, True, True]])}
    with pytest.raises(ValueError, match="more of a row of a"):
        select({"a": torch.rand(2, 3)}, 0.5, "row", within)


def test_a_row_within_that_is_uneven_by_one_goes_on_evenly() -> None:
    within = {"a": torch.tensor([[False, True, True], [True, True, True]])}
    score = {"a": torch.tensor([[9.0, 9, 9], [1, 2, 3]])}
    assert select(score, 2 / 6, "row", within)["a"].tolist() == [[False, True, True], [False, True, True]]


# min_keep


@pytest.mark.parametrize("scope", SCOPES)
@given(SHAPES, SPARSITY, SEED, st.sampled_from([1, 3, 0.1, 0.25]), st.booleans())
def test_every_layer_keeps_min_keep(
    scope: str, shapes: list[tuple[int, ...]], sparsity: float, seed: int, min_keep: float, ties: bool
) -> None:
    scores = {name: (i + 1) * value for i, (name, value) in enumerate(draw(shapes, seed, ties).items())}
    counts = [s.numel() for s in scores.values()]
    least = [min(n, min_keep if min_keep >= 1 else math.ceil(min_keep * n)) for n in counts]
    reachable = round(sparsity * sum(counts)) <= sum(counts) - sum(least)
    if scope in TOGETHER and not reachable:
        with pytest.raises(ValueError, match=r"min_keep|cannot be removed"):
            select(scores, sparsity, scope, min_keep=min_keep, weights=scores)
        return
    masks = select(scores, sparsity, scope, min_keep=min_keep, weights=scores)
    assert all(int(mask.sum()) >= few for mask, few in zip(masks.values(), least, strict=True))
    if scope in TOGETHER:
        assert sum(removed(masks)) == round(sparsity * sum(counts))
    else:
        assert removed(masks) == [min(round(sparsity * n), n - few) for n, few in zip(counts, least, strict=True)]


def test_what_min_keep_spares_are_the_best_and_others_pay() -> None:
    scores = {"weak": torch.tensor([[1.0, 3, 2, 0]]), "strong": torch.tensor([[10.0, 40, 20, 30]])}
    assert select(scores, 0.5)["weak"].tolist() == [[False] * 4]
    masks = select(scores, 0.5, min_keep=2)
    assert masks["weak"].tolist() == [[False, True, True, False]]
    assert masks["strong"].tolist() == [[False, True, False, True]]


def test_min_keep_as_a_share_is_not_one_more_for_a_rounding_error() -> None:
    assert 0.07 * 100 > 7
    assert int(select({"a": torch.rand(10, 10)}, 0.99, "layer", min_keep=0.07)["a"].sum()) == 7


@pytest.mark.parametrize("scope", SCOPES)
def test_less_than_the_step_before_is_unreachable(scope: str) -> None:
    scores = {"a": torch.rand(4, 4), "b": torch.rand(2, 4)}
    within = select(scores, 0.75, scope, weights=scores)
    with pytest.raises(ValueError, match=r"removed more|cannot be removed"):
        select(scores, 0.25, scope, within, weights=scores)


def test_lamp_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="give `weights`"):
        select({"a": torch.rand(2, 2)}, 0.5, "lamp")


# threshold


def test_threshold_keeps_what_reaches_the_value_within_the_step_before() -> None:
    scores = {"a": torch.tensor([0.1, 0.5, 0.49, 2.0]), "b": torch.tensor([0.0, 0.2])}
    assert threshold(scores, 0.5)["a"].tolist() == [False, True, False, True]
    assert not threshold(scores, 0.5)["b"].any()
    within = {"a": torch.tensor([True, False, True, True]), "b": torch.tensor([True, True])}
    assert threshold(scores, 0.5, within)["a"].tolist() == [False, False, False, True]
    with pytest.raises(ValueError, match="scores of b are not finite"):
        threshold({"b": torch.tensor([math.nan])}, 0.5)
