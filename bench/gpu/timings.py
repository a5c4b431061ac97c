"""How fast: the training step beside a bare one, and linear layers with 2:4 sparsity beside dense ones."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.benchmark import Measurement, Timer

from bench.axes import NM
from bench.data import batches
from bench.errors import one_line
from bench.gpu.rows import Row, bounded
from bench.gpu.setting import Sizes, images, largest, network, recipe, trainer
from bench.granularity import select_nm
from bench.measure.engines import BACKENDS
from bench.mode import kernels, unfilled
from bench.seeds import generator
from bench.train import make_optimizer

STEP = 1.25
"""The most that a step of the harness may cost, in bare steps: data order, augmentation, rates and seeds included."""
SPARSE = 0.01
"""The most that outputs may differ in half precision, as a share of the largest."""
SETTINGS = {
    "fp32": ("fp32", torch.channels_last),
    "fp32, contiguous": ("fp32", torch.contiguous_format),
    "tf32": ("tf32", torch.channels_last),
    "bf16": ("bf16", torch.channels_last),
}


def training_steps(device: torch.device, sizes: Sizes) -> list[Row]:
    """Return step / bare step in each precision and layout, each bare step / that of fp32, and what determinism costs.

    Layout is channels_last unless named.
    """
    rows, first = [], 0.0
    for label, (precision, layout) in SETTINGS.items():
        # Each a network and momentum of its own, or one would train on what the other has left.
        ours = Ours(network(sizes.depth).to(device).to(memory_format=layout), sizes, device, precision)
        bare = Bare(network(sizes.depth).to(device).to(memory_format=layout), sizes, device, precision)
        with kernels(precision):
            step, plain = race(device, sizes, ours, bare)
        with kernels(precision, deterministic=False):
            (free,) = race(device, sizes, bare)
        first = first or plain
        note = f"{1e3 * step:.3f} ms against {1e3 * plain:.3f} ms, {sizes.batch / step:.0f} images/s"
        rows += [
            bounded(f"{label}: step / bare step", step / plain, STEP, note),
            Row(f"{label}: bare step / bare step in fp32", plain / first),
            Row(f"{label}: bare deterministic step / bare step with the fastest kernels", plain / free),
        ]
    return rows


class Ours:
    """The harness's trainer; each call trains on for `sizes.steps` steps."""

    def __init__(self, model: nn.Module, sizes: Sizes, device: torch.device, precision: str) -> None:
        self.trainer = trainer(model, sizes, device, precision)
        self.steps = sizes.steps

    def __call__(self) -> None:
        """Train on."""
        self.trainer.run(self.trainer.step + self.steps, lambda row: None)


class Bare:
    """Forward, backward and optimiser on one batch that lies there, `sizes.steps` times a call."""

    def __init__(self, model: nn.Module, sizes: Sizes, device: torch.device, precision: str) -> None:
        self.model = model.train()
        self.sizes = sizes
        self.precision = precision
        self.optimizer = make_optimizer(model, recipe(sizes))
        samples = images(sizes.batch, sizes.side, device)
        self.inputs, self.targets = next(batches(samples, samples.train, sizes.batch))

    def __call__(self) -> None:
        """Train on."""
        with unfilled():
            for _ in range(self.sizes.steps):
                with torch.autocast(self.inputs.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                    loss = F.cross_entropy(self.model(self.inputs), self.targets)
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)


def race(device: torch.device, sizes: Sizes, *contestants: Callable[[], object]) -> list[float]:
    """Return the median seconds of one step of each contestant; they take turns, after a round that does not count."""
    times: list[list[float]] = [[] for _ in contestants]
    for turn in range(sizes.repeats + 1):
        for contestant, seconds in zip(contestants, times, strict=True):
            _wait(device)
            started = time.perf_counter()
            contestant()
            _wait(device)
            if turn:
                seconds.append((time.perf_counter() - started) / sizes.steps)
    return [statistics.median(seconds) for seconds in times]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def semi_structured(device: torch.device, sizes: Sizes) -> list[Row]:
    """Return error and latency of linear layers with 2:4 weights on each of torch's semi-structured kernels.

    Where a kernel is missing (CPU, old cards, builds without the library) the row says why.
    """
    rows = []
    for shape in sizes.linears:
        for dtype in (torch.float16, torch.bfloat16):
            inputs, weight = _linear(shape, dtype, device)
            for backend in BACKENDS:
                name = f"{'x'.join(map(str, shape))} {str(dtype).removeprefix('torch.')} {backend}"
                try:
                    with kernels(deterministic=False), torch.no_grad():
                        rows += _against_dense(name, inputs, weight, backend)
                except Exception as error:  # whatever a build, a driver or a card has against it
                    rows.append(Row(name, note=f"no kernel: {one_line(error)}"))
    return rows


def _linear(shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return random inputs [rows, inputs] and a weight [outputs, inputs] of which 2 of 4 are zero."""
    rows, inputs, outputs = shape
    chance = generator(0, "gpu-check", "linear")
    weight = torch.randn(outputs, inputs, generator=chance) / inputs**0.5
    weight = weight * select_nm({"weight": weight.abs()}, NM(name="nm"))["weight"]
    return torch.randn(rows, inputs, generator=chance).to(device, dtype), weight.to(device, dtype)


def _against_dense(name: str, inputs: Tensor, weight: Tensor, backend: str) -> list[Row]:
    sparse = getattr(torch.sparse, f"SparseSemiStructuredTensor{backend}").from_dense(weight)
    expected, got = F.linear(inputs, weight), F.linear(inputs, sparse)
    error = largest(got.float() - expected.float()) / largest(expected.float())
    dense_time, sparse_time = latency(inputs, weight), latency(inputs, sparse)
    note = f"{_spelled(sparse_time)} against {_spelled(dense_time)}, median and interquartile range"
    return [
        bounded(f"{name}: outputs, 2:4 against dense", error, SPARSE),
        Row(f"{name}: latency, 2:4 / dense", sparse_time.median / dense_time.median, note=note),
    ]


def latency(inputs: Tensor, weight: Tensor) -> Measurement:
    """Measure a linear layer; the timer waits for the device."""
    timer = Timer("linear(inputs, weight)", globals={"linear": F.linear, "inputs": inputs, "weight": weight})
    return timer.blocked_autorange(min_run_time=0.5)


def _spelled(time: Measurement) -> str:
    return f"{1e6 * time.median:.1f} us ({1e6 * time.iqr:.1f})"
