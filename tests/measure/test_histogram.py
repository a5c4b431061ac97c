import math

import pytest
import torch

from bench.measure.histogram import BINS, histogram


def test_kept_and_removed_are_counted_where_their_scores_lie() -> None:
    scores = {"a": torch.tensor([[0.125, 1.0], [8.0, 0.0]]), "b": torch.tensor([-8.0, 0.125])}
    masks = {"a": torch.tensor([[False, True], [True, False]]), "b": torch.tensor([True, False])}
    found = histogram(scores, masks, {})
    assert found is not None
    assert (found["low"], found["high"]) == pytest.approx((math.log10(0.125), math.log10(8)))
    assert (found["zero"], found["negative"]) == (1, 1)
    assert (found["removed"][0], found["kept"][-1], sum(found["kept"]), sum(found["removed"])) == (2, 2, 3, 2)
    assert sum(found["kept"][BINS // 2 - 1 : BINS // 2 + 1]) == 1  # 1 lies half way from 1/8 to 8


def test_what_an_earlier_step_removed_is_no_candidate_and_a_filter_counts_once() -> None:
    scores = {"a": torch.tensor([1.0, 2.0, 3.0])}
    mask = torch.tensor([[False, False], [False, True], [True, True]])
    former = torch.tensor([[False, False], [True, True], [True, True]])
    found = histogram(scores, {"a": mask}, {"a": former})
    assert found is not None
    assert (sum(found["kept"]), sum(found["removed"])) == (2, 0)
    assert histogram({"a": torch.zeros(3)}, {"a": mask}, {}) is None
