"""The axes whose values are a name with options: what is removed, over what, when, how the rest is retrained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bench.frozen import Frozen, NonNegative, Positive, Share


class Weight(Frozen):
    """Each weight is removed by itself."""

    name: Literal["weight"]


class NM(Frozen):
    """N of M weights that follow each other along the input channels are kept, at each kernel position."""

    name: Literal["nm"]
    n: int = Field(default=2, ge=1)
    m: int = Field(default=4, ge=2)

    @model_validator(mode="after")
    def _consistent(self) -> "NM":
        if self.n >= self.m:
            raise ValueError(f"n:m keeps n of m weights: {self.n}:{self.m} removes none")
        return self


class Block(Frozen):
    """Tiles of the out x in plane at each kernel position are removed whole."""

    name: Literal["block"]
    rows: int = Field(default=4, ge=1)
    cols: int = Field(default=4, ge=1)


class Filter(Frozen):
    """Channels are removed whole, with all that is coupled to them; attention loses heads."""

    name: Literal["filter"]
    reduce: Literal["mean", "sum", "l2"] = "mean"
    """How a filter's weight scores become one, for a criterion without a filter form."""
    normalise: Literal["none", "layer_mean"] = "none"
    """layer_mean: each layer's scores are divided by their mean absolute value."""


class Layer(Frozen):
    """Residual blocks are removed whole: their input passes on."""

    name: Literal["layer"]


Granularity = Annotated[Weight | NM | Block | Filter | Layer, Field(discriminator="name")]


def default_target_kind(granularity: Granularity | None) -> str:
    """Return what a target is a share of, unless the run says so."""
    return "filters" if isinstance(granularity, Filter) else "weights"


class Scope(Frozen):
    """Over which weights one ranking goes."""

    name: Literal["global", "layer", "erk", "lamp", "threshold", "row"]
    min_keep: NonNegative | None = None
    """Weights (or filters) that every layer keeps: a count, or a share below 1. null: 1 for row and filters, else 0."""
    value: NonNegative | None = None
    """Lowest score that `threshold` keeps, in place of a sparsity."""

    @model_validator(mode="after")
    def _consistent(self) -> "Scope":
        if (self.name == "threshold") != (self.value is not None):
            raise ValueError("value belongs to threshold, and threshold needs it: {name: threshold, value: 0.1}")
        if self.name == "threshold" and self.min_keep is not None:
            raise ValueError("threshold keeps what reaches its value: it has no min_keep")
        return self


class OneShot(Frozen):
    """All weights are removed at once."""

    name: Literal["one_shot"]


class Iterative(Frozen):
    """Weights are removed in `steps` steps, each selected within the one before."""

    name: Literal["iterative"]
    steps: int = Field(default=5, ge=1)
    curve: Literal["exponential", "linear", "cosine"] = "exponential"
    stop: NonNegative | None = None
    """Until converged: ends before validation top1 (points; r2 in a regression) falls by more than this below dense."""
    end: Share | None = None
    """Sparsity at the end of the path where `stop` decides how far to go; the largest of the sparsity axis."""


class Gradual(Frozen):
    """Sparsity rises during training as s(1-(1-u)^3) over the first 75 % of it (Zhu & Gupta 2017, arXiv:1710.01878)."""

    name: Literal["gradual"]
    every: int = Field(default=100, ge=1)
    """Training steps between two pruning steps."""


class Regrow(Frozen):
    """A sparse net in training drops weights by the criterion, grows as many (Evci et al. 2020, arXiv:1911.11134)."""

    name: Literal["regrow"]
    every: int = Field(default=100, ge=1)
    fraction: Share = 0.3
    """Share of the active weights that the first update replaces; falls to 0 as a cosine."""
    grow: Literal["gradient", "random"] = "gradient"
    """gradient: where abs(dense gradient) is largest (RigL); random (SET, Mocanu et al. 2018, arXiv:1707.04780)."""


REWIND_TO = 0.02
"""Share of the training that rewinding goes back to, unless the run says so."""

Schedule = Annotated[OneShot | Iterative | Gradual | Regrow, Field(discriminator="name")]


class When(Frozen):
    """At what time weights are removed."""

    name: Literal["trained", "init", "rewind"]
    to: Share | None = None
    """rewind: to this share of the training (weights, buffers, optimiser), then the rest again; null = 0.02."""

    @model_validator(mode="after")
    def _consistent(self) -> "When":
        if self.to is not None and self.name != "rewind":
            raise ValueError(f"only rewind goes back: {self.name} has no `to`")
        return self


class Low(Frozen):
    """Fine-tuning at a constant low rate: the last of a step schedule, else 1/100 of the peak."""

    name: Literal["low"]


class Rewound(Frozen):
    """Fine-tuning with the rates of the recipe's last epochs (Renda et al. 2020, arXiv:2003.02389)."""

    name: Literal["rewound"]


class Cosine(Frozen):
    """Fine-tuning with rates that fall from a declared peak to 0."""

    name: Literal["cosine"]
    peak: Positive | None = None
    """null = the recipe's peak."""


Finetune = Annotated[Low | Rewound | Cosine, Field(discriminator="name")]
