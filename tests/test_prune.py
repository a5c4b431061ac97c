"""Pruning steps: exact counts over all weights, nesting whatever the scores say, scores shared between cells."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import prune
from bench.axes import Filter, Iterative, Scope
from bench.cell import Cell
from bench.errors import UserError
from bench.lineage import Lineage, copied
from bench.masks import Masks
from bench.measure.histogram import histogram
from bench.prune import Pruner, all_kept
from bench.run import run_cell
from bench.schedule import sparsities
from bench.schema import Prunable, Scoring
from bench.scopes import removed_per_layer
from bench.store import TENSORS
from tests.helpers import cell, data, net, plugin, recipe, same, weights, workbench

LAYER = Scope(name="layer")
SIZES = {"0.weight": 36, "4.weight": 192}
"""Of the prunable weights of `net()`."""
TOTAL = sum(SIZES.values())

REVIVING = "return {k: torch.where(p == 0, 1e9, -p.abs()).detach() for k, p in prunable(model).items()}"
"""Scores that are highest where a weight has been removed, as a signed score may be."""
FIRST_ALONE = "return {k: p.detach().abs() for k, p in list(prunable(model).items())[:1]}"
EVER_FEWER = (
    "every = {k: p.detach().abs() for k, p in prunable(model).items()}\n"
    "return every if all(p.all() for p in every.values()) else {'0.weight': every['0.weight']}"
)
"""Scores all layers at first, then only one: a contract that nobody wrote down, so masks must hold without it."""


def pruner(one: Cell, root: Path, tell: Callable[[str, dict[str, Any]], None] = lambda kind, facts: None) -> Pruner:
    return Pruner(one, data(train=80), workbench(root, tell))


def pruned(one: Cell, root: Path, *targets: float) -> Lineage:
    lineage, step = Lineage(net()), pruner(one, root)
    for target in targets or (one.sparsity,):
        assert target is not None
        step.prune_(lineage, target)
    return lineage


def removed(lineage: Lineage) -> dict[str, int]:
    return {name: int((~mask).sum()) for name, mask in lineage.masks.items()}


# One step


@pytest.mark.parametrize("criterion", ["random", "magnitude", "gradient", "taylor", "snip", "grasp"])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.777, 0.99])
def test_a_step_removes_exactly_the_target(tmp_path: Path, criterion: str, sparsity: float) -> None:
    lineage = pruned(cell(criterion=criterion, sparsity=sparsity), tmp_path)
    assert sum(removed(lineage).values()) == round(sparsity * TOTAL)
    layered = pruned(cell(criterion=criterion, sparsity=sparsity, scope=LAYER), tmp_path)
    assert removed(layered) == {name: round(sparsity * size) for name, size in SIZES.items()}


def test_magnitude_by_a_sort_over_all_layers(tmp_path: Path) -> None:
    lineage, fresh = pruned(cell(sparsity=0.6), tmp_path), net()
    magnitudes = torch.cat([fresh.get_parameter(name).detach().abs().flatten() for name in SIZES])
    cut = magnitudes.sort().values[round(0.6 * TOTAL)]
    for name in SIZES:
        assert torch.equal(lineage.masks[name], fresh.get_parameter(name).abs() >= cut)


def test_the_histogram_is_that_of_the_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of millions of scores it takes longer than selecting from them, and only the last is recorded."""
    made: list[float] = []

    def counted(scores: dict[str, Tensor], masks: Masks, before: Masks) -> Any:
        made.append(1 - float(torch.cat([mask.flatten() for mask in masks.values()]).float().mean()))
        return histogram(scores, masks, before)

    monkeypatch.setattr(prune, "histogram", counted)
    path = {"schedule": Iterative(name="iterative", steps=4), "sparsity": 0.8, "recipe": recipe(epochs=1)}
    for when in ({"when": "init"}, {"when": "rewind", "rewind_to": 0.5}):
        record = run_cell(cell(**path, **when), workbench(tmp_path))
        assert made == [pytest.approx(0.8, abs=1e-4)]
        assert record["histogram"]
        made.clear()


def test_the_network_is_masked_and_its_weights_are_noted(tmp_path: Path) -> None:
    lineage, before = pruned(cell(), tmp_path), net()
    for name, value in lineage.model.state_dict().items():
        mask = lineage.masks.get(name, torch.tensor(True))
        assert torch.equal(value, before.state_dict()[name] * mask)
    assert same(lineage.pruned, weights(lineage.model))
    with torch.no_grad():
        lineage.model[4].weight.add_(1)
    assert not same(lineage.pruned, weights(lineage.model))  # a copy


def test_columns_say_what_the_scores_were_computed_on(tmp_path: Path) -> None:
    lineage = pruned(cell(), tmp_path)
    assert (lineage.columns["score_samples"], lineage.columns["score_batch"]) == (64, 8)
    once = lineage.columns["score_s"]
    assert once > 0
    pruner(cell(), tmp_path).prune_(lineage, 0.8)
    assert lineage.columns["score_s"] > once
    whole = pruned(cell(score_mode="train", criterion="snip"), tmp_path)
    assert (whole.columns["score_samples"], whole.columns["score_batch"]) == (64, 64)


def test_nothing_is_removed_from_an_unpruned_network() -> None:
    masks = all_kept(cell(), net())
    assert {name: int(mask.sum()) for name, mask in masks.items()} == SIZES
    assert all(mask.dtype == torch.bool for mask in masks.values())
    assert list(all_kept(cell(prunable=Prunable(exclude=("0*",))), net())) == ["4.weight"]


# Layers that stay dense


def test_unscored_layers_stay_dense_and_count(tmp_path: Path) -> None:
    one = cell(**plugin(tmp_path, FIRST_ALONE))
    lineage = pruned(one, tmp_path, 0.1)
    assert removed(lineage) == {"0.weight": round(0.1 * TOTAL), "4.weight": 0}
    assert list(lineage.masks) == list(SIZES)
    layered = pruned(one.model_copy(update={"scope": LAYER}), tmp_path, 0.1)
    assert removed(layered) == {"0.weight": round(0.1 * 36), "4.weight": 0}


def test_a_target_beyond_the_scored_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    one = cell(**plugin(tmp_path, FIRST_ALONE))
    with pytest.raises(UserError) as caught:
        pruned(one, tmp_path, 0.5)
    assert str(caught.value) == (
        "mine: sparsity 0.5 removes 114 of 228 prunable weights, but the criterion scores only 36"
    )


def test_excluded_layers_stay_dense_and_do_not_count(tmp_path: Path) -> None:
    lineage = pruned(cell(prunable=Prunable(exclude=("4.weight",))), tmp_path, 0.5)
    assert removed(lineage) == {"0.weight": 18}


# Many steps


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("curve", ["exponential", "linear", "cosine"])
def test_masks_nest_even_where_later_scores_would_revive_weights(tmp_path: Path, scope: str, curve: str) -> None:
    schedule = Iterative.model_validate({"name": "iterative", "steps": 7, "curve": curve})
    one = cell(schedule=schedule, scope=Scope(name=scope), sparsity=0.93, **plugin(tmp_path, REVIVING))  # type: ignore[arg-type]
    lineage, step = Lineage(net()), pruner(one, tmp_path)
    before = all_kept(one, lineage.model)
    for target in sparsities(schedule, one.sparsity):
        step.prune_(lineage, target)
        assert all((lineage.masks[name] <= before[name]).all() for name in before)
        assert all(not lineage.model.get_parameter(name)[~mask].any() for name, mask in lineage.masks.items())
        if scope == "global":
            assert sum(removed(lineage).values()) == round(target * TOTAL)
        else:
            assert removed(lineage) == {name: round(target * size) for name, size in SIZES.items()}
        before = dict(lineage.masks)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_layer_that_a_later_step_does_not_score_keeps_its_mask(tmp_path: Path, scope: str) -> None:
    one = cell(scope=Scope(name=scope), **plugin(tmp_path, EVER_FEWER))  # type: ignore[arg-type]
    lineage, step = Lineage(net()), pruner(one, tmp_path)
    step.prune_(lineage, 0.5)
    first = dict(lineage.masks)
    step.prune_(lineage, 0.55)
    assert torch.equal(lineage.masks["4.weight"], first["4.weight"])
    assert (lineage.masks["0.weight"] <= first["0.weight"]).all()
    if scope == "global":
        assert sum(removed(lineage).values()) == round(0.55 * TOTAL)
    else:
        assert removed(lineage)["0.weight"] == round(0.55 * 36)


def test_later_steps_score_the_network_as_it_is_then(tmp_path: Path) -> None:
    one = cell(criterion="snip")
    lineage, step = pruned(one, tmp_path, 0.3), pruner(one, tmp_path)
    with torch.no_grad():
        lineage.model[4].weight.mul_(torch.linspace(1, 50, 64))
    from_here = Lineage(net(), masks=dict(lineage.masks))
    from_here.model.load_state_dict(lineage.model.state_dict())
    untrained = Lineage(net(), masks=dict(lineage.masks))
    for other in (lineage, from_here, untrained):
        step.prune_(other, 0.6)
    assert same(lineage.masks, from_here.masks)
    assert not same(lineage.masks, untrained.masks)


def test_random_keeps_one_draw_for_all_steps(tmp_path: Path) -> None:
    """So the path does not matter: five steps remove what one removes."""
    one = cell(criterion="random")
    path = pruned(one, tmp_path, 0.2, 0.4, 0.6, 0.8, 0.9)
    assert same(path.masks, pruned(one, tmp_path / "other", 0.9).masks)


def test_whatever_ran_before_masks_are_the_same(tmp_path: Path) -> None:
    for criterion in ("gradient", "taylor", "snip", "grasp"):
        one = cell(criterion=criterion)
        clean = pruned(one, tmp_path / f"{criterion} clean", 0.5, 0.9)
        torch.randn(3)
        stale = Lineage(net())
        for p in stale.model.parameters():
            p.grad = torch.full_like(p, 100.0)
        step = pruner(one, tmp_path / f"{criterion} stale")
        step.prune_(stale, 0.5)
        step.prune_(stale, 0.9)
        assert same(stale.masks, clean.masks)


# Scores shared between cells


def test_scores_of_the_checkpoint_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = prune.score
    monkeypatch.setattr(prune, "score", lambda one, *rest: (calls.append(one.criterion), real(one, *rest))[1])
    first = pruned(cell(criterion="snip", sparsity=0.5), tmp_path)
    for changes in ({"sparsity": 0.9}, {"scope": LAYER}, {"prunable": Prunable(exclude=("0*",))}):
        pruned(cell(criterion="snip", **changes), tmp_path)
    assert calls == ["snip"]
    again = pruned(cell(criterion="snip", sparsity=0.5), tmp_path)
    assert same(first.masks, again.masks)
    assert first.columns == again.columns  # also the seconds: they are the one computation's
    for changes in (
        {"seed": 1},
        {"criterion": "gradient"},
        {"score_mode": "train"},
        {"scoring": Scoring(samples=32, batch=8)},
    ):
        pruned(cell(**{"criterion": "snip"} | changes), tmp_path)
    assert len(calls) == 5
    pruned(cell(criterion="snip"), tmp_path, 0.2, 0.4, 0.6)
    assert len(calls) == 7  # the first step shares, the later ones depend on their path


def test_an_edited_formula_is_scored_anew(tmp_path: Path) -> None:
    masks = []
    for sign in ("", "-"):
        named = plugin(tmp_path, f"return {{k: {sign}p.detach().abs() for k, p in prunable(model).items()}}")
        masks.append(pruned(cell(**named), tmp_path).masks)
    assert all(torch.equal(masks[0][name], ~masks[1][name]) for name in SIZES)


def test_scores_that_went_bad_are_made_again_with_a_note(tmp_path: Path) -> None:
    one, told = cell(criterion="snip"), []
    first = pruned(one, tmp_path)
    (file,) = tmp_path.glob(f"stages/scores-*/{TENSORS}")
    good = file.read_bytes()
    for bad in (good[:-4] + b"\0\0\0\1", good[:10], b""):
        file.write_bytes(bad)
        lineage = Lineage(net())
        pruner(one, tmp_path, lambda kind, facts: told.append((kind, facts))).prune_(lineage, 0.5)
        assert same(lineage.masks, first.masks)
        assert file.read_bytes() == good
    notes = [facts["text"] for kind, facts in told if kind == "note"]
    assert len(notes) == 3
    assert all(str(file) in note and note.endswith("it is made again") for note in notes)
    file.with_name("record.json").write_text("{")
    assert same(pruned(one, tmp_path).masks, first.masks)


def test_a_step_tells_of_its_stage(tmp_path: Path) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    pruner(cell(), tmp_path, lambda kind, facts: told.append((kind, facts))).prune_(Lineage(net()), 0.5)
    assert told == [("stage", {"stage": "score"})]


def test_stored_scores_are_the_scores_bit_for_bit(tmp_path: Path) -> None:
    """Masks from the file equal masks from memory, also where scores tie and lie in memory as channels_last."""
    body = "return {k: (p.detach().abs() * 20).round() for k, p in prunable(model).items()}"
    one = cell(**plugin(tmp_path, body))
    from_memory, from_file = pruned(one, tmp_path), pruned(one, tmp_path)
    assert same(from_memory.masks, from_file.masks)
    assert all(isinstance(value, Tensor) for value in copied(from_file.model).values())


def test_a_criterion_file_that_was_edited_since_the_plan_is_refused(tmp_path: Path) -> None:
    """Its scores would be stored under the identity of the file as it was."""
    with pytest.raises(UserError, match="has changed since the run began"):
        pruned(cell(criterion="snip", fingerprint="as it was"), tmp_path)


def test_scope_lamp_takes_its_densities_from_the_weights(tmp_path: Path) -> None:
    lineage, fresh = pruned(cell(criterion="snip", scope=Scope(name="lamp")), tmp_path), net()
    own = {name: fresh.get_parameter(name).detach() for name in SIZES}
    assert [*removed(lineage).values()] == removed_per_layer("lamp", own, 0.5, [0, 0], [*SIZES.values()])


def test_the_key_of_scores_holds_their_form_and_the_loss() -> None:
    one = cell(criterion="taylor")
    filters = cell(criterion="taylor", granularity=Filter(name="filter"), target_kind="filters")
    squared = cell(criterion="taylor", recipe=recipe(loss="mse"))  # at initialisation no checkpoint tells them apart
    assert len({c.scores_key for c in (one, filters, squared)}) == 3
