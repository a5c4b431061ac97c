"""Selection against the library's k-th value; scoring against the passes that it is made of."""

import pytest
import torch
from torch.nn import functional as F

import criteria
from bench.masks import select
from bench.models.resnet import resnet
from tests.helpers import data, scoring_batches
from tests.perf.timing import one_thread, race


@pytest.mark.perf
@pytest.mark.parametrize("sparsity", [0.5, 0.98])
def test_selecting_from_12_million_scores_costs_no_more_than_kthvalue(sparsity: float) -> None:
    g = torch.Generator().manual_seed(1)
    scores = {f"layer{i}": torch.randn(1000, 1000, generator=g).square() for i in range(12)}
    flat = torch.cat([score.flatten() for score in scores.values()])
    with one_thread():
        seconds = race(
            7,
            kthvalue=lambda: flat.kthvalue(round(sparsity * len(flat))),
            select=lambda: select(scores, sparsity),
        )
    print(f"select / kthvalue {seconds['select'] / seconds['kthvalue']:.3f}, bound 1")
    assert seconds["select"] <= seconds["kthvalue"]


@pytest.mark.perf
def test_scoring_costs_its_passes() -> None:
    """1,024 samples in batches of 32 on ResNet-20; GraSP goes forward twice and backward thrice, once through both."""
    samples = data(train=1200, validation=0, test=1, shape=(3, 32, 32), classes=10)
    batches = scoring_batches(samples, 0, 1024, 32)
    model = resnet((3, 32, 32), 10, depth=20).to(memory_format=torch.channels_last).eval()
    bare_model = resnet((3, 32, 32), 10, depth=20).to(memory_format=torch.channels_last).eval()
    snip, grasp = criteria.load("snip"), criteria.load("grasp")

    def bare() -> None:
        for inputs, targets in batches:
            F.cross_entropy(bare_model(inputs), targets).backward()

    with one_thread():
        seconds = race(
            5,
            bare=bare,
            snip=lambda: snip.score(model, batches, F.cross_entropy),
            grasp=lambda: grasp.score(model, batches, F.cross_entropy),
        )
    print(f"snip / bare {seconds['snip'] / seconds['bare']:.3f}, bound 1.2")
    print(f"grasp / bare {seconds['grasp'] / seconds['bare']:.3f}, bound 8")
    assert seconds["snip"] <= 1.2 * seconds["bare"]
    assert seconds["grasp"] <= 8 * seconds["bare"]
