"""LAMP against its definition, entry by entry."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

import criteria


def lamp(*weights: Tensor) -> list[Tensor]:
    model = nn.Sequential()
    for weight in weights:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight = nn.Parameter(weight.clone())
        model.append(layer)
    return list(criteria.load("lamp").score(model, [], None).values())


def by_definition(weight: Tensor) -> Tensor:
    """Return the score in exact arithmetic, rounded once."""
    squares = [Fraction(float(w)) ** 2 for w in weight.flatten()]
    shares = [square / sum(other for other in squares if other >= square) if square else 0 for square in squares]
    return torch.tensor([float(share) for share in shares], dtype=torch.float64).view(weight.shape)


def test_it_is_the_share_of_the_weights_at_least_as_large(case):
    scores = criteria.load("lamp").score(case.model, case.batches, None)
    assert tuple(scores) == case.weights
    for name, score in scores.items():
        expected = by_definition(case.model.get_parameter(name).detach())
        torch.testing.assert_close(score, expected, rtol=1e-14, atol=0)


def test_ties_share_a_denominator_that_counts_all_of_them():
    (score,) = lamp(torch.tensor([[2.0, -1.0, 1.0], [0.0, 1.0, -2.0]]))
    expected = torch.tensor([[4 / 8, 1 / 11, 1 / 11], [0, 1 / 11, 4 / 8]], dtype=torch.float64)
    torch.testing.assert_close(score, expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_many_ties_and_zeros_by_definition(dtype):
    draw = torch.Generator().manual_seed(0)
    weight = (torch.randint(-4, 5, (11, 13), generator=draw) / 8).to(dtype)
    score = lamp(weight)[0].double()
    torch.testing.assert_close(score, by_definition(weight), rtol=1e-14, atol=0)
    assert ((score == 0) == (weight == 0)).all()


def test_layers_do_not_mix_and_the_largest_of_each_scores_one():
    one, other = torch.randn(5, 4).double(), 1e-3 * torch.randn(3, 5).double()
    scores = lamp(one, other)
    assert [float(score.max()) for score in scores] == [1.0, 1.0]
    torch.testing.assert_close(lamp(one, other * 7)[1], scores[1], rtol=1e-12, atol=0)


def test_a_layer_of_zeros_scores_zero():
    assert torch.equal(lamp(torch.zeros(2, 3))[0], torch.zeros(2, 3, dtype=torch.float32).to(lamp(torch.ones(1, 1))[0]))


def test_within_a_layer_the_order_is_that_of_magnitude():
    weight = torch.randn(300, 400, generator=torch.Generator().manual_seed(1))
    score = lamp(weight)[0].flatten()
    order = weight.abs().flatten().argsort(stable=True)
    steps, gaps = score[order].diff(), weight.abs().flatten()[order].diff()
    assert ((steps > 0) == (gaps > 0)).all()


def test_ten_million_float32_weights_are_summed_up_without_loss():
    """One large weight and ten million equal small ones, whose squares a sum in float32 would lose."""
    count = 10_000_000
    weight = torch.full((1, count), 0.1)
    weight[0, 0] = 1000.0
    score = lamp(weight)[0][0]
    small = float(torch.tensor(0.1).double()) ** 2
    assert float(score[0]) == 1.0
    expected = Fraction(small) / (Fraction(10**6) + Fraction(small) * (count - 1))
    assert float(score[1]) == pytest.approx(float(expected), rel=1e-12)
    assert (score[1:] == score[1]).all()


def test_ten_million_different_weights_against_a_sum_of_integers():
    """Weights 1 .. n: the denominators are sums of squares, known in closed form."""
    n = 10_000_000
    weight = torch.arange(1, n + 1, dtype=torch.float32).flip(0)[None]
    score = lamp(weight)[0][0].flip(0)
    whole = n * (n + 1) * (2 * n + 1) // 6
    for k in (1, 2, 1000, 5_000_000, n - 1, n):
        denominator = whole - (k - 1) * k * (2 * k - 1) // 6
        assert float(score[k - 1]) == pytest.approx(float(Fraction(k * k, denominator)), rel=1e-10)
    assert (score.diff() > 0).all()
