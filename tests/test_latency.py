"""From finished cells to rows: every variant of a granularity, and outputs that are checked before they are timed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bench import latency
from bench.axes import NM, Filter, Scope
from bench.cell import Cell
from bench.data import batches
from bench.latency import Latency, Networks
from bench.measure.latency import race
from bench.report.times import key
from bench.run import run_cell
from bench.schema import Model
from bench.stage import Workbench
from bench.tasks import Timing
from tests.helpers import cell, recipe, workbench

TINY = Model(name="tiny", factory="tests/tiny.py:net")
SHORT = {"recipe": recipe(epochs=0), "model": TINY}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workbench, dict[str, Cell]]:
    """An OUT folder with a dense cell, one that lost half its filters, and one with 2 of 4 weights."""
    bench = workbench(tmp_path_factory.mktemp("out"))
    none = dict.fromkeys(("granularity", "scope", "schedule", "ablation", "target_kind", "score_mode"))
    cells = {
        "dense": cell(criterion="dense", sparsity=0.0, when="trained", **SHORT | none),
        "filter": cell(granularity=Filter(name="filter"), scope=Scope(name="layer"), target_kind="filters", **SHORT),
        "nm": cell(granularity=NM(name="nm"), scope=None, target_kind="weights", **SHORT),
    }
    for one in cells.values():
        assert run_cell(one, bench)["columns"]["status"] == "ok"
    return bench, cells


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "race", lambda *arguments: race(*arguments, rounds=2))


def rows(made: tuple[Workbench, dict[str, Cell]], name: str, **how: Any) -> dict[str, dict[str, Any]]:
    bench, cells = made
    asked = Timing(cells[name], cells["dense"].id, **{"engine": "eager", "dtype": "fp32", "batch": 2} | how)
    return {row["variant"]: row for row in Latency(bench).rows(asked)}


def test_filters_are_timed_masked_and_compacted(made: tuple[Workbench, dict[str, Cell]]) -> None:
    got = rows(made, "filter", dtype="bf16")
    assert [*got] == ["dense", "masked", "compacted", "2:4"]
    for variant in ("dense", "masked", "compacted"):
        row = got[variant]
        assert row["median_s"] > 0
        assert len(row["turns_s"]) == 2
        assert row["reason"] is None
        assert (row["dtype"], row["batch"], row["threads"], row["device"]) == (
            "bf16",
            2,
            torch.get_num_threads(),
            "cpu",
        )
        assert row["torch"] == torch.__version__.split("+")[0]
        assert row["cpu"]
        assert len(key(row)) == 12
    assert got["2:4"]["median_s"] is None
    assert "granularity=nm" in got["2:4"]["reason"]


def test_without_channels_that_go_or_kernels_there_is_a_reason(made: tuple[Workbench, dict[str, Cell]]) -> None:
    got = rows(made, "nm")
    assert got["masked"]["median_s"] > 0
    assert "granularity=filter" in got["compacted"]["reason"]
    assert got["2:4"]["reason"] == "2:4 kernels need a CUDA device"
    half = rows(made, "nm", engine="onnx", dtype="bf16")
    assert {row["median_s"] for row in half.values()} == {None}


def test_the_networks_are_those_of_the_records_and_the_inputs_real(made: tuple[Workbench, dict[str, Cell]]) -> None:
    bench, cells = made
    nets = Networks(cells["filter"], cells["dense"].id, bench)
    inputs = nets.inputs(3, torch.float32)
    assert torch.equal(inputs, next(batches(nets.samples, nets.samples.train, 3))[0])
    many = nets.inputs(len(nets.samples.train) + 2, torch.float32)
    assert len(many) == len(nets.samples.train) + 2
    assert torch.equal(many[-2:], inputs[:2])
    dense, masked, small = (nets.variant(name, torch.float32) for name in ("dense", "masked", "compacted"))
    assert not any(module.training for module in (dense, masked, small))
    assert torch.allclose(small(inputs), masked(inputs), atol=1e-5)
    assert not torch.allclose(dense(inputs), masked(inputs), atol=1e-3)
    sizes = [sum(weight.numel() for weight in module.parameters()) for module in (dense, masked, small)]
    assert sizes[0] == sizes[1] > sizes[2]
    zero = next(name for name, mask in nets.masks.items() if not mask.all())
    assert not masked.get_parameter(zero)[~nets.masks[zero]].any()


def test_a_network_that_computes_something_else_is_not_timed(
    made: tuple[Workbench, dict[str, Cell]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Networks, "_compacted", lambda self: self.variant("dense", torch.float32))
    got = rows(made, "filter")
    assert "differ from eager torch's" in got["compacted"]["reason"]
    assert got["compacted"]["turns_s"] is None
    assert got["masked"]["median_s"] > 0


def test_an_artefact_that_is_gone_stops_the_question(tmp_path: Path, made: tuple[Workbench, dict[str, Cell]]) -> None:
    with pytest.raises(Exception, match="corrupt"):
        Networks(made[1]["filter"], made[1]["dense"].id, workbench(tmp_path))


def test_nothing_is_timed_with_autograd_on(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool]] = []

    def noting(runs: Any, *rest: Any) -> Any:
        seen.extend((torch.is_grad_enabled(), run().requires_grad) for run in runs.values())
        return race(runs, *rest, rounds=2)

    monkeypatch.setattr(latency, "race", noting)
    rows(made, "filter")
    assert seen == [(False, False)] * 3
