"""Which batch norm reads which layer's output alone: by what is called, not by names or the order of modules."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import criteria
from bench.models.resnet import resnet
from bench.models.vgg import vgg
from bench.models.wide_resnet import wide_resnet
from criteria import CriterionError
from criteria.tools.norms import affine, own_norms

IMAGES = [(torch.zeros(3, 3, 32, 32), torch.zeros(3))]


def test_each_convolution_of_a_resnet_has_its_norm():
    blocks = [f"stage{s}.{b}" for s in (1, 2, 3) for b in (0, 1)]
    expected = {f"{block}.conv{i}.weight": f"{block}.bn{i}" for block in blocks for i in (1, 2)}
    assert own_norms(resnet((3, 32, 32), 10, depth=14).eval(), IMAGES) == {"conv.weight": "bn"} | expected


def test_each_convolution_of_vgg_has_its_norm():
    model = vgg((3, 32, 32), 10).eval()
    convolutions = [i for i, module in enumerate(model) if isinstance(module, nn.Conv2d)]
    assert own_norms(model, IMAGES) == {f"{i}.weight": str(i + 1) for i in convolutions}


def test_of_a_preactivated_net_only_the_first_convolution_of_a_block_has_one():
    """What the others make is added up with the block's input before any batch norm reads it."""
    norms = own_norms(wide_resnet((3, 32, 32), 10, depth=16, width=1).eval(), IMAGES)
    assert norms == {f"stage{s}.{b}.conv1.weight": f"stage{s}.{b}.bn2" for s in (1, 2, 3) for b in (0, 1)}


class Wired(nn.Module):
    """Norms registered in another order than they are called, and calls that belong to no module."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.b, self.a = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
        self.one, self.two = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

    def forward(self, x):
        a, b, how = self.a, self.b, self.how
        one = F.conv2d(x, weight=self.one.weight) if how == "by hand" else self.one(x)
        if how == "read twice":
            return b(self.two(a(one))) + one
        if how == "returned":
            return one, b(self.two(a(one)))
        if how == "activated first":
            return b(self.two(a(F.relu_(one))))
        if how == "one norm for both":
            return a(self.two(a(one)))
        if how == "one layer twice":
            return b(self.one(a(one)))
        if how == "read for its shape":
            one = one if one.shape[0] and one.size(1) and one.dim() else x
        if how == "by hand":
            one = F.batch_norm(one, a.running_mean, a.running_var, weight=a.weight, bias=a.bias)
            return b(self.two(one))
        return b(self.two(a(one)))


BOTH = {"one.weight": "a", "two.weight": "b"}


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("", BOTH),
        ("by hand", BOTH),
        ("read for its shape", BOTH),
        ("read twice", {"two.weight": "b"}),
        ("returned", {"two.weight": "b"}),
        ("activated first", {"two.weight": "b"}),
        ("one norm for both", {}),
        ("one layer twice", {}),
    ],
)
def test_a_norm_is_a_layers_own_where_each_reads_and_feeds_nothing_else(how, expected):
    assert own_norms(Wired(how).eval(), [(torch.ones(1, 2, 3, 3), None)]) == expected


def test_linear_layers_have_norms_where_their_outputs_are_channels():
    model = nn.Sequential(
        nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False)
    )
    assert own_norms(model, [(torch.ones(5, 4), None)]) == {"0.weight": "1"}
    assert own_norms(model[:2], [(torch.ones(5, 3, 4), None)]) == {}, "tokens: the norm's channels are the tokens"
    assert list(affine(model)) == ["1.weight", "1.bias"]


@pytest.mark.parametrize(
    ("name", "options"),
    [("bn_scale", {}), ("movement", {"granularity": "filter"}), ("taylor", {"granularity": "filter", "gate": "bn"})],
)
def test_a_net_without_any_is_refused_in_one_line(name, options, build_case):
    case = build_case("mlp")
    with pytest.raises(CriterionError, match="no layer's output goes to a batch norm of its own") as error:
        criteria.load(name, **options).score(case.model, case.batches, F.cross_entropy)
    assert "\n" not in str(error.value)
    with pytest.raises(CriterionError, match="a batch is needed"):
        criteria.load(name, **options).score(case.model, [], F.cross_entropy)
