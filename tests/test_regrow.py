"""Drop and grow: counts fixed, the lowest dropped, the highest grown; the initial random masks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.masks import Masks, select
from bench.regrow import random_masks, traded
from bench.scopes import removed_per_layer

Tensors = dict[str, torch.Tensor]


def noise(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def setting(rows: int, columns: int, active: int, seed: int, ties: bool = False) -> tuple[Masks, Tensors, Tensors]:
    shape = (rows, columns)
    order = noise(shape, seed).flatten().argsort()
    mask = torch.zeros(rows * columns, dtype=torch.bool).index_fill(0, order[:active], True).view(shape)
    drop, grow = noise(shape, seed + 1), noise(shape, seed + 2).abs()
    return {"a": mask}, {"a": drop.round() if ties else drop}, {"a": grow.round() if ties else grow}


@given(st.integers(1, 6), st.integers(1, 6), st.data(), st.floats(0, 0.99), st.integers(0, 99), st.booleans())
def test_counts_stay_the_lowest_go_and_the_highest_come(
    rows: int, columns: int, data: st.DataObject, share: float, seed: int, ties: bool
) -> None:
    active = data.draw(st.integers(0, rows * columns))
    masks, drop, grow = setting(rows, columns, active, seed, ties)
    old, new = masks["a"], traded(masks, drop, grow, share)["a"]
    assert int(new.sum()) == active
    count = max(0, min(round(share * active), old.numel() - active, active - 1))
    if not count:
        assert torch.equal(new, old)
        return
    ranked = sorted(
        (i for i in range(old.numel()) if old.flatten()[i]), key=lambda i: (float(drop["a"].flatten()[i]), -i)
    )
    stays = set(ranked[count:])
    free = [i for i in range(old.numel()) if i not in stays]
    grown = set(sorted(free, key=lambda i: (-float(grow["a"].flatten()[i]), i))[:count])
    assert set(new.flatten().nonzero().flatten().tolist()) == stays | grown


def test_the_last_weight_of_a_layer_stays() -> None:
    masks, drop, grow = setting(2, 3, 1, 0)
    assert torch.equal(traded(masks, drop, grow, 0.99)["a"], masks["a"])


def test_a_dense_and_an_empty_layer_have_nothing_to_trade() -> None:
    for active in (0, 6):
        masks, drop, grow = setting(2, 3, active, 0)
        assert torch.equal(traded(masks, drop, grow, 0.5)["a"], masks["a"])


def test_layers_trade_by_themselves() -> None:
    one, other = setting(4, 5, 8, 0), setting(6, 6, 20, 9)
    both = [{"a": x["a"], "b": y["a"]} for x, y in zip(one, other, strict=True)]
    new = traded(*both, 0.5)  # type: ignore[arg-type]
    assert torch.equal(new["a"], traded(*one, 0.5)["a"])
    assert torch.equal(new["b"], traded(*other, 0.5)["a"])


def test_huge_growth_scores_do_not_drown_what_is_kept() -> None:
    """At 1e9 a float32 less one is itself."""
    masks, drop, grow = setting(3, 4, 6, 0)
    huge = {"a": torch.full_like(grow["a"], 1e9)}
    new = traded(masks, drop, huge, 0.5)["a"]
    assert int(new.sum()) == 6


@pytest.mark.parametrize("scope", ["global", "layer", "erk", "lamp", "row"])
def test_random_masks_have_the_densities_of_the_scope(scope: str) -> None:
    weights = {"a": noise((8, 5), 0), "b": noise((30, 7), 1)}
    masks = random_masks(weights, 0.8, scope, 0, torch.Generator().manual_seed(3))
    given_scope = "layer" if scope in ("global", "row") else scope
    expected = removed_per_layer(given_scope, weights, 0.8, [0, 0], [40, 210])
    assert [int((~mask).sum()) for mask in masks.values()] == expected
    by_size = select({name: w.abs() for name, w in weights.items()}, 0.8, "layer")
    assert not torch.equal(masks["b"], by_size["b"])


def test_random_masks_follow_their_generator_alone() -> None:
    weights = {"a": noise((8, 5), 0)}
    draws = [random_masks(weights, 0.5, "global", 0, torch.Generator().manual_seed(s))["a"] for s in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
