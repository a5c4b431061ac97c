"""What an untrained network already tells, in one line each."""

from pathlib import Path
from typing import Any

import pytest

from bench.axes import NM, Filter, Gradual, Layer, Regrow, Scope
from bench.data import Data, Split, batches
from bench.errors import UserError
from bench.preflight import Preflight
from bench.schema import Model, Prunable, Scoring
from tests.helpers import cell, dataset, plugin, recipe, weights, workbench

NET = Model(name="tiny", factory=f"{Path(__file__).with_name('tiny.py')}:net")
FILTERS = {"model": NET, "granularity": Filter(name="filter"), "target_kind": "filters"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (FILTERS | {"sparsity": 0.98}, "min_keep lets fewer"),
        ({"scope": Scope(name="global", min_keep=0.3), "sparsity": 0.9}, "min_keep lets fewer"),
        (FILTERS | {"sparsity": 0.999, "target_kind": "flops"}, "of the target's kind can be removed"),
        ({"granularity": NM(name="nm", n=2, m=7), "scope": None}, "no layer of lenet divides"),
        ({"granularity": Layer(name="layer")}, "has no residual blocks"),
        ({"schedule": Regrow(name="regrow", every=1000)}, "acts every 1000 steps"),
        ({"schedule": Gradual(name="gradual", every=1000)}, "acts every 1000 steps"),
    ],
)
def test_targets_out_of_reach_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        Preflight(workbench(tmp_path)).target(cell(**changes))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_regrow_needs_scores_of_all_that_it_makes_sparse(tmp_path: Path) -> None:
    """Its first masks are random in every layer; one without scores would then stay as thin as it began."""
    first = "return {n: w.detach().abs() for n, w in list(prunable(model).items())[:1]}"
    one = cell(**plugin(tmp_path, first), schedule=Regrow(name="regrow", every=2))
    with pytest.raises(UserError, match=r"mine: schedule=regrow .* 3\.weight has no scores: .*prunable\.exclude"):
        Preflight(workbench(tmp_path)).target(one)
    Preflight(workbench(tmp_path)).target(one.model_copy(update={"prunable": Prunable(exclude=("3.*", "5.*"))}))


def test_only_two_samples_are_read_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scoring set of ImageNet takes minutes to decode."""
    read: list[int] = []

    def counted(data: Data, split: Split, *rest: Any, **options: Any) -> Any:
        for batch in batches(data, split, *rest, **options):
            read.append(len(batch[1]))
            yield batch

    monkeypatch.setattr("bench.score.batches", counted)
    preflight, one = Preflight(workbench(tmp_path)), cell(criterion="taylor", scoring=Scoring())
    preflight.data_and_model(one)
    assert preflight.criterion(one) is None
    preflight.target(one)
    assert read
    assert sum(read) <= 4


def test_a_criterion_that_refuses_the_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch norm"):
        Preflight(workbench(tmp_path)).criterion(cell(**FILTERS | {"model": cell().model, "criterion": "bn_scale"}))


@pytest.mark.parametrize(
    "body", ["raise RuntimeError('a fault')", "return {n: w * float('nan') for n, w in prunable(model).items()}"]
)
def test_a_fault_is_told_and_left_to_the_cells(tmp_path: Path, body: str) -> None:
    preflight = Preflight(workbench(tmp_path))
    one = cell(**plugin(tmp_path, body))
    remark = preflight.criterion(one)
    assert remark
    assert "a fault" in remark or "not finite" in remark
    preflight.target(one)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("nn.Linear(3, 7)", "model net fails on tiny's inputs of shape [1, 8, 8]: RuntimeError"),
        ("nn.Sequential(nn.Flatten(), nn.Linear(64, 13))", "returns [2, 13] for 2 samples of tiny, not [2, 10]"),
        ("Pair()", "returns tuple for 2 samples of tiny, not [2, 10]"),
    ],
)
def test_a_network_that_does_not_answer_as_it_must_is_refused_before_any_training(
    tmp_path: Path, body: str, words: str
) -> None:
    head = "from torch import nn\nclass Pair(nn.Linear):\n    def __init__(self):\n        super().__init__(8, 10)\n"
    head += "    def forward(self, x):\n        return x, x\n"
    file = tmp_path / "net.py"
    file.write_text(f"{head}def net(input_shape, num_classes):\n    return {body}\n")
    with pytest.raises(UserError) as caught:
        Preflight(workbench(tmp_path)).data_and_model(cell(model=Model(name="net", factory=f"{file}:net")))
    assert words in str(caught.value)


def test_the_network_is_made_once_and_left_as_it_was(tmp_path: Path) -> None:
    preflight = Preflight(workbench(tmp_path))
    one = cell(**FILTERS)
    preflight.data_and_model(one)
    network = preflight._loaded(one)[1]
    before = weights(network)
    preflight.target(one)
    assert preflight._loaded(one)[1] is network
    assert all(before[name].equal(value) for name, value in network.state_dict().items())
    other = cell(**FILTERS | {"recipe": recipe(epochs=1)})
    assert preflight._loaded(other)[1] is not network


def test_crops_and_flips_of_what_are_no_images_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "data.py"
    file.write_text(
        "import torch\nfrom bench.data import Raw, Split\ndef read(dataset):\n"
        "    part = Split(torch.rand(64, 1, 8, 8), torch.arange(64) % 10)\n    return Raw(part, part, 10)\n"
    )
    floats = dataset(reader=f"{file}:read", validation=0, mean=(), std=())
    preflight = Preflight(workbench(tmp_path))
    preflight.data_and_model(cell(dataset=floats))
    with pytest.raises(UserError, match=r"are for images \(uint8\); tiny has none"):
        preflight.data_and_model(cell(dataset=floats, recipe=recipe(flip=True)))


def test_a_scoring_batch_over_which_batch_norm_cannot_average_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\ndef net(input_shape, num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))\n"
    )
    one = cell(model=Model(name="net", factory=f"{file}:net"), scoring=Scoring(samples=64, batch=1))
    with pytest.raises(UserError, match=r"net: batch norm fails at scoring\.batch=1 \(Expected more than 1 value"):
        Preflight(workbench(tmp_path)).data_and_model(one)
