"""The oracle: what is removed, over which samples, how it goes on after a kill, and the verb from end to end."""

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread
from safetensors.torch import load_file
from scipy import stats
from torch import nn
from torch.nn import functional as F

from bench import oracle
from bench.__main__ import main
from bench.axes import Filter
from bench.errors import UserError
from bench.loss import loss_function
from bench.masks import apply_masks_
from bench.measure import machine
from bench.oracle import Oracle, filters, held_samples, loss_without, mean_loss, some_weights
from bench.schema import Scoring
from bench.score import scoring_set
from tests import tiny
from tests.helpers import cell, data, net, recipe, same, weights, workbench
from tests.structures import seeded, structure

FILTER = Filter(name="filter")
RUN = ("oracle", "recipe.epochs=1", "seed=0", "logger=none", "device=cpu")


def exact_loss(model: nn.Module, samples: oracle.Batches) -> float:
    """The mean over single samples, by another way than the one tested."""
    with torch.no_grad():
        losses = [F.cross_entropy(model(x).double(), y, reduction="none") for x, y in samples]
    return float(torch.cat(losses).mean())


def test_a_filter_is_removed_as_if_its_weights_norm_and_bias_were_zeroed_by_hand() -> None:
    model = net().eval()
    model[1].bias.data.normal_(generator=torch.Generator().manual_seed(0))
    samples = [(torch.randn(n, 1, 4, 4), torch.arange(n) % 3) for n in (5, 2)]
    before, loss_fn = weights(model), loss_function(recipe())
    units = filters(structure(model, samples[0][0][:1]))
    assert [(unit.layer, unit.number) for unit in units] == [("0.weight", number) for number in range(4)]
    for unit in units:
        other = copy.deepcopy(model)
        for parameter in (other[0].weight, other[1].weight, other[1].bias):
            parameter.data[unit.number] = 0
        assert loss_without(model, unit, samples, loss_fn) == pytest.approx(exact_loss(other, samples), abs=1e-9)
    assert same(weights(model), before)
    assert mean_loss(model, samples, loss_fn) == pytest.approx(exact_loss(model, samples), abs=1e-12)


def test_coupled_filters_go_together_as_their_mask_says_and_come_back_bit_for_bit() -> None:
    samples = [(torch.randn(9, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(9) % 3)]
    model = seeded(lambda: tiny.net((1, 8, 8), 3), samples[0][0])
    whole = structure(model, samples[0][0][:1])
    before, losses = weights(model), []
    units = filters(whole)
    assert len(units) == sum(group.count for group in whole.groups) == 8 + 8 + 12
    for unit in units:
        kept = {group.name: torch.ones(group.count, dtype=torch.bool) for group in whole.groups}
        kept[unit.layer][unit.number] = False
        other = copy.deepcopy(model)
        apply_masks_(other, whole.masks(other, kept))
        losses.append(loss_without(model, unit, samples, loss_function(recipe())))
        assert losses[-1] == pytest.approx(exact_loss(other, samples), abs=1e-9)
    assert len(set(losses)) == len(losses)
    assert same(weights(model), before)


def test_single_weights_are_drawn_from_every_layer_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "WEIGHTS", 20)
    model, samples = net().eval(), [(torch.randn(6, 1, 4, 4), torch.arange(6) % 3)]
    units = some_weights(cell(), model)
    assert [unit.layer for unit in units] == ["0.weight"] * 10 + ["4.weight"] * 10
    assert len({(unit.layer, unit.number) for unit in units}) == 20
    assert [unit.number for unit in some_weights(cell(seed=1), model)] != [unit.number for unit in units]
    unit, before, other = units[-1], weights(model), copy.deepcopy(model)
    other[4].weight.data.view(-1)[unit.number] = 0
    assert loss_without(model, unit, samples, loss_function(recipe())) == pytest.approx(exact_loss(other, samples))
    assert same(weights(model), before)


def test_the_samples_are_training_images_that_the_scoring_set_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, asked = data(train=200, validation=30), cell(scoring=Scoring(samples=64, batch=8))
    monkeypatch.setattr(oracle, "IMAGES", 100)

    def images(batches: oracle.Batches) -> set[bytes]:
        return {image.numpy().tobytes() for inputs, _ in batches for image in inputs}

    held = images(held_samples(asked, samples))
    everything = images(held_samples(cell(scoring=Scoring(samples=1, batch=1)), samples))
    assert len(held) == 100
    assert not held & images(scoring_set(asked, samples))
    assert images(held_samples(asked, samples)) == held != images(held_samples(cell(seed=1), samples))
    monkeypatch.setattr(oracle, "IMAGES", 2000)
    rest = images(held_samples(asked, samples))
    assert len(rest) == 200 - 64
    assert held < rest
    assert len(everything) == 100
    with pytest.raises(UserError, match=r"lower scoring\.samples"):
        held_samples(cell(scoring=Scoring(samples=200, batch=8)), samples)


def test_what_was_measured_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = cell(granularity=FILTER, recipe=recipe(epochs=0))
    bench = workbench(tmp_path)
    first, place = Oracle(bench).changes((asked, 0, 3))

    def never(*_: object) -> float:
        raise AssertionError

    monkeypatch.setattr(oracle, "loss_without", never)
    assert place == {name: machine.describe(bench.device)[name] for name in ("cpu", "gpu")}
    monkeypatch.setattr(machine, "describe", never)
    assert Oracle(bench).changes((asked, 0, 3)) == (first, place)
    assert len(first) == 3
    with pytest.raises(AssertionError):
        Oracle(bench).changes((asked, 3, 6))
    other = cell(granularity=FILTER, recipe=recipe(epochs=0), scoring=Scoring(samples=32, batch=8))
    assert oracle.net_key(other) != oracle.net_key(asked)


def test_the_verb_writes_tables_and_a_figure_and_goes_on_where_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text('"""score = mine."""\ndef score(model, batches, loss_fn):\n    raise RuntimeError("no idea")\n')
    call = [*RUN, f"criterion=[taylor,bn_scale,{broken}]", "granularity=filter", f"out={tmp_path}"]
    assert main(call) == 1
    shown = capfd.readouterr()
    assert "Traceback" not in shown.err
    assert "no idea" in shown.err
    (folder,) = (tmp_path / "oracle").glob("digits-*")
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    kinds = ("csv", "html", "md", "pdf", "png", "tex")
    assert sorted(written) == [*(f"oracle.{kind}" for kind in kinds), "units.csv"]
    assert written["oracle.md"].decode() in shown.out
    assert imread(folder / "oracle.png").std() > 0.05

    units = pd.read_csv(folder / "units.csv")
    assert set(units["cpu"]) == {machine.describe(torch.device("cpu"))["cpu"]}
    scale = units[units.criterion == "bn_scale"]
    (dense,) = tmp_path.glob("stages/dense-*/tensors.safetensors")
    trained = load_file(dense)
    gammas = np.concatenate([trained[f"{layer}.weight"].abs().numpy() for layer in (1, 4, 8)])
    assert np.allclose(scale.score, gammas)
    rows = pd.read_csv(folder / "oracle.csv").set_index(["criterion", "layer"])
    assert rows.loc[("bn_scale", "all"), "spearman_squared"] == pytest.approx(
        stats.spearmanr(gammas, scale.change**2).statistic
    )
    assert rows.loc[("taylor", "0.weight"), "n"] == 16
    assert rows.loc["broken"].spearman_squared.isna().all()
    assert "no idea" in rows.loc[("broken", "all"), "reason"]

    parts = sorted(tmp_path.glob("stages/oracle-*/record.json"))
    assert len(parts) == 5  # 80 filters
    parts[2].unlink()
    kept = {path: path.stat().st_mtime_ns for path in parts[3:]}
    assert main([*call, "workers=1"]) == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_what_is_neither_filter_nor_weight_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "granularity=nm", f"out={tmp_path}"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "granularity=filter or granularity=weight" in lines[0]


def test_scores_on_the_scale_of_a_layer_are_compared_by_its_mean(tmp_path: Path) -> None:
    asked = cell(granularity=Filter(name="filter"), criterion="l1_norm", target_kind="filters", recipe=recipe(epochs=0))
    oracle = Oracle(workbench(tmp_path))
    layers = [layer for layer, _ in oracle.units(asked)[0]]
    scores = torch.tensor(oracle.scores(("l1_norm", asked)))
    assert {layer: float(scores[[name == layer for name in layers]].mean()) for layer in layers} == {
        layer: pytest.approx(1) for layer in layers
    }
