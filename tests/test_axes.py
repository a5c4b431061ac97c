"""Schedules, times and ablations through whole cells: what each does to masks and weights, against replays."""

import copy
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from bench import data as datasets
from bench import lineage as lineage_module
from bench.artefacts import unpack
from bench.axes import Gradual, Iterative, Regrow, Rewound, Scope
from bench.cell import Cell
from bench.lineage import Lineage, copied
from bench.masks import Masks, select
from bench.prune import Pruner
from bench.regrow import traded
from bench.run import early_state, initial, recipe_trainer, run_cell
from bench.schema import Model, Recipe
from bench.store import MASKS, PRUNED, WEIGHTS
from bench.train import Trainer
from criteria.movement import Movement
from criteria.tools.gradients import mean_gradients
from criteria.tools.parameters import prunable
from tests.helpers import cell, dataset, plugin, recipe, same, weights, workbench
from tests.killed import Killed, made_despite_kills

CPU = torch.device("cpu")
DATA = dataset(reader="tests.tiny:read", validation=40)
SHORT = recipe(epochs=2, batch_size=23, momentum=0.9, nesterov=True, weight_decay=1e-3)
STEPS = 12  # 120 images take 6 steps an epoch, the last a short one
GRADUAL = Gradual(name="gradual", every=2)
REGROW = Regrow(name="regrow", every=2)
FINETUNED = {"when": "trained", "finetune": Rewound(name="rewound"), "finetune_epochs": 2}
TWICE = Iterative(name="iterative", steps=2)
REWIND = {"when": "rewind", "rewind_to": 0.25}  # step 3, within the first epoch


def small(**changes: Any) -> Cell:
    return cell(**{"dataset": DATA, "recipe": SHORT, "sparsity": 0.9} | changes)


def ran(one: Cell, root: Path) -> tuple[dict[str, Any], Masks, dict[str, Tensor]]:
    """Return a cell's record, final masks and final weights."""
    record = run_cell(one, workbench(root))
    assert record["columns"]["status"] == "ok"
    return record, stored(one, root, MASKS), stored(one, root, WEIGHTS)


def stored(one: Cell, root: Path, name: str) -> dict[str, Tensor]:
    return dict(sorted(unpack((root / "cells" / one.id / name).read_bytes(), CPU).items()))


def counts(masks: Masks) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def removed(masks: Masks) -> int:
    return sum(int((~mask).sum()) for mask in masks.values())


def total(masks: Masks) -> int:
    return sum(mask.numel() for mask in masks.values())


def masked_are_zero(tensors: dict[str, Tensor], masks: Masks) -> bool:
    return all(not tensors[name][~mask].any() for name, mask in masks.items())


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Masks]:
    """Return the masks of every pruning step, filled as cells run."""
    seen: list[Masks] = []
    real = Pruner._mask_

    def noting(self: Pruner, lineage: Lineage, masks: Masks) -> None:
        real(self, lineage, masks)
        seen.append({name: masks[name].clone() for name in sorted(masks)})

    monkeypatch.setattr(Pruner, "_mask_", noting)
    return seen


# gradual


@pytest.mark.parametrize("changes", [{}, FINETUNED, {"scope": Scope(name="row")}, {"scope": Scope(name="erk")}])
def test_gradual_reaches_its_target_by_nested_masks(
    tmp_path: Path, steps: list[Masks], changes: dict[str, Any]
) -> None:
    _, masks, final = ran(small(schedule=GRADUAL, **changes), tmp_path)
    assert len(steps) == 4  # at 2, 4, 6, 8 of 12; three quarters are 9
    for before, after in itertools.pairwise(steps):
        assert all((after[name] <= before[name]).all() for name in after)
        assert removed(after) > removed(before)
    if changes.get("scope") != Scope(name="row"):
        shares = [0.9 * (1 - (1 - t / 8) ** 3) for t in (2, 4, 6, 8)]
        assert [removed(m) for m in steps] == [round(s * total(masks)) for s in shares]
    assert same(masks, steps[-1])
    assert masked_are_zero(final, masks)


@pytest.mark.parametrize("changes", [{}, FINETUNED])
def test_gradual_and_one_shot_in_one_folder_leave_each_other_alone(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Gradual trains before its first step, whose scores are not those of the checkpoint."""
    cells = [
        small(**changes),
        small(schedule=GRADUAL, **changes),
        small(schedule=Gradual(name="gradual", every=3), **changes),
    ]
    alone = [ran(one, tmp_path / one.id)[1:] for one in cells]
    for order in (cells, cells[::-1]):
        root = tmp_path / f"first {order[0].id}"
        together = {one.id: ran(one, root)[1:] for one in order}
        for one, (masks, final) in zip(cells, alone, strict=True):
            assert same(together[one.id][0], masks)
            assert same(together[one.id][1], final)


def test_movement_observes_every_step_and_weighs_them_all(
    tmp_path: Path, steps: list[Masks], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = Movement.observe
    monkeypatch.setattr(Movement, "observe", lambda self, model: (seen.append(len(steps)), real(self, model))[1])
    ran(small(criterion="movement", schedule=GRADUAL, **FINETUNED), tmp_path)
    assert seen == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4]  # none in the dense training, all of the fine-tuning


# regrow


@pytest.mark.parametrize("grow", ["gradient", "random"])
@pytest.mark.parametrize("changes", [{}, FINETUNED, {"scope": Scope(name="erk")}])
def test_regrow_moves_weights_within_each_layer(
    tmp_path: Path, steps: list[Masks], grow: str, changes: dict[str, Any]
) -> None:
    schedule = Regrow.model_validate({"name": "regrow", "every": 2, "grow": grow})
    _, masks, final = ran(small(schedule=schedule, **changes), tmp_path)
    assert len(steps) == 5  # before the first step, then at 2, 4, 6, 8
    assert all(counts(step) == counts(steps[0]) for step in steps)
    assert all(not same(one, next_one) for one, next_one in itertools.pairwise(steps[:4]))
    assert same(masks, steps[-1])
    assert masked_are_zero(final, masks)
    if "scope" not in changes:
        assert counts(masks) == {name: mask.numel() - round(0.9 * mask.numel()) for name, mask in masks.items()}


def test_regrow_starts_grown_weights_at_zero_and_without_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown = []
    real = Trainer.forget

    def noting(self: Trainer, where: Masks) -> None:
        real(self, where)
        for name, mask in where.items():
            weight = self.model.get_parameter(name)
            memory = self.optimizer.state[weight]["momentum_buffer"]
            assert not weight[mask].any()
            assert not memory[mask].any()
            assert memory[~mask].any()
            grown.append(int(mask.sum()))

    monkeypatch.setattr(Trainer, "forget", noting)
    ran(small(schedule=REGROW), tmp_path)
    assert sum(grown) > 0


def test_regrow_without_steps_keeps_its_first_mask(tmp_path: Path, steps: list[Masks]) -> None:
    """A fine-tuning of no epochs, and one too short for an update."""
    ran(small(schedule=REGROW, **FINETUNED | {"finetune_epochs": 0}), tmp_path)
    assert len(steps) == 1


@pytest.mark.parametrize("when", [{}, FINETUNED])
def test_an_emptied_layer_is_left_alone_by_regrow(tmp_path: Path, steps: list[Masks], when: dict[str, Any]) -> None:
    ran(small(schedule=REGROW, sparsity=0.9996, **when), tmp_path)
    assert 0 in counts(steps[0]).values()
    assert counts(steps[-1]) == counts(steps[0])


# rewind


def replayed(one: Cell, *targets: float) -> tuple[dict[str, Tensor], Masks, dict[str, Tensor]]:
    """Train, prune by magnitude, train anew from the start with the dense net up to the early step; with no stage.

    Return the final weights, the masks and the weights right after the last rewinding.
    """
    samples = datasets.load(one.dataset, CPU)

    def trained(until: int) -> Trainer:
        trainer = recipe_trainer(one, initial(one, samples, CPU), samples)
        trainer.run(until, lambda row: None)
        return trainer

    trainer, masks, rewound = trained(STEPS), None, {}
    for target in targets:
        scores = {name: w.detach().abs() for name, w in trainer.model.named_parameters() if w.dim() > 1}
        masks = select(scores, target, within=masks)
        trainer = trained(3)
        trainer.mask(masks)
        rewound = copied(trainer.model)
        trainer.run(STEPS, lambda row: None)
    assert masks is not None
    return weights(trainer.model), masks, rewound


OPTIMIZERS = [SHORT, recipe(epochs=2, batch_size=23, lr=0.01, optimizer="adam"), recipe(epochs=2, batch_size=23)]


@pytest.mark.parametrize("short", OPTIMIZERS, ids=["momentum", "adam", "plain"])
def test_rewinding_equals_training_anew_to_the_early_step_bit_for_bit(tmp_path: Path, short: Recipe) -> None:
    """Each round starts from the early state untouched: a torch optimiser goes on in the tensors it is given."""
    one = small(schedule=TWICE, recipe=short, **REWIND)
    record, masks, final = ran(one, tmp_path)
    expected, expected_masks, rewound = replayed(one, 1 - 0.1**0.5, 0.9)
    assert all(torch.equal(masks[name], expected_masks[name]) for name in expected_masks)
    early = stored(one, tmp_path, PRUNED)
    assert all(torch.equal(early[name], rewound[name]) for name in rewound)
    assert all(torch.equal(final[name], expected[name]) for name in expected)
    assert record["columns"]["epochs_total"] == 2 + 2 * 1.5


def test_one_shot_rewinds_too(tmp_path: Path) -> None:
    one = small(**REWIND)
    _, masks, final = ran(one, tmp_path)
    expected, expected_masks, _ = replayed(one, 0.9)
    assert all(torch.equal(masks[name], expected_masks[name]) for name in expected_masks)
    assert all(torch.equal(final[name], expected[name]) for name in expected)
    assert masked_are_zero(final, masks)


def test_the_early_state_is_the_dense_trajectory_and_shared(tmp_path: Path) -> None:
    one = small(**REWIND)
    ran(one, tmp_path)
    ran(small(criterion="snip", sparsity=0.5, **REWIND), tmp_path)
    (folder,) = (tmp_path / "stages").glob("early-*")
    assert folder.name == f"early-{one.dense_key}-3"
    samples = datasets.load(one.dataset, CPU)
    dense = recipe_trainer(one, initial(one, samples, CPU), samples)
    dense.run(3, lambda row: None)
    state = early_state(one, samples, workbench(tmp_path), 3)
    assert state["step"] == 3
    assert all(torch.equal(state["model"][name], tensor) for name, tensor in dense.model.state_dict().items())
    assert state["memory"].keys() == dict(dense.model.named_parameters()).keys()
    for name, weight in dense.model.named_parameters():
        kept = dense.optimizer.state[weight]["momentum_buffer"]
        assert torch.equal(state["memory"][name]["momentum_buffer"], kept)
    ran(small(**REWIND | {"rewind_to": 0.0}), tmp_path)
    assert len(list((tmp_path / "stages").glob("early-*"))) == 2


@pytest.mark.parametrize("changes", [{}, {"ablation": "shuffle"}])
def test_rewound_rounds_that_were_killed_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Each process dies in the second epoch that it trains; stages and saved states make up for it bit for bit."""
    monkeypatch.setattr(lineage_module, "SAVE_EVERY_S", -1.0)
    one = small(schedule=TWICE, criterion="snip", **REWIND | changes)
    whole, masks, final = ran(one, tmp_path / "whole")
    record, kills = made_despite_kills(one, tmp_path / "killed")
    assert kills >= 3
    assert same(stored(one, tmp_path / "killed", MASKS), masks)
    assert same(stored(one, tmp_path / "killed", WEIGHTS), final)
    assert record["layers"] == whole["layers"]
    assert record["curves"] == whole["curves"]
    same_columns = ("top1", "top1_pruned", "top1_dense", "loss", "sparsity", "epochs_total")
    assert all(record["columns"][name] == whole["columns"][name] for name in same_columns)


def test_a_process_killed_after_the_last_round_leaves_the_order_of_layers(tmp_path: Path) -> None:
    """Files of tensors hold no order."""
    one = small(schedule=TWICE, **REWIND)

    def tell(kind: str, facts: dict[str, Any]) -> None:
        if facts == {"stage": "measure"}:
            raise Killed

    with pytest.raises(Killed):
        run_cell(one, workbench(tmp_path, tell))
    record, _, _ = ran(one, tmp_path)
    assert [layer["name"] for layer in record["layers"]] == ["1.weight", "3.weight", "5.weight"]


# ablations


def right_after(one: Cell, root: Path) -> tuple[Masks, dict[str, Tensor]]:
    """Return the final masks and the weights right after pruning."""
    _, masks, final = ran(one, root)
    assert masked_are_zero(final, masks)
    return masks, stored(one, root, PRUNED) if one.ablation != "none" else {}


TIMES = pytest.mark.parametrize("time", [{}, FINETUNED, REWIND], ids=["init", "trained", "rewind"])


def unmasked(one: Cell, root: Path) -> dict[str, Tensor]:
    """Return the weights that the final mask is laid on: the initial, the dense, or the early ones."""
    samples = datasets.load(one.dataset, CPU)
    trainer = recipe_trainer(one, initial(one, samples, CPU), samples)
    trainer.run({"init": 0, "trained": STEPS, "rewind": 3}[one.when], lambda row: None)
    return weights(trainer.model)


@TIMES
def test_shuffle_permutes_within_layers_and_masks_the_untouched_weights(tmp_path: Path, time: dict[str, Any]) -> None:
    plain, _ = right_after(small(**time), tmp_path)
    one = small(ablation="shuffle", **time)
    masks, pruned = right_after(one, tmp_path)
    assert counts(masks) == counts(plain)
    assert all(not torch.equal(masks[name], plain[name]) for name in plain)  # shuffle() once rebound a local name
    for name, value in unmasked(one, tmp_path).items():
        assert torch.equal(pruned[name], value * masks[name] if name in masks else value)


def test_shuffle_after_many_steps_masks_the_initial_weights(tmp_path: Path) -> None:
    """Else what an earlier step zeroed would be kept, as zero."""
    one = small(ablation="shuffle", schedule=TWICE)
    masks, pruned = right_after(one, tmp_path)
    initial_weights = unmasked(one, tmp_path)
    assert all(torch.equal(pruned[name], initial_weights[name] * mask) for name, mask in masks.items())


def test_shuffle_is_drawn_from_the_seed(tmp_path: Path) -> None:
    one, other = small(ablation="shuffle", criterion="snip"), small(ablation="shuffle", criterion="snip", seed=1)
    first, again = right_after(one, tmp_path / "a")[0], right_after(one, tmp_path / "b")[0]
    assert same(first, again)
    assert not same(first, right_after(other, tmp_path / "a")[0])


@pytest.mark.parametrize("time", [{}, FINETUNED], ids=["init", "trained"])
def test_reinit_keeps_the_mask_and_draws_other_weights(tmp_path: Path, time: dict[str, Any]) -> None:
    plain, _ = right_after(small(**time), tmp_path)
    one = small(ablation="reinit", **time)
    masks, pruned = right_after(one, tmp_path)
    assert same(masks, plain)
    before = unmasked(one, tmp_path)
    assert masked_are_zero(pruned, masks)
    for name, mask in masks.items():
        assert not (pruned[name] == before[name])[mask].any()
        assert pruned[name][mask].all()
    fresh = unmasked(small(), tmp_path)
    assert all(torch.equal(pruned[name], fresh[name]) for name in fresh if name not in masks)  # biases begin at 0 again


@TIMES
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_invert_keeps_what_none_removes_at_one_half(tmp_path: Path, time: dict[str, Any], scope: str) -> None:
    half = {"sparsity": 0.5, "scope": Scope.model_validate({"name": scope})} | time
    plain, _ = right_after(small(**half), tmp_path)
    inverted, _ = right_after(small(ablation="invert", **half), tmp_path)
    assert removed(inverted) == removed(plain) == total(plain) // 2
    assert all(torch.equal(inverted[name], ~plain[name]) for name in plain)


SIGNED = "return {k: p.detach() - 10.0 * (p == 0) for k, p in prunable(model).items()}"
"""Negated, these scores are highest where a weight is gone."""


@pytest.mark.parametrize("ablation", ["none", "invert"])
@pytest.mark.parametrize("scope", ["global", "layer", "erk", "row"])
def test_signed_scores_revive_nothing(tmp_path: Path, steps: list[Masks], ablation: str, scope: str) -> None:
    body = SIGNED if ablation == "invert" else SIGNED.replace("- 10", "+ 10")
    region = Scope.model_validate({"name": scope})
    one = small(
        schedule=Iterative(name="iterative", steps=4), ablation=ablation, scope=region, **plugin(tmp_path, body)
    )
    _, masks, final = ran(one, tmp_path)
    assert len(steps) == 4
    for before, after in itertools.pairwise(steps):
        assert all((after[name] <= before[name]).all() for name in after)
        assert removed(after) > removed(before)
    assert same(masks, steps[-1])
    assert masked_are_zero(final, masks)


def test_a_resumed_regrow_goes_on_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage_module, "SAVE_EVERY_S", -1.0)
    one = small(schedule=Regrow(name="regrow", every=3), recipe=SHORT.model_copy(update={"epochs": 3}))
    _, masks, final = ran(one, tmp_path / "whole")
    root = tmp_path / "killed"
    _, kills = made_despite_kills(one, root, most=9)
    assert 1 <= kills < 9
    assert same(stored(one, root, MASKS), masks)
    assert same(stored(one, root, WEIGHTS), final)


def test_until_converged_goes_back_to_what_validation_saw_last(
    tmp_path: Path, steps: list[Masks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation alone decides, and weights, masks, curves and epochs are those before the step that fell too far."""
    told, seen = iter([90.0, 89.0, 88.5, 88.2, 87.0]), []

    def validated(model: nn.Module, *_: Any) -> dict[str, float]:
        seen.append(weights(model))
        return {"top1": next(told)}

    monkeypatch.setattr("bench.run.validate", validated)
    path = Iterative(name="iterative", steps=4, stop=2.0, end=0.9)  # at 0, 3, 6, 9 of 12
    record, masks, final = ran(small(schedule=path, sparsity=None, **FINETUNED), tmp_path)
    assert len(seen) == 5  # dense, and after each step until the one below 88
    assert same(masks, steps[2])
    assert all(torch.equal(final[name], seen[3][name]) for name in final)
    assert record["columns"]["epochs_total"] == 2 + 9 / 6
    assert [(row["stage"], row["epoch"]) for row in record["curves"]] == [("train", 1), ("train", 2), ("finetune", 1)]


@pytest.mark.parametrize("grow", ["gradient", "random"])
def test_regrow_drops_by_the_criterion_and_grows_as_told(tmp_path: Path, grow: str) -> None:
    digits = Model(name="digits_net", factory="bench.models.digits_net:digits_net")  # it has batch norms
    one = small(model=digits, schedule=Regrow.model_validate({"name": "regrow", "grow": grow}))
    samples = datasets.load(one.dataset, CPU)
    pruner, lineage = Pruner(one, samples, workbench(tmp_path)), Lineage(initial(one, samples, CPU))
    pruner.prune_(lineage, 0.9)
    old, buffers = dict(lineage.masks), [b.clone() for b in lineage.model.buffers()]
    drop = {name: weight.detach().abs() for name, weight in prunable(lineage.model).items()}
    twin = copy.deepcopy(lineage.model).eval()
    dense = {n: g.abs() for n, g in mean_gradients(twin, pruner.batches, F.cross_entropy).items()}
    pruner.trade_(lineage, 0.3, 2)
    by_gradient = traded(old, drop, dense, 0.3)
    assert same(lineage.masks, by_gradient) == (grow == "gradient")
    assert all(torch.equal(a, b) for a, b in zip(lineage.model.buffers(), buffers, strict=True))


def test_regrow_replaces_fewer_and_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares, real = {}, Pruner.trade_

    def noting(self: Pruner, lineage: Lineage, share: float, step: int) -> Masks:
        shares[step] = share
        return real(self, lineage, share, step)

    monkeypatch.setattr(Pruner, "trade_", noting)
    ran(small(schedule=REGROW), tmp_path)  # 12 steps, three quarters are 9
    assert shares == {t: pytest.approx(0.3 * (1 + math.cos(math.pi * t / 9)) / 2) for t in (2, 4, 6, 8)}


def test_what_a_criterion_gathered_outlives_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.lineage.SAVE_EVERY_S", -1.0)
    longer = {"recipe": SHORT.model_copy(update={"epochs": 3}), "finetune_epochs": 3}
    one = small(criterion="movement", schedule=Gradual(name="gradual", every=13), **FINETUNED | longer)
    _, masks, final = ran(one, tmp_path / "whole")
    root = tmp_path / "killed"
    _, kills = made_despite_kills(one, root)
    assert kills >= 3
    assert same(stored(one, root, MASKS), masks)
    assert same(stored(one, root, WEIGHTS), final)


@pytest.mark.parametrize(("left", "empty"), [(0, 1), (1, 0)])
def test_layers_without_any_weight_are_counted_and_cut_the_net(tmp_path: Path, left: int, empty: int) -> None:
    """The first layer scores lowest, so that it alone is emptied."""
    body = "return {k: i + torch.sigmoid(p.detach()) for i, (k, p) in enumerate(prunable(model).items())}"
    sparsity = (64 * 300 - left) / (64 * 300 + 300 * 100 + 100 * 10)
    record, masks, _ = ran(small(sparsity=sparsity, recipe=recipe(epochs=0), **plugin(tmp_path, body)), tmp_path)
    assert int(masks["1.weight"].sum()) == left
    columns = record["columns"]
    assert (columns["collapsed_layers"], columns["disconnected"]) == (empty, bool(empty))


def test_reinit_draws_anew_where_the_network_begins_with_given_weights(tmp_path: Path) -> None:
    one = small(ablation="reinit")
    samples = datasets.load(one.dataset, CPU)
    given = {name: torch.full_like(w, 0.5) for name, w in initial(one, samples, CPU).state_dict().items()}
    save_file(given, tmp_path / "given.safetensors")
    model = one.model.model_copy(update={"weights": str(tmp_path / "given.safetensors")})
    own = small(model=model)
    assert same(weights(initial(own, samples, CPU)), given)
    assert same(weights(initial(own, samples, CPU, "reinit")), weights(initial(one, samples, CPU, "reinit")))
