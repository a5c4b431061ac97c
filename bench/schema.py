"""The typed configuration: what a run is made of, checked once at the edge, immutable afterwards."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Frozen(BaseModel):
    """A configuration value: strict types, no unknown keys, no change after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Text(Frozen):
    """How a column of text becomes tokens (bench.data.text)."""

    column: str = "text"
    label: str = "label"
    """Name of the column of labels, strings or integers."""
    vocabulary: int = Field(default=10_000, ge=3)
    """Number of token ids: padding, unknown, and the most frequent words of the training part."""
    length: int = Field(default=64, ge=1)
    """Words a sample; longer texts are cut, shorter ones padded."""


class Dataset(Frozen):
    """Where labelled data come from and how they are split and normalised (conf/dataset)."""

    name: str
    title: str
    """As captions of tables name it."""
    reader: str
    """`module:function` of the reader (bench.data)."""
    root: str | None = None
    """Folder that holds the files; null for data embedded in a dependency."""
    url: str | None = None
    """Another address to download from (a mirror); null for the publisher's."""
    validation: int | float = Field(ge=0)
    """Training samples (a share when below 1) held out for every choice anyone makes; 0 as in papers that had none."""
    mean: tuple[float, ...] = ()
    std: tuple[Positive, ...] = ()
    """Of images, per channel, for pixels scaled to [0, 1]; what else is standardised finds its own."""
    text: Text | None = None
    """For readers of text alone."""
    size: int | None = Field(default=None, ge=1)
    """For readers of image files: the inputs are squares of this many pixels a side."""
    resize: int | None = Field(default=None, ge=1)
    """For readers of image files: shorter side before the centre crop in evaluation; null = `size`."""
    skip_unreadable: bool = False
    """For readers of image files: leave out those that cannot be decoded, rather than refuse the run."""

    @model_validator(mode="after")
    def _consistent(self) -> "Dataset":
        if self.resize and self.resize < (self.size or 0):
            raise ValueError(f"resize={self.resize} leaves images smaller than size={self.size}")
        return self


class Model(Frozen):
    """A network: `factory(input_shape, num_classes, **options)` (conf/model, or `model=path/to/net.py:factory`)."""

    name: str
    factory: str
    options: dict[str, Any] = {}
    weights: str | None = None
    """What to begin with in place of the seed's initialisation: a file of a state dict, or, of torchvision's and timm's
    models, the name of published weights (IMAGENET1K_V1, fb_in1k)."""


class Recipe(Frozen):
    """How a network is trained (conf/recipe)."""

    name: str
    source: str
    """Where the numbers come from."""
    epochs: int = Field(ge=0)
    """0: the network (with `model.weights`) is taken as it is."""
    batch_size: int | None = Field(ge=1)
    """Samples a step; null = the whole training set (full-batch gradient descent)."""
    optimizer: Literal["sgd", "adam", "adamw"]
    lr: Positive
    """Peak learning rate."""
    momentum: Share = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0
    decay_norm_and_bias: bool = True
    """Whether weight decay also acts on biases and normalisation parameters."""
    lr_schedule: Literal["step", "cosine", "constant"]
    milestones: tuple[int, ...] = ()
    """Epochs at which the rate is multiplied by `gamma` (step schedule)."""
    gamma: Positive = 0.1
    warmup_epochs: int = Field(default=0, ge=0)
    """Epochs of linear warm-up from 0."""
    loss: Literal["cross_entropy", "mse", "bce"] = "cross_entropy"
    """`mse` is on one-hot targets or for a regression, `bce` is for two classes (one logit)."""
    label_smoothing: Share = 0.0
    gamma_l1: NonNegative = 0.0
    """L1 penalty on the scales of batch norm (network slimming, Liu et al. 2017, arXiv:1708.06519)."""
    crop_padding: int = Field(default=0, ge=0)
    """Zero pixels added on each side before a random crop; 0 = no crop."""
    flip: bool = False
    """Random horizontal flip."""
    crop_area: Annotated[float, Field(gt=0, le=1)] | None = None
    """Images read from files: random resized crops of at least this share of the area; null = the centre crop."""
    finetune_epochs: int = Field(ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must rise")
        if self.milestones and self.lr_schedule != "step":
            raise ValueError(f"milestones belong to lr_schedule=step; {self.lr_schedule} has none")
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ValueError("warmup_epochs must be fewer than epochs")
        return self


class Criterion(Frozen):
    """A criterion's name (or file) and the options that were given."""

    name: str
    options: dict[str, Any] = {}


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


class Scope(Frozen):
    """Over which weights one ranking goes."""

    name: Literal["global", "layer", "erk", "lamp", "threshold", "row"]
    min_keep: NonNegative | None = None
    """Weights (or filters) that every layer keeps: a count, or a share when below 1. null = 1 for row, else 0."""
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


class Scoring(Frozen):
    """The scoring set, the same for every criterion."""

    samples: int | None = Field(default=None, ge=1)
    """null = max(10 x classes, 1,024), capped at the training set."""
    batch: int = Field(default=32, ge=1)


class Prunable(Frozen):
    """Which of the prunable weights take part."""

    exclude: tuple[str, ...] = ()
    """Patterns of parameter names (shell style) that stay dense."""


class Choice(Frozen):
    """One combination of the groups that set many fields."""

    dataset: Dataset
    model: Model
    recipe: Recipe
    scoring: Scoring
    prunable: Prunable


class Settings(Frozen):
    """Everything a run was asked for: the axes (their product is the plan) and how to run it. null = the default."""

    experiment: str
    choices: tuple[Choice, ...]
    criterion: tuple[Criterion, ...] = Field(min_length=1)
    sparsity: tuple[Share, ...] = Field(min_length=1)
    seed: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    granularity: tuple[Granularity | None, ...] = Field(min_length=1)
    scope: tuple[Scope | None, ...] = Field(min_length=1)
    schedule: tuple[Schedule | None, ...] = Field(min_length=1)
    when: tuple[When | None, ...] = Field(min_length=1)
    finetune: tuple[Finetune | None, ...] = Field(min_length=1)
    finetune_epochs: tuple[Annotated[int, Field(ge=0)] | None, ...] = Field(min_length=1)
    ablation: tuple[Literal["none", "shuffle", "reinit", "invert"] | None, ...] = Field(min_length=1)
    target_kind: tuple[Literal["weights", "filters", "params", "flops"] | None, ...] = Field(min_length=1)
    budget: tuple[Literal["equal"] | None, ...] = Field(min_length=1)
    score_mode: tuple[Literal["eval", "train"] | None, ...] = Field(min_length=1)
    precision: tuple[Literal["fp32", "tf32", "bf16"], ...] = Field(min_length=1)
    vary: tuple[str, ...] = ()
    """Columns under study: criteria that differ in them share a panel."""
    out: str
    device: Literal["auto", "cpu", "cuda"]
    threads: int = Field(ge=1)
    """Per worker."""
    workers: int | None = Field(ge=1)
    """null = one a core on CPU, one a GPU on CUDA."""
    launcher: Literal["local"]
    logger: Literal["wandb", "none"]
    debug: bool
    named: tuple[str, ...] = ()
    """Keys that the command line gave."""
    overrides: tuple[str, ...] = ()
    """Fields of the groups that the command line changed, as `recipe.lr=0.01`."""

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if any(isinstance(schedule, Iterative) and schedule.end is not None for schedule in self.schedule):
            raise ValueError("schedule has no option `end`: with `stop` the path leads to the largest sparsity given")
        if "tf32" in self.precision and self.device == "cpu":
            raise ValueError("precision tf32 is a mode of CUDA devices; use fp32 or bf16")
        return self
