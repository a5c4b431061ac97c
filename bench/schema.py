"""The typed configuration: what a run is made of, checked once at the edge, immutable afterwards."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from bench.axes import Finetune, Granularity, Iterative, Schedule, Scope, When
from bench.frozen import Frozen, NonNegative, Positive, Share


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
    options: dict[str, Any] = Field(default_factory=dict)
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
        if self.label_smoothing and self.loss != "cross_entropy":
            raise ValueError(f"label_smoothing belongs to loss=cross_entropy; {self.loss} has none")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must rise")
        if self.milestones and self.lr_schedule != "step":
            raise ValueError(f"milestones belong to lr_schedule=step; {self.lr_schedule} has none")
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ValueError(f"warmup_epochs={self.warmup_epochs} must be fewer than epochs={self.epochs}")
        return self


class Criterion(Frozen):
    """A criterion's name (or file) and the options that were given."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


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


class Claim(Frozen):
    """What an experiment is to show, written down before it runs and judged in its report (bench.report.claims)."""

    name: str
    says: str
    """The claim in words."""
    first: dict[str, str | float]
    """Columns and values that choose one cell a seed, as {criterion: snip, ablation: none}; options may be left out."""
    second: dict[str, str | float]
    relation: Literal["above", "below", "equal"]
    """Of the first to the second."""
    margin: Positive | None = None
    """equal: largest difference that is none, in points."""
    measure: Literal["accuracy", "empty_layers", "first_empty"] = "accuracy"
    """empty_layers: how many there are; first_empty: the lowest target at which there is one."""

    @model_validator(mode="after")
    def _consistent(self) -> "Claim":
        if (self.relation == "equal") != (self.margin is not None):
            raise ValueError("margin belongs to relation=equal, and that needs it")
        if self.relation == "equal" and self.measure != "accuracy":
            raise ValueError("relation=equal is for accuracies")
        return self


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
    claims: tuple[Claim, ...] = ()
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
    changed: tuple[str, ...] = ()
    """Arguments of the command line that make another plan than the experiment's file."""

    @field_validator("out")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if value in ("", "null"):
            raise ValueError("it names no folder; give one, or leave it out")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        names = [claim.name for claim in self.claims]
        if len(set(names)) < len(names):
            raise ValueError("two claims have one name")
        if any(isinstance(schedule, Iterative) and schedule.end is not None for schedule in self.schedule):
            raise ValueError("schedule has no option `end`: with `stop` the path leads to the largest sparsity given")
        if "tf32" in self.precision and self.device == "cpu":
            raise ValueError("precision tf32 is a mode of CUDA devices; use fp32 or bf16")
        return self
