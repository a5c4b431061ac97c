"""Intervals, tests and ranks of few repetitions; where the data cannot carry a test the answer is NaN, never a p."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

ALPHA = 0.05
LEAST_PAIRS = 3
"""Pairs below which neither an interval nor a test is given."""
LEAST_BLOCKS = 6
"""(dataset, model) pairs below which ranks stand without a test."""
LEAST_SHARE = 20
"""Pairs from which P(A > B) is given with an interval; below, the count says all there is."""
LEAST_UNITS = 20
"""Units from which a bootstrap is given: at 3 its 95 % interval covers in 76 of 100 cases, at 20 in 92."""
RESAMPLES = 9999
ROUNDING = 1e-9
"""Values whose spread is below this share of the largest are equal: with no spread, t would be infinite."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Wins:
    """In how many pairs A is above B; a tie is no win."""

    wins: int
    ties: int
    pairs: int
    low: float
    """Lower end of the exact 95 % interval of P(A > B), NaN below LEAST_SHARE pairs; `high` likewise."""
    high: float

    def __str__(self) -> str:
        """Return `3 of 3`, and from LEAST_SHARE pairs `18 of 20 (0.68 to 0.99)`."""
        interval = f" ({self.low:.2f} to {self.high:.2f})" if self.pairs >= LEAST_SHARE else ""
        return f"{self.wins} of {self.pairs}{interval}"


@dataclass(frozen=True)
class Ranks:
    """Criteria over blocks; a block is a (dataset, model) pair."""

    mean: "pd.Series[float]"
    """Criterion -> mean rank over the blocks, the best first; 1 is best, equal scores share their mean rank."""
    blocks: int
    p: float
    """Friedman's, that all criteria rank alike; NaN below LEAST_BLOCKS blocks or three criteria."""
    critical: float
    """Nemenyi's critical difference (Demsar 2006): mean ranks that are nearer are not told apart; NaN where p is."""

    def alike(self) -> list[list[str]]:
        """Return the largest sets of neighbours that are not told apart, none of one; all where Friedman's p is not
        below ALPHA: only after it do differences of pairs count."""
        names, mean = [str(name) for name in self.mean.index], self.mean.to_numpy()
        if not self.p < ALPHA:
            return [names]
        ends = [int((mean <= low + self.critical).sum()) for low in mean]
        runs = [(first, end) for first, end in enumerate(ends) if end - first > 1]
        return [names[first:end] for place, (first, end) in enumerate(runs) if not place or end > runs[place - 1][1]]


def t_interval(values: ArrayLike, level: float = 1 - ALPHA) -> tuple[Array, Array]:
    """Return both ends of Student's interval of the mean over the last axis (length n): [..., n] -> [...] twice.

    NaN below LEAST_PAIRS values and where all are equal.
    """
    interval = stats.ttest_1samp(_testable(values), 0, axis=-1).confidence_interval(level)
    return np.asarray(interval.low), np.asarray(interval.high)


def paired_t(differences: ArrayLike) -> Array:
    """Return the two-sided p of the paired t test over the last axis: differences [..., n] -> [...].

    NaN below LEAST_PAIRS pairs and where all differences are equal.
    """
    return np.asarray(stats.ttest_1samp(_testable(differences), 0, axis=-1).pvalue)


def _testable(values: ArrayLike) -> Array:
    """Return the values, NaN in place of samples that have no t."""
    array = np.asarray(values, dtype=float)
    if array.shape[-1] < LEAST_PAIRS:
        return np.full((*array.shape[:-1], LEAST_PAIRS), np.nan)
    equal = np.ptp(array, axis=-1) <= ROUNDING * np.abs(array).max(axis=-1)
    return np.where(equal[..., None], np.nan, array)


def holm(p: ArrayLike) -> Array:
    """Return p values adjusted by Holm's step-down method (1979), the last axis being the family.

    A NaN (a comparison that could not be tested) stays one and counts in the family: what was planned sets its size,
    not what came out.
    """
    raw = np.asarray(p, dtype=float)
    order = np.argsort(raw, axis=-1)  # NaN last
    steps = np.take_along_axis(raw, order, axis=-1) * np.arange(raw.shape[-1], 0, -1)
    adjusted = np.empty_like(raw)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, axis=-1), 1), axis=-1)
    return adjusted


def wilcoxon(differences: ArrayLike, comparisons: int) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test, before Holm, of differences [n]; zeros are left out.

    NaN where the smallest p that n differences can give, 2 / 2^n, is not below ALPHA after Holm over `comparisons`.
    """
    values = np.asarray(differences, dtype=float)
    values = values[values != 0]
    if comparisons * 2.0 ** (1 - len(values)) >= ALPHA:
        return float("nan")
    return float(stats.wilcoxon(values).pvalue)


def wins(differences: ArrayLike) -> Wins:
    """Return how often A is above B, from the differences A - B [n]; the interval is Clopper and Pearson's (1934)."""
    values = np.asarray(differences, dtype=float)
    won, tied = int((values > 0).sum()), int((values == 0).sum())
    low = high = float("nan")
    if len(values) >= LEAST_SHARE:
        interval: Any = stats.binomtest(won, len(values)).proportion_ci(1 - ALPHA, method="exact")
        low, high = float(interval.low), float(interval.high)
    return Wins(won, tied, len(values), low, high)


def average_ranks(scores: pd.DataFrame) -> Ranks:
    """Return the mean ranks of criteria (columns, higher is better) over blocks (rows), and Friedman's test (1937).

    Blocks that lack a score are left out. Sparsities or seeds of one network are no blocks: average them first.
    """
    complete = scores.dropna()
    mean = complete.rank(axis=1, ascending=False).mean().sort_values(kind="stable")
    p = critical = float("nan")
    if len(complete) >= LEAST_BLOCKS and complete.shape[1] > 2:
        p = float(stats.friedmanchisquare(*(complete[name] for name in complete)).pvalue)
        critical = critical_difference(complete.shape[1], len(complete))
    return Ranks(mean, len(complete), p, critical)


def critical_difference(criteria: int, blocks: int) -> float:
    """Return by how much two of `criteria` mean ranks over `blocks` differ at ALPHA in Nemenyi's test (1963)."""
    quantile: Any = stats.studentized_range.isf(ALPHA, criteria, np.inf)  # type: ignore[attr-defined]
    return float(quantile) / math.sqrt(2) * math.sqrt(criteria * (criteria + 1) / (6 * blocks))


def nemenyi(scores: pd.DataFrame) -> pd.DataFrame:
    """Return Nemenyi's p for each pair of criteria (columns) over blocks (rows), adjusted for the number of pairs."""
    from scikit_posthocs import posthoc_nemenyi_friedman  # here: it takes a second, and is seldom needed

    return pd.DataFrame(posthoc_nemenyi_friedman(scores.dropna()))


def bootstrap(values: ArrayLike, generator: np.random.Generator) -> tuple[Array, Array]:
    """Return both ends of the percentile bootstrap's interval of the mean over the last axis: [..., n] -> [...] twice.

    Whole units (seeds, or blocks) are resampled. NaN below LEAST_UNITS units.
    """
    array = np.asarray(values, dtype=float)
    if array.shape[-1] < LEAST_UNITS:
        return np.full(array.shape[:-1], np.nan), np.full(array.shape[:-1], np.nan)
    # `rng` is the newer name of `random_state`; this one is known to all versions.
    found = stats.bootstrap(
        (array,),
        np.mean,
        axis=-1,
        n_resamples=RESAMPLES,
        confidence_level=1 - ALPHA,
        method="percentile",
        random_state=generator,
        batch=1000,
    ).confidence_interval
    return np.asarray(found.low), np.asarray(found.high)
