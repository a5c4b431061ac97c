"""N:M and blocks against loops that are written out, and through the planner and a pruning step."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench import config
from bench.axes import NM, Block, Scope, Weight
from bench.errors import UserError
from bench.granularity import divides, select_nm, transposed, unit_masks, unit_scores, weight_masks
from bench.lineage import Lineage
from bench.plan import make
from bench.prune import Pruner
from tests.helpers import cell, data, net, workbench

SEEDS = st.integers(0, 10_000)


def scores(seed: int, *shape: int, ties: bool = False) -> torch.Tensor:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (values * 3).round() if ties else values


@given(SEEDS, st.sampled_from([(2, 4), (4, 8), (1, 4)]), st.booleans(), st.sampled_from([(), (3, 3)]))
def test_nm_keeps_the_n_highest_of_each_group_along_the_inputs(
    seed: int, pattern: tuple[int, int], ties: bool, kernel: tuple[int, ...]
) -> None:
    n, m = pattern
    score = scores(seed, 3, 2 * m, *kernel, ties=ties)
    mask = select_nm({"w": score}, NM(name="nm", n=n, m=m))["w"]
    flat, kept = score.reshape(3, 2 * m, -1), mask.reshape(3, 2 * m, -1)
    for out in range(3):
        for position in range(flat.shape[2]):
            for start in range(0, 2 * m, m):
                group = flat[out, start : start + m, position].tolist()
                best = sorted(range(m), key=lambda i, group=group: (-group[i], i))[:n]
                expected = [i in best for i in range(m)]
                assert kept[out, start : start + m, position].tolist() == expected


def test_block_scores_are_means_over_tiles_and_masks_are_whole_tiles() -> None:
    block = Block(name="block", rows=2, cols=3)
    score = scores(0, 4, 6, 3, 3)
    units = unit_scores({"w": score}, block)["w"]
    assert units.shape == (2, 2, 3, 3)
    assert torch.allclose(units[1, 0, 2, 1], score[2:4, 0:3, 2, 1].mean())
    kept = units > units.median()
    mask = weight_masks({"w": kept}, block)["w"]
    assert mask.shape == score.shape
    for i in range(2):
        for j in range(2):
            assert (mask[2 * i : 2 * i + 2, 3 * j : 3 * j + 3] == kept[i, j]).all()
    assert torch.equal(unit_masks({"w": mask}, block)["w"], kept)


def test_single_weights_are_their_own_units() -> None:
    one = {"w": scores(0, 3, 5)}
    weight = Weight(name="weight")
    assert unit_scores(one, weight) is one
    assert divides(weight, torch.Size((3, 5)))


@pytest.mark.parametrize(
    ("grain", "shape", "whole"),
    [
        (NM(name="nm"), (5, 8, 3, 3), True),
        (NM(name="nm"), (8, 6), False),
        (NM(name="nm"), (8, 1, 3, 3), False),
        (Block(name="block"), (8, 4), True),
        (Block(name="block"), (6, 4), False),
    ],
)
def test_which_layers_divide(grain: NM | Block, shape: tuple[int, ...], whole: bool) -> None:
    assert divides(grain, torch.Size(shape)) == whole


def pruned(
    tmp_path: Path, targets: tuple[float, ...], shape: tuple[int, ...] = (1, 4, 4), **changes: object
) -> Lineage:
    samples = data(train=80, shape=shape)
    pruner = Pruner(cell(**changes), samples, workbench(tmp_path))
    lineage = Lineage(net(shape))
    for target in targets:
        before = lineage.masks
        pruner.prune_(lineage, target)
        assert all((lineage.masks[name] <= mask).all() for name, mask in before.items())
    return lineage


def test_a_step_prunes_the_layers_that_divide_and_names_the_others(tmp_path: Path) -> None:
    lineage = pruned(tmp_path, (0.5,), granularity=NM(name="nm"), scope=None)
    masks = lineage.masks
    assert masks["0.weight"].all()  # one input channel
    assert masks["4.weight"].float().mean() == 0.5
    assert lineage.columns["left_dense"] == "0.weight"


def test_blocks_reach_the_target_over_all_weights_and_nest(tmp_path: Path) -> None:
    block = Block(name="block", rows=1, cols=4)
    lineage = pruned(tmp_path, (0.3, 0.6), granularity=block, scope=Scope(name="global"), criterion="snip")
    total = sum(mask.numel() for mask in lineage.masks.values())
    removed = sum(int((~mask).sum()) for mask in lineage.masks.values())
    assert abs(removed - 0.6 * total) <= 2  # half a block
    tiles = lineage.masks["4.weight"].view(3, -1, 4)
    assert (tiles.all(2) | ~tiles.any(2)).all()
    layer = pruned(tmp_path, (0.5,), granularity=block, scope=Scope(name="layer"))
    assert layer.masks["4.weight"].float().mean() == 0.5


def test_no_layer_that_divides_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no layer of lenet divides"):
        pruned(tmp_path, (0.5,), granularity=NM(name="nm", n=4, m=2048), scope=None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["granularity=nm", "scope=layer"], "has no scope=layer"),
        (["granularity=nm", "schedule=iterative"], "in one step"),
        (["granularity={name: nm, n: 4, m: 4}"], "removes none"),
        (["granularity=block", "scope=erk"], "not erk"),
        (["granularity=block", "schedule=regrow"], "would break the pattern"),
        (["granularity=filters"], "unknown value 'filters'"),
    ],
)
def test_undefined_pairs_are_refused(tmp_path: Path, arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make(config.load([f"out={tmp_path}", "criterion=magnitude", *arguments]), "cpu")


def test_nm_has_its_own_sparsity_and_no_scope(tmp_path: Path) -> None:
    words = ["granularity=[nm,{name: nm, n: 4, m: 8}]", "criterion=[magnitude,wanda]", "seed=0", "sparsity=[0.5,0.9]"]
    cells = make(config.load([f"out={tmp_path}", *words]), "cpu").cells
    rows = [c.columns() for c in cells if not c.criterion.startswith("dense")]
    assert len(rows) == 4
    assert {row["sparsity_target"] for row in rows} == {0.5}
    assert {row["scope"] for row in rows} == {None}
    assert {row["granularity"] for row in rows} == {"{name: nm, n: 2, m: 4}", "{name: nm, n: 4, m: 8}"}


def test_nm_leaves_transposed_convolutions_dense(tmp_path: Path) -> None:
    """Their weight is [in, out, ...]: along its second dimension lie no inputs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ConvTranspose2d(8, 4, 2), nn.Flatten(), nn.Linear(36, 3))
    assert transposed(model) == {"1.weight"}
    one = cell(granularity=NM(name="nm", n=2, m=4), scope=None, sparsity=0.5)
    lineage = Lineage(model)
    Pruner(one, data(train=80), workbench(tmp_path)).prune_(lineage, 0.5)
    assert lineage.columns["left_dense"] == "0.weight, 1.weight"
    assert lineage.masks["1.weight"].all()
    assert int(lineage.masks["3.weight"].sum()) == 36 * 3 // 2
