"""Which units go: scores by loops, counts and targets by the compacted network's own size; then whole cells."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench import lineage as lineage_module
from bench.artefacts import unpack
from bench.axes import Filter, Gradual, Iterative, Layer, Low, Rewound, Scope
from bench.cell import Cell
from bench.compact import kept_units
from bench.data import batches, load
from bench.lineage import Lineage
from bench.masks import Masks, select
from bench.measure.accuracy import reestimated_batchnorm
from bench.models.digits_net import digits_net
from bench.models.resnet import resnet
from bench.models.text_transformer import text_transformer
from bench.prune import Pruner, structure_of
from bench.run import initial, read_pruned, run_cell
from bench.schema import Model
from bench.score import scoring_set
from bench.store import MASKS, WEIGHTS
from bench.structured import Structure, group_scores, select_units
from bench.units import Part, Units
from criteria.tools.parameters import prunable
from tests.helpers import cell, dataset, recipe, same, workbench
from tests.killed import made_despite_kills
from tests.structures import FILTER, filter_cell, seeded, structure

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
WORDS = torch.ones(1, 48, dtype=torch.long)


def units(name: str, count: int, **owners: list[int]) -> Units:
    produced = tuple(Part(key, 0, torch.tensor(owner)) for key, owner in owners.items())
    return Units(name, count, produced, (), ())


# scores

GROUPS = [
    units("a", 3, a=[0, 1, 2], b=[0, 1, 2, -1, -1], c=[2, 0, 1]),  # three layers, one of them in another order
    units("b", 2, b=[-1, -1, -1, 0, 1]),
    units("d", 2, d=[0, 0, 1, 1]),  # two rows a unit, as grouped convolutions and heads have
    units("missing", 2, e=[0, 1]),
]
SHAPES = {"a": (3, 2, 3, 3), "b": (5, 4), "c": (3, 7), "d": (4, 3)}


def scores(signed: bool = False) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(4)
    values = {k: torch.randn(shape, generator=chance) * 10.0**i for i, (k, shape) in enumerate(SHAPES.items())}
    return values if signed else {name: value.abs() for name, value in values.items()}


def by_loops(group: Units, values: dict[str, Tensor], reduce: str, layer_mean: bool, coupled: str) -> list[float]:
    members = [part for part in group.produced if part.parameter in values]
    rows, sizes = [], []
    for part in members:
        filters = [[float(x) for x in row.flatten()] for row in values[part.parameter].double()]
        reduced = {
            "mean": lambda f: sum(f) / len(f),
            "sum": sum,
            "l2": lambda f: sum(x * x for x in f) ** 0.5,
        }[reduce]
        rows.append([reduced(f) for f in filters])
        sizes.append(len(filters[0]) if reduce == "mean" and coupled == "mean" else 1)
    scales = [sum(abs(x) for x in row) / len(row) for row in rows]
    if layer_mean:
        rows = [[x / scale for x in row] for row, scale in zip(rows, scales, strict=True)]
        scales = [1.0] * len(rows)
    out = []
    for unit in range(group.count):
        mine = [
            (row[i], size, scale)
            for part, row, size, scale in zip(members, rows, sizes, scales, strict=True)
            for i, owner in enumerate(part.owner.tolist())
            if owner == unit
        ]
        if coupled == "sum":
            out.append(sum(x * size for x, size, _ in mine))
        elif len(members) == 1:
            out.append(sum(x * size for x, size, _ in mine) / sum(size for _, size, _ in mine))
        else:
            common = sum(scale * size for scale, size in zip(scales, sizes, strict=True)) / sum(sizes)
            relative = sum(x / scale * size for x, size, scale in mine) / sum(size for _, size, _ in mine)
            out.append(relative * common)
    return out


@pytest.mark.parametrize("coupled", ["mean", "sum"])
@pytest.mark.parametrize("layer_mean", [False, True])
@pytest.mark.parametrize(("reduce", "signed"), [("mean", False), ("mean", True), ("sum", False), ("l2", False)])
def test_scores_of_units_by_loops(reduce: str, signed: bool, layer_mean: bool, coupled: str) -> None:
    values = scores(signed)
    fields = {"name": "filter", "reduce": reduce, "normalise": "layer_mean" if layer_mean else "none"}
    for given in (values, {name: value for name, value in values.items() if name != "b"}):
        got = group_scores(GROUPS, given, Filter.model_validate(fields), coupled)
        assert list(got) == [name for name in ("a", "b", "d") if name in given or name == "a"]
        for group in GROUPS:
            if group.name in got:
                expected = by_loops(group, given, reduce, layer_mean, coupled)
                assert got[group.name].tolist() == pytest.approx(expected, rel=1e-12)


def test_a_sum_of_coupled_filters_is_that_of_their_reduced_scores() -> None:
    ones = {name: torch.ones(shape) for name, shape in SHAPES.items()}
    got = group_scores(GROUPS, ones, Filter(name="filter"), "sum")
    members = {group.name: [part.owner.tolist() for part in group.produced] for group in GROUPS}
    for name, values in got.items():
        count = [sum(owners.count(unit) for owners in members[name]) for unit in range(len(values))]
        assert values.tolist() == count


def test_a_filters_own_score_counts_once_and_a_blocks_score_is_the_mean_over_its_weights() -> None:
    own = {"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor([9.0, 9.0, 9.0, 5.0, 7.0])}
    got = group_scores(GROUPS, own, Filter(name="filter"), "sum")
    assert got["a"].tolist() == [10, 11, 12]
    assert got["b"].tolist() == [5, 7]
    block = Units("x", 1, tuple(Part(n, 0, torch.zeros(SHAPES[n][0], dtype=torch.long)) for n in ("a", "b")), (), ())
    values = scores()
    every = torch.cat([values["a"].flatten(), values["b"].flatten()]).double()
    assert float(group_scores([block], values, None, "mean")["x"]) == pytest.approx(float(every.mean()), rel=1e-6)


# counts


def drawn(*counts: int) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(1)
    return {f"g{i}": torch.rand(count, generator=chance, dtype=torch.float64) for i, count in enumerate(counts)}


def gone(kept: dict[str, Tensor]) -> dict[str, int]:
    return {name: int((~mask).sum()) for name, mask in kept.items()}


@pytest.mark.parametrize("share", [0.0, 0.13, 0.5, 0.77, 0.9])
def test_of_filters_exactly_the_share_goes_and_the_lowest(share: float) -> None:
    ranked = drawn(16, 32, 7)
    kept = select_units(ranked, share, "global", {}, 1, None)
    assert sum(gone(kept).values()) == round(share * 55)
    free = [(float(score[i]), bool(kept[name][i])) for name, score in ranked.items() for i in score.argsort()[:-1]]
    assert [alive for _, alive in sorted(free)] == sorted(alive for _, alive in free)  # but for the best of each
    layer = select_units(ranked, share, "layer", {}, 1, None)
    for name, score in ranked.items():
        count = min(round(share * len(score)), len(score) - 1)
        assert set(score.argsort()[:count].tolist()) == set((~layer[name]).nonzero().flatten().tolist())


def test_within_and_min_keep() -> None:
    ranked = drawn(16, 32, 7) | {"low": torch.full((8,), -1.0, dtype=torch.float64)}
    first = select_units(ranked, 0.3, "global", {}, 2, None)
    assert gone(first)["low"] == 6
    second = select_units({n: -s for n, s in ranked.items()}, 0.6, "global", first, 2, None)
    assert all((second[name] <= first[name]).all() for name in second)
    assert sum(gone(second).values()) == round(0.6 * 63)
    assert all(int(mask.sum()) >= 2 for mask in second.values())
    shares = select_units(ranked, 0.5, "global", {}, 0.25, None)
    assert all(int(mask.sum()) >= 0.25 * len(mask) for mask in shares.values())
    with pytest.raises(ValueError, match="min_keep"):
        select_units(ranked, 0.98, "global", {}, 1, None)
    with pytest.raises(ValueError, match="has removed more"):
        select_units(ranked, 0.2, "global", first, 1, None)
    with pytest.raises(ValueError, match=r"no more than 0\.8571 of the target's kind"):
        select_units(drawn(7), 0.95, "global", {}, 1, lambda kept: sum(gone(kept).values()) / 7)


# targets

NETS = {
    "resnet8": (lambda: resnet((3, 8, 8), 10, depth=8), IMAGE),
    "digits_net": (lambda: digits_net((3, 8, 8), 10), IMAGE),
    "text_transformer": (lambda: text_transformer((48,), 3, vocabulary=60, width=64, depth=3, heads=16), WORDS),
}


def size(model: nn.Module, kind: str, sample: Tensor) -> int:
    """Count a compacted network itself."""
    if kind == "params":
        return sum(p.numel() for p in model.parameters())
    if kind == "weights":
        return sum(p.numel() for p in prunable(model).values())
    counter = FlopCounterMode(display=False)
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model.eval()(sample)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("kind", ["weights", "params", "flops"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_target_is_reached_as_the_compacted_network_counts(name: str, kind: str, scope: str) -> None:
    make, sample = NETS[name]
    model = seeded(make, torch.cat([sample, sample]))
    whole = structure(model, sample)
    asked = filter_cell(target_kind=kind, scope=Scope.model_validate({"name": scope}))
    values = {n: w.detach().abs() for n, w in prunable(model).items()}
    ranked, dense = group_scores(whole.groups, values, FILTER, "mean"), size(model, kind, sample)
    masks: Masks = {}

    def removed(masks: Masks) -> float:
        return 1 - size(whole.compacted(model, masks).model, kind, sample) / dense

    for target in (0.1, 0.2) if name == "text_transformer" else (0.3, 0.6):
        before, masks = masks, whole.select(asked, model, values, "mean", masks, target)
        assert all((masks[n] <= before[n]).all() for n in before)
        error = abs(removed(masks) - target)
        # A coupled channel of resnet8 is 5 % of it; at scope layer many go at once.
        assert error < (0.01 if name == "text_transformer" and scope == "global" else 0.03)
        kept = {units.name: kept_units(units, masks) for units in whole.groups}
        count, total = sum(gone(kept).values()), sum(map(len, kept.values()))
        for other in (count - 1, count + 1) if scope == "global" else ():
            neighbour = whole.masks(model, select(ranked, other / total, min_keep=1))
            assert error <= abs(removed(neighbour) - target) + 1e-9


def test_a_threshold_keeps_what_reaches_it_and_one_of_each() -> None:
    model = digits_net((3, 8, 8), 10)
    whole, asked = structure(model, IMAGE), filter_cell(scope=Scope(name="threshold", value=0.5))
    values = {n: torch.arange(len(w)) / 40 for n, w in prunable(model).items()}
    values["0.weight"] = torch.arange(16) / 100
    masks = whole.select(asked, model, values, "mean", {}, None)
    assert [int(kept_units(group, masks).sum()) for group in whole.groups] == [1, 12, 12]


def test_units_that_are_not_scored_stay_and_count() -> None:
    """A criterion that scores fewer layers has the same share of all units to remove, as it is with weights."""
    model = digits_net((3, 8, 8), 10)
    whole, asked = structure(model, IMAGE), filter_cell(target_kind="filters")
    values = {n: w.detach().abs() for n, w in prunable(model).items() if n != "0.weight"}
    assert whole.groups[0].produced[0].parameter == "0.weight"
    total = sum(units.count for units in whole.groups)
    masks = whole.select(asked, model, values, "mean", {}, 0.3)
    gone = [int((~kept_units(units, masks)).sum()) for units in whole.groups]
    assert gone[0] == 0
    assert sum(gone) == round(0.3 * total)
    with pytest.raises(ValueError, match=f"removes {round(0.9 * total)} of {total} prunable units, but the criterion"):
        whole.select(asked, model, values, "mean", {}, 0.9)


# whole cells

RESNET = Model(name="resnet8", factory="bench.models.resnet:resnet", options={"depth": 8})
DATA = dataset(reader="tests.tiny:read", validation=40)
SHORT = recipe(epochs=2, batch_size=48, momentum=0.9, nesterov=True, weight_decay=1e-3)
TRAINED = {"when": "trained", "finetune": Low(name="low"), "finetune_epochs": 2}
WHOLE = {"when": "trained", "finetune": Rewound(name="rewound"), "finetune_epochs": 2}
FIRST = {"when": "init", "finetune": None, "finetune_epochs": None}
REWIND = {"when": "rewind", "rewind_to": 0.25, "finetune": None, "finetune_epochs": None}
TWICE = Iterative(name="iterative", steps=2)
LAYER = {"granularity": Layer(name="layer"), "model": RESNET, "target_kind": "weights", "sparsity": 0.06}
CPU = torch.device("cpu")


def small(**changes: Any) -> Cell:
    fields = {"granularity": FILTER, "target_kind": "filters", "recipe": SHORT, "sparsity": 0.5, "model": DIGITS}
    return cell(**fields | {"dataset": DATA} | TRAINED | changes)


DIGITS = Model(name="digits_net", factory="bench.models.digits_net:digits_net")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Masks]:
    """Return the masks of every pruning step, filled as cells run."""
    seen: list[Masks] = []
    real = Pruner._mask_

    def noting(self: Pruner, lineage: Lineage, masks: Masks) -> None:
        real(self, lineage, masks)
        seen.append(masks)

    monkeypatch.setattr(Pruner, "_mask_", noting)
    return seen


def stored(one: Cell, root: Path, name: str) -> dict[str, Tensor]:
    return dict(sorted(unpack((root / "cells" / one.id / name).read_bytes(), CPU).items()))


def result(record: dict[str, Any]) -> dict[str, Any]:
    columns = {k: v for k, v in record["columns"].items() if not k.endswith("_s") and k not in ("started", "git")}
    columns.pop("peak_memory_mb")
    return columns | {"curves": record["curves"], "layers": record["layers"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"model": RESNET},
        {"schedule": TWICE, "criterion": "snip"},
        {"schedule": Gradual(name="gradual", every=2)},
        {"schedule": TWICE} | REWIND,
        {"schedule": TWICE, "criterion": "taylor"} | FIRST,
        {"scope": Scope(name="layer"), "target_kind": "flops"},
        {"ablation": "shuffle"} | WHOLE,
        {"ablation": "invert"} | WHOLE,
        {"ablation": "reinit"} | FIRST,
        LAYER,
    ],
    ids=lambda changes: "-".join(str(getattr(v, "name", v)) for v in changes.values()),
)
def test_a_whole_cell(tmp_path: Path, steps: list[Masks], changes: dict[str, Any]) -> None:
    one = small(**changes)
    record = run_cell(one, workbench(tmp_path))
    columns, masks, final = record["columns"], stored(one, tmp_path, MASKS), stored(one, tmp_path, WEIGHTS)
    assert columns["status"] == "ok"
    for before, after in itertools.pairwise(steps):
        assert all((after[name] <= before[name]).all() for name in after)
    assert len(steps) == {"one_shot": 1, "iterative": 2, "gradual": 2}[one.schedule.name if one.schedule else ""]
    assert all(not final[name][~mask].any() for name, mask in masks.items())  # biases, gamma and beta too
    samples = load(one.dataset, CPU)
    model, sample = initial(one, samples, CPU), next(iter(batches(samples, samples.test, 1)))[0]
    model.load_state_dict(final)
    whole = Structure(one, model, prunable(model).keys(), sample)
    compact = whole.compacted(model, masks).model
    assert (columns["params"], columns["flops"]) == (size(compact, "params", sample), size(compact, "flops", sample))
    assert (columns["params_dense"], columns["flops_dense"]) == (
        size(model, "params", sample),
        size(model, "flops", sample),
    )
    assert columns["sparsity"] == pytest.approx(1 - size(compact, "weights", sample) / size(model, "weights", sample))
    assert sum(layer["kept"] for layer in record["layers"]) == size(compact, "weights", sample)
    kept = {units.name: kept_units(units, masks) for units in whole.groups}
    if one.target_kind == "filters":
        assert sum(gone(kept).values()) == round(0.5 * sum(map(len, kept.values())))
    elif one.target_kind == "flops":
        assert columns["flops"] / columns["flops_dense"] == pytest.approx(0.5, abs=0.05)
    else:
        assert gone(kept) == {"stage1.0": 1}
    if one.schedule == TWICE or one.granularity == Layer(name="layer"):  # each takes a second
        assert result(run_cell(one, workbench(tmp_path / "again"))) == result(record)


def test_shuffle_moves_units_and_keeps_their_numbers(tmp_path: Path, steps: list[Masks]) -> None:
    one = small(ablation="shuffle", **WHOLE)
    run_cell(one, workbench(tmp_path))
    samples = load(one.dataset, CPU)
    model = initial(one, samples, CPU)
    whole = Structure(one, model, prunable(model).keys(), next(iter(batches(samples, samples.test, 1)))[0])
    before, after = ([kept_units(u, m) for u in whole.groups] for m in (steps[-1], stored(one, tmp_path, MASKS)))
    assert [int(kept.sum()) for kept in before] == [int(kept.sum()) for kept in after]
    assert not all(torch.equal(one_mask, other) for one_mask, other in zip(before, after, strict=True))


@pytest.mark.parametrize("changes", [{"finetune_epochs": 4}, {"model": RESNET} | REWIND], ids=["trained", "rewind"])
def test_a_cell_that_was_killed_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(lineage_module, "SAVE_EVERY_S", -1.0)
    one = small(schedule=TWICE, criterion="snip", **changes)
    expected = result(run_cell(one, workbench(tmp_path / "whole")))
    record, kills = made_despite_kills(one, tmp_path / "killed")
    assert kills >= 3
    assert result(record) == expected
    for name in (MASKS, WEIGHTS):
        assert same(stored(one, tmp_path / "killed", name), stored(one, tmp_path / "whole", name))


@pytest.mark.parametrize(("criterion", "coupled", "other"), [("taylor", "sum", "mean"), ("magnitude", "mean", "sum")])
def test_a_cell_joins_coupled_filters_as_its_criterion_says(
    tmp_path: Path, criterion: str, coupled: str, other: str
) -> None:
    one = small(model=RESNET, criterion=criterion)
    samples = load(one.dataset, CPU)
    model = initial(one, samples, CPU)
    lineage = Lineage(model, structure_of(one, model, samples))
    assert lineage.structure is not None
    pruner = Pruner(one, samples, workbench(tmp_path))
    scores = pruner.scores(lineage)
    pruner.prune_(lineage, 0.5)
    expected, wrong = (
        select_units(group_scores(lineage.structure.groups, scores, FILTER, how), 0.5, "global", {}, 1, None)
        for how in (coupled, other)
    )
    assert same({u.name: kept_units(u, lineage.masks) for u in lineage.structure.groups}, expected)
    assert not same(expected, wrong)


def test_batch_norm_is_re_estimated_on_the_scoring_set(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def noting(model: nn.Module, given: Any) -> Any:
        seen.extend(given)
        return reestimated_batchnorm(model, seen)

    monkeypatch.setattr("bench.run.reestimated_batchnorm", noting)
    one = small()
    samples = load(one.dataset, CPU)
    read_pruned(initial(one, samples, CPU), one, samples)
    expected = scoring_set(one, samples)
    assert len(seen) == len(expected)
    assert all(torch.equal(got[0], wanted[0]) for got, wanted in zip(seen, expected, strict=True))
