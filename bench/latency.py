"""From a finished cell to the time that its network takes: dense, masked, compacted, with 2:4 kernels."""

import copy
import importlib.metadata
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor, nn

from bench import artefacts, data
from bench.axes import NM
from bench.cell import Cell
from bench.data import Data, batches
from bench.errors import one_line
from bench.measure import machine
from bench.measure.engines import DTYPES, NoEngineError, check_outputs, outputs, ready, semi_structured_
from bench.measure.latency import Run, conditions, race
from bench.mode import kernels
from bench.prune import structure_of
from bench.run import initial
from bench.seeds import generator
from bench.stage import Workbench
from bench.store import MASKS, WEIGHTS
from bench.tasks import VARIANTS, Timing


class Latency:
    """Answers what the verb `latency` asks; questions about the same cell share its networks."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._nets: tuple[str, Networks] | None = None

    def rows(self, asked: Timing) -> list[dict[str, Any]]:
        """Return a row for each of VARIANTS: times, or null and the reason, and the conditions (see bench.tasks)."""
        threads, device = torch.get_num_threads(), self.bench.device
        started = datetime.now(UTC).isoformat(timespec="seconds")
        torch.compiler.reset()  # what was compiled before would be looked through, and at last keep out what is new
        runs: dict[str, Run] = {}
        reasons: dict[str, str] = {}
        with kernels(deterministic=False):
            for variant in VARIANTS:
                try:
                    runs[variant] = self._ready(asked, variant, threads)
                except NoEngineError as error:
                    reasons[variant] = str(error)
            with torch.inference_mode():
                times = race(runs, device, threads, generator(0, "latency"))
        shared: dict[str, Any] = {
            "cell": asked.cell.id,
            "device": device.type,
            "engine": asked.engine,
            "dtype": asked.dtype,
        }
        shared |= {"batch": asked.batch, "threads": threads, "started": started} | _versions()
        shared |= {name: machine.describe(device)[name] for name in ("cpu", "gpu")} | conditions(device)
        none = dict.fromkeys(("turns_s", "median_s", "iqr_s"))
        return [
            shared
            | {"variant": variant, "reason": reasons.get(variant)}
            | (asdict(times[variant]) if variant in times else none)
            for variant in VARIANTS
        ]

    def _ready(self, asked: Timing, variant: str, threads: int) -> Run:
        """Return what is to be timed, after its outputs were found to be those of the eager masked (dense) network."""
        nets, dtype = self._networks(asked), DTYPES[asked.dtype]
        inputs = nets.inputs(asked.batch, dtype)
        model = nets.variant(variant, dtype)
        run = ready(model, inputs, asked.engine, threads)
        like = nets.variant("dense" if variant == "dense" else "masked", dtype)
        with torch.inference_mode():
            try:
                got = outputs(run)
            except Exception as error:  # a kernel that refuses these shapes
                raise NoEngineError(one_line(error, 160)) from error
            check_outputs(got, outputs(lambda: like(inputs)), asked.dtype)
        return run

    def _networks(self, asked: Timing) -> "Networks":
        if self._nets is None or self._nets[0] != asked.cell.id:
            self._nets = (asked.cell.id, Networks(asked.cell, asked.dense, self.bench))
        return self._nets[1]


class Networks:
    """A finished cell's networks, in eval mode."""

    def __init__(self, cell: Cell, dense: str, bench: Workbench) -> None:
        """Load weights and masks of a cell and of its dense control `dense` (an id)."""
        self.cell = cell
        self.bench = bench
        self.samples = data.load(cell.dataset, bench.device)
        self.masks = self._stored(cell.id, MASKS)
        self.dense = self._network(dense)
        self.masked = self._network(cell.id)

    def _stored(self, cell: str, name: str) -> dict[str, Tensor]:
        return artefacts.read(self.bench.root / "cells" / cell, name, self.bench.device)

    def _network(self, cell: str) -> nn.Module:
        model = initial(self.cell, self.samples, self.bench.device)
        model.load_state_dict(self._stored(cell, WEIGHTS))
        return model.eval().requires_grad_(False)

    def inputs(self, batch: int, dtype: torch.dtype) -> Tensor:
        """Return `batch` training samples [batch, ...], again from the first where there are fewer; tokens stay."""
        return _inputs(self.samples, batch).to(dtype) if _is_float(self.samples) else _inputs(self.samples, batch)

    def variant(self, name: str, dtype: torch.dtype) -> nn.Module:
        """Return a network of its own; NoEngineError where the cell's granularity has no such form."""
        if name == "compacted":
            return self._compacted().to(dtype)
        model = copy.deepcopy(self.dense if name == "dense" else self.masked).to(dtype)
        if name == "2:4":
            grain = self.cell.granularity
            if not isinstance(grain, NM) or (grain.n, grain.m) != (2, 4):
                raise NoEngineError("only granularity=nm with 2 of 4 has such kernels")
            semi_structured_(model, [name for name, mask in self.masks.items() if not bool(mask.all())])
        return model

    def _compacted(self) -> nn.Module:
        structure = structure_of(self.cell, self.masked, self.samples)
        if structure is None:
            raise NoEngineError("only granularity=filter and granularity=layer leave a smaller network")
        return structure.compacted(self.masked, self.masks).model.eval()


def _is_float(samples: Data) -> bool:
    return _inputs(samples, 1).is_floating_point()


def _inputs(samples: Data, batch: int) -> Tensor:
    inputs = next(batches(samples, samples.train, batch))[0]
    if len(inputs) < batch:
        inputs = inputs.repeat(-(-batch // len(inputs)), *[1] * (inputs.dim() - 1))[:batch]
    return inputs


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in ("torch", "onnxruntime"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found
