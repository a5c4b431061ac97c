"""Every criterion x scope x granularity x time that is defined, on a tiny net: what must hold whatever the scores."""

import functools
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import criteria
from bench import data as datasets
from bench import run
from bench.artefacts import unpack
from bench.axes import NM, Filter, Gradual, Granularity, Iterative, Layer, OneShot, Regrow, Rewound, Schedule, Scope
from bench.cell import Cell
from bench.compact import kept_units
from bench.lineage import Lineage
from bench.masks import Masks, apply_masks_
from bench.matrix import GRANULARITIES, SCOPES, at, matrix
from bench.prune import Pruner, structure_of
from bench.refusals import refusal
from bench.run import initial, run_cell
from bench.schema import Model, Scoring
from bench.score import taking_part
from bench.store import MASKS, WEIGHTS
from bench.structured import Structure
from tests.helpers import cell, dataset, recipe, weights, workbench

CPU = torch.device("cpu")
NET = Model(name="tiny", factory=f"{Path(__file__).with_name('tiny.py')}:net")
DATA = dataset(reader="tests.tiny:read", validation=40)
FAST = recipe(epochs=3, batch_size=None, momentum=0.9, weight_decay=1e-3, lr_schedule="cosine")
SCHEDULES: tuple[Schedule, ...] = (
    OneShot(name="one_shot"),
    Iterative(name="iterative", steps=2),
    Gradual(name="gradual", every=1),
    Regrow(name="regrow", every=1),
)
OPTIONS: dict[str, dict[str, Any]] = {"obd": {"probes": 2}}
SPARSITY = 0.45


@pytest.fixture(scope="module", autouse=True)
def _criteria_are_read_and_the_network_is_traced_once() -> Iterator[None]:
    """Half of the time here, and tested elsewhere."""
    structures: dict[Any, Structure | None] = {}

    def known(one: Cell, model: torch.nn.Module, samples: datasets.Data) -> Structure | None:
        if type(one.granularity) not in structures:
            structures[type(one.granularity)] = structure_of(one, model, samples)
        return structures[type(one.granularity)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(criteria, "describe", functools.cache(criteria.describe))
        patch.setattr(run, "structure_of", known)
        yield


def base(name: str) -> Cell:
    return cell(
        dataset=DATA,
        model=NET,
        recipe=FAST,
        criterion=name,
        criterion_options=OPTIONS.get(name, {}),
        when="trained",
        finetune=Rewound(name="rewound"),
        finetune_epochs=3,
        sparsity=SPARSITY,
        scoring=Scoring(samples=64, batch=8),
    )


def defined(one: Cell) -> bool:
    return refusal(one, criteria.describe(one.criterion)) is None


def places(name: str) -> list[Cell]:
    """Return the cells of each granularity and scope that are defined."""
    pairs: list[tuple[Granularity, Scope | None]] = [
        (grain, scope) for grain in GRANULARITIES for scope in ((None,) if isinstance(grain, NM) else SCOPES)
    ]
    if criteria.describe(name).facts["SCALE"] == "layer":
        pairs.append((Filter(name="filter", normalise="layer_mean"), Scope(name="global")))
    return [one for grain, scope in pairs if defined(one := at(base(name), granularity=grain, scope=scope))]


def units_of(one: Cell, masks: Masks, model: torch.nn.Module) -> list[tuple[int, int]]:
    """Return (kept, all) units of each group that a scope counts by."""
    if one.structured:
        structure = structure_of(one, model, datasets.load(one.dataset, CPU))
        assert structure is not None
        return [(int(kept_units(u, masks).sum()), u.count) for u in structure.groups]
    names = taking_part(one, model)
    if one.granularity is not None and one.granularity.name == "block":
        return [
            (int(m.sum()) // 16, m.numel() // 16)
            for n, m in masks.items()
            if n in names and m.shape[1] % 4 == 0 and m.shape[0] % 4 == 0
        ]
    return [(int(masks[name].sum()), masks[name].numel()) for name in names]


def check_counts(one: Cell, masks: Masks, model: torch.nn.Module, left_dense: str | None) -> None:
    """The target is met exactly wherever a scope defines a count."""
    scope, grain = one.scope, one.granularity
    assert grain is not None
    if isinstance(grain, NM):
        for name in taking_part(one, model):
            groups = masks[name].movedim(1, -1).reshape(-1, 4).sum(1) if masks[name].shape[1] % 4 == 0 else None
            assert (groups is None and masks[name].all()) or (groups is not None and (groups == 2).all())
        return
    assert scope is not None
    counts = units_of(one, masks, model)
    kept, total = (sum(column) for column in zip(*counts, strict=True))
    if scope.name == "threshold" or isinstance(grain, Layer):
        return
    if scope.name in ("layer", "row"):
        dense = (left_dense or "").split(", ") if not one.structured else []
        assert all(
            n - k == round(SPARSITY * n) or (n == k and name in dense)
            for (k, n), name in zip(counts, taking_part(one, model), strict=False)
        )
    elif one.structured or grain.name == "weight":
        assert total - kept == round(SPARSITY * total)


@pytest.mark.parametrize("name", criteria.available())
def test_scopes_and_granularities(name: str, tmp_path: Path) -> None:
    """Two nested steps on an untrained net, weights moved in between as training does."""
    for one in places(name):
        samples = datasets.load(one.dataset, CPU)
        model = initial(one, samples, CPU)
        lineage = Lineage(model, structure_of(one, model, samples))
        pruner = Pruner(one, samples, workbench(tmp_path))
        state, before = torch.get_rng_state(), weights(model)
        where = f"{name} at {one.granularity} {one.scope}"
        targets = [0.25, SPARSITY] if one.scope and one.scope.name != "threshold" else [one.sparsity]
        former: Masks = {}
        for target in targets:
            buffers = {n: b.clone() for n, b in model.named_buffers()}
            pruner.prune_(lineage, target)
            assert all(torch.equal(b, buffers[n]) for n, b in model.named_buffers()), where
            assert all((lineage.masks[n] <= m).all() for n, m in former.items()), where
            assert all(not model.get_parameter(n)[~m].any() for n, m in lineage.masks.items()), where
            former = {n: m.clone() for n, m in lineage.masks.items()}
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(1.25)
        assert torch.equal(torch.get_rng_state(), state), where
        assert set(taking_part(one, model)) <= set(lineage.masks), where
        check_counts(one, lineage.masks, model, lineage.columns["left_dense"])
        if lineage.structure is not None:
            model.load_state_dict(before)
            apply_masks_(model, lineage.masks)
            images = next(iter(datasets.batches(samples, samples.test, 16)))[0]
            small = lineage.structure.compacted(model, lineage.masks).model.eval()
            outputs = model.eval()(images)
            assert torch.allclose(small(images), outputs, atol=1e-5 * float(outputs.detach().abs().max())), where


def times(name: str) -> list[Cell]:
    """Return the cells of each granularity, time and schedule that are defined, each at one scope."""
    own = [
        next((p for p in places(name) if p.granularity == grain and (p.scope is None or p.scope.value is None)), None)
        for grain in GRANULARITIES
    ]
    cells = [
        at(place, when=when, schedule=schedule)
        for place, when, schedule in itertools.product(own, ("trained", "init", "rewind"), SCHEDULES)
        if place is not None
    ]
    return [one for one in cells if defined(one)]


@pytest.mark.parametrize("name", criteria.available())
def test_times_and_granularities(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole cells: what is removed stays removed to the end, and the record says what the files hold."""
    real, steps = Pruner._mask_, list[Masks]()

    def noting(self: Pruner, lineage: Lineage, masks: Masks) -> None:
        real(self, lineage, masks)
        steps.append({name: mask.clone() for name, mask in masks.items()})

    monkeypatch.setattr(Pruner, "_mask_", noting)
    for one in times(name):
        steps.clear()
        where = f"{name} {one.granularity} when={one.when} {one.schedule}"
        state = torch.get_rng_state()
        with warnings.catch_warnings(action="error"):
            record = run_cell(one, workbench(tmp_path))
        assert torch.equal(torch.get_rng_state(), state), where
        columns = record["columns"]
        assert columns["status"] == "ok", where
        masks, final = stored(one, tmp_path, MASKS), stored(one, tmp_path, WEIGHTS)
        assert all(not final[n][~m].any() for n, m in masks.items()), where
        if not isinstance(one.schedule, Regrow):
            assert all((later[n] <= earlier[n]).all() for earlier, later in itertools.pairwise(steps) for n in later)
        assert all(torch.equal(masks[n], m) for n, m in steps[-1].items()), where
        layers = {layer["name"]: (layer["kept"], layer["total"]) for layer in record["layers"]}
        assert layers == {n: (int(masks[n].sum()), masks[n].numel()) for n in layers}, where
        kept, total = (sum(column) for column in zip(*layers.values(), strict=True))
        assert columns["sparsity"] == pytest.approx(1 - kept / total), where
        assert columns["params"] == columns["params_dense"] - sum(int((~m).sum()) for m in masks.values()), where


def stored(one: Cell, root: Path, name: str) -> dict[str, Tensor]:
    return unpack((root / "cells" / one.id / name).read_bytes(), CPU)


def test_the_matrix_says_what_the_rules_say() -> None:
    grids, reasons = matrix()
    places_grid, times_grid = grids
    assert set(places_grid.rows) == set(times_grid.rows) == set(criteria.available())
    assert dict(zip(places_grid.columns, places_grid.rows["taylor"], strict=True))["filter:global"] == "+"
    mark = dict(zip(places_grid.columns, places_grid.rows["hrank"], strict=True))["weight:global"]
    assert "scores filters" in reasons[int(mark) - 1]
    mark = dict(zip(times_grid.columns, times_grid.rows["movement"], strict=True))["init:one_shot"]
    assert "gathers during training" in reasons[int(mark) - 1]
