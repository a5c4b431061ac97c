from math import isnan, nan, sqrt
from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.report.statistics import (
    Ranks,
    average_ranks,
    bootstrap,
    critical_difference,
    holm,
    nemenyi,
    paired_t,
    t_interval,
    wilcoxon,
    wins,
)

MANY = 20_000
"""Simulations: the standard error of a rate of 5 % is .15 points, so bounds 1.5 points away are 9 of them off."""


def null(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies of two criteria that are equally good: they share the luck of their dense net."""
    generator = np.random.default_rng(20)
    shared = 90 + 3 * generator.standard_normal(shape)
    return shared + generator.standard_normal(shape), shared + generator.standard_normal(shape)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_paired_t_test_errs_and_its_interval_covers_as_often_as_they_say(n: int) -> None:
    first, second = null(MANY, n)
    assert 0.035 <= (paired_t(first - second) < 0.05).mean() <= 0.065
    low, high = t_interval(first - second + 2)
    assert 0.93 <= ((low <= 2) & (high >= 2)).mean() <= 0.97


def test_five_criteria_against_one_reference_err_together_in_one_family_of_twenty() -> None:
    first, reference = null(5, MANY, 5)
    p = paired_t(first - reference[0]).T
    assert (p < 0.05).any(axis=1).mean() > 0.1, "without Holm"
    assert 0.02 < (holm(p) < 0.05).any(axis=1).mean() <= 0.065


def test_t_by_the_textbook_and_by_scipy() -> None:
    first, second = [97.1, 96.0, 98.2], [95.0, 95.1, 96.9]
    differences = [a - b for a, b in zip(first, second, strict=True)]
    half = 4.30265273 * stdev(differences) / sqrt(3)  # t of 2 degrees of freedom at 97.5 %
    assert t_interval(differences) == pytest.approx((mean(differences) - half, mean(differences) + half), rel=1e-6)
    assert paired_t(differences) == pytest.approx(stats.ttest_rel(first, second).pvalue)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[], [0.3], [0.3, 0.5], [0.0, 0.0, 0.0], [0.3, 0.1 + 0.2, 0.3]])
def test_too_few_or_equal_values_have_no_p(values: list[float]) -> None:
    assert isnan(paired_t(values))
    assert all(isnan(end) for end in t_interval(values))


def test_holm_by_hand() -> None:
    # 4 x .01; 3 x .02 = .06; 2 x .03 = .06; 1 x .04 = .04, which may not fall below .06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([[0.6, 0.7], [0.01, 0.02]]) == pytest.approx(np.array([[1, 1], [0.02, 0.02]]))
    assert holm([]).shape == (0,)


def test_what_could_not_be_tested_counts_in_the_family() -> None:
    assert holm([nan, 0.01, nan]) == pytest.approx([nan, 0.03, nan], nan_ok=True)


def test_wilcoxon_only_where_its_smallest_p_can_matter() -> None:
    assert isnan(wilcoxon([1, 2, 3, 4, 5], comparisons=1)), "2 / 2^5 = .0625"
    assert isnan(wilcoxon([1, 2, 3, 4, 5, 0], comparisons=1)), "a zero does not count"
    assert wilcoxon([1, 2, 3, 4, 5, 6], comparisons=1) == 2 / 2**6
    assert isnan(wilcoxon([1, 2, 3, 4, 5, 6], comparisons=2))
    differences = [1.0, -2.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 0.5]
    # Only 2 has the other sign, the third in size: 5 of the 2^9 sign patterns have a sum of ranks of 3 or less.
    assert wilcoxon(differences, comparisons=3) == 2 * 5 / 2**9


def test_wins_are_a_count_and_from_twenty_pairs_a_share_with_its_exact_interval() -> None:
    assert str(wins([1, 2, 3])) == "3 of 3"
    few = wins([1, 0, -1])
    assert (few.wins, few.ties, few.pairs, str(few)) == (1, 1, 3, "1 of 3")
    assert str(wins([1] * 19)) == "19 of 19"
    many = wins([1] * 18 + [-1] * 2)
    # Clopper and Pearson: quantiles of the beta distributions of (18, 3) and (19, 2).
    assert (many.low, many.high) == pytest.approx((stats.beta.ppf(0.025, 18, 3), stats.beta.ppf(0.975, 19, 2)))
    assert str(many) == "18 of 20 (0.68 to 0.99)"
    assert wins([1] * 20).high == 1


def test_ranks_without_a_test_below_six_blocks() -> None:
    five = pd.DataFrame({"a": [3.0, 3, 3, 3, 1], "b": [2.0, 2, 2, 3, 2], "c": [1.0, 1, 1, 1, 3]})
    ranks = average_ranks(five)
    assert dict(ranks.mean) == {"a": (1 + 1 + 1 + 1.5 + 3) / 5, "b": (2 + 2 + 2 + 1.5 + 2) / 5, "c": (3 * 4 + 1) / 5}
    assert list(ranks.mean.index) == ["a", "b", "c"]
    assert ranks.blocks == 5
    assert isnan(ranks.p)
    six = pd.DataFrame({"a": [3.0] * 6, "b": [2.0] * 6, "c": [1.0] * 6})
    # Chi-squared 12 / (6 * 3 * 4) * (6^2 + 12^2 + 18^2) - 3 * 6 * 4 = 12, of 2 degrees of freedom: exp(-6).
    assert average_ranks(six).p == pytest.approx(np.exp(-6))
    assert isnan(average_ranks(six[["a", "b"]]).p)
    six.loc[0, "c"] = nan
    assert average_ranks(six).blocks == 5


@pytest.mark.parametrize(("criteria", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_differences_are_those_of_demsars_table(criteria: int, quantile: float) -> None:
    expected = quantile * sqrt(criteria * (criteria + 1) / (6 * 14))
    assert critical_difference(criteria, 14) == pytest.approx(expected, rel=3e-4)


def test_nemenyis_p_is_below_five_percent_where_ranks_differ_by_more_than_the_critical_difference() -> None:
    generator = np.random.default_rng(1)
    scores = pd.DataFrame(generator.standard_normal((8, 5)) + np.arange(5), columns=list("abcde"))
    ranks, p = average_ranks(scores), nemenyi(scores)
    for one in scores:
        for two in scores:
            apart = abs(ranks.mean[one] - ranks.mean[two]) > ranks.critical
            assert apart == (p.loc[one, two] < 0.05)


def test_nemenyi_after_friedman_errs_in_one_family_of_twenty_at_most() -> None:
    scores = np.random.default_rng(2).standard_normal((1000, 7, 5))
    ranks = stats.rankdata(scores, axis=-1)
    p = np.array([stats.friedmanchisquare(*block.T).pvalue for block in ranks])
    widest = np.ptp(ranks.mean(axis=1), axis=-1)
    assert ((p < 0.05) & (widest > critical_difference(5, 7))).mean() <= 0.065


def test_neighbours_that_are_not_told_apart_stand_in_the_largest_sets() -> None:
    mean = pd.Series({"a": 1.0, "b": 1.5, "c": 2.4, "d": 2.5, "e": 5.0})
    assert Ranks(mean, 7, 0.01, 1.0).alike() == [["a", "b"], ["b", "c", "d"]]
    assert Ranks(mean, 7, 0.2, 1.0).alike() == [list("abcde")], "Friedman's test does not reject"


def test_the_bootstrap_covers_from_twenty_units_and_is_refused_below() -> None:
    sample = np.random.default_rng(3).standard_normal((200, 20))
    low, high = bootstrap(sample, np.random.default_rng(0))
    assert 0.88 <= ((low <= 0) & (high >= 0)).mean() <= 0.97
    assert (bootstrap(sample[0], np.random.default_rng(0))[0] <= sample[0].mean()).all()
    again = bootstrap(sample[0], np.random.default_rng(0))
    assert bootstrap(sample[0], np.random.default_rng(0)) == again
    assert np.isnan(bootstrap(sample[:, :19], np.random.default_rng(0))).all()
