"""How a criterion's scores are spread, and where the cut went through them."""

from typing import Any

import torch
from torch import Tensor

from bench.masks import Masks

BINS = 48


def histogram(scores: dict[str, Tensor], masks: Masks, former: Masks) -> dict[str, Any] | None:
    """Return counts of kept and removed scores over log10 of their absolute value, in BINS equal bins.

    scores: of weights, or [out] of filters; masks: of the weights, after the step; former: before it (empty: nothing
    was removed), whose removed positions are no candidates. Returns `low` and `high` (outer edges), `kept` and
    `removed` (BINS counts each), `zero` (scores that are 0, in no bin) and `negative` (in the bin of their absolute
    value); None where every score is 0.
    """
    parts = [_candidates(values, masks[name], former.get(name)) for name, values in scores.items() if name in masks]
    values, kept = (torch.cat(side) for side in zip(*parts, strict=True))
    logs, kept = values[values != 0].abs().double().log10(), kept[values != 0]
    if not len(logs):
        return None
    low, high = float(logs.min()), float(logs.max())
    place = ((logs - low) / max(high - low, 1e-12) * BINS).long().clamp(max=BINS - 1)
    counts = {
        side: torch.bincount(place[chosen], minlength=BINS).tolist()
        for side, chosen in (("kept", kept), ("removed", ~kept))
    }
    return {"low": low, "high": high, "zero": int((values == 0).sum()), "negative": int((values < 0).sum())} | counts


def _candidates(scores: Tensor, mask: Tensor, former: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the scores that could go in this step, and which of them stayed; a filter stays by any of its weights."""
    if scores.dim() < mask.dim():
        mask = mask.flatten(1).any(1)
        former = None if former is None else former.flatten(1).any(1)
    open_ = torch.ones_like(mask) if former is None else former
    return scores[open_].flatten(), mask[open_].flatten()
