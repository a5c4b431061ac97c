"""What runs a network: torch eager, torch.compile, ONNX Runtime, and torch's kernels for 2:4 weights."""

import functools
import importlib
import threading
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bench.errors import one_line
from bench.measure.latency import Run

OPSET = 18
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.02}
"""The most that an output may be off, as a share of the largest: rounding of many layers, not another network."""
BACKENDS = ("CUSPARSELT", "CUTLASS")


class NoEngineError(Exception):
    """Why a network cannot be timed so, in a few words."""


def ready(model: nn.Module, inputs: Tensor, engine: str, threads: int) -> Run:
    """Return what runs a model on `inputs` once a call; engine: eager, compile or onnx, which takes `threads`.

    Raises NoEngineError where the engine is not there, or refuses this network.
    """
    # torch's compiler makes one that is shared between processes, and stays behind where a worker is killed.
    tqdm.set_lock(threading.RLock())
    if engine == "onnx":
        return _onnx(model, inputs, threads)
    if engine == "compile":
        return _compiled(model, inputs)
    return functools.partial(model, inputs)


def outputs(run: Run) -> Tensor:
    """Return a run's outputs as a float32 tensor on the CPU."""
    result = run()
    return torch.as_tensor(result[0] if isinstance(result, list) else result).detach().float().cpu()


def check_outputs(got: Tensor, expected: Tensor, dtype: str) -> None:
    """Raise NoEngineError where outputs are off by more than TOLERANCE of the largest one."""
    error = float((got - expected).abs().max()) / (float(expected.abs().max()) or 1)
    if not error <= TOLERANCE[dtype]:
        raise NoEngineError(f"its outputs differ from eager torch's by {error:.1g} of the largest")


def _compiled(model: nn.Module, inputs: Tensor) -> Run:
    run = functools.partial(torch.compile(model, dynamic=False), inputs)
    try:
        with torch.inference_mode(), torch._inductor.config.patch(compile_threads=1):  # no processes that stay behind
            run()
    except Exception as error:  # whatever the compiler, or the one that it calls, has against it
        raise NoEngineError(f"torch.compile failed: {one_line(error, 160)}") from error
    return run


def _onnx(model: nn.Module, inputs: Tensor, threads: int) -> Run:
    if next(model.parameters()).dtype != torch.float32:
        raise NoEngineError("ONNX Runtime's CPU kernels are timed in fp32 alone")
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError:
            raise NoEngineError(f"{package} is not installed (pip install 'pruning-bench[latency]')") from None
    try:
        return _session(_exported(model, inputs), inputs, threads)
    except Exception as error:  # an operation that the exporter or the runtime does not know
        raise NoEngineError(f"ONNX export failed: {one_line(error, 160)}") from error


def _exported(model: nn.Module, inputs: Tensor) -> bytes:
    program: Any = torch.onnx.export(model, (inputs,), dynamo=True, opset_version=OPSET, verbose=False)
    data: bytes = program.model_proto.SerializeToString()
    return data


def _session(data: bytes, inputs: Tensor, threads: int) -> Run:
    import onnxruntime  # an optional dependency

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: np.ascontiguousarray(inputs.numpy())}
    return functools.partial(session.run, None, feed)


def semi_structured_(model: nn.Module, weights: Collection[str]) -> None:
    """Hold those of a model's 2:4 weights that linear layers have in torch's semi-structured form, in place.

    weights: names of the parameters with 2 zeros in each 4. Convolutions have no such kernels and stay. Raises
    NoEngineError where the device, the dtype or the shapes leave none.
    """
    layers = [(f"{name}.weight", module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    linears = [module for name, module in layers if name in weights]
    if not linears:
        raise NoEngineError("2:4 kernels are for linear layers, of which none is pruned")
    if linears[0].weight.device.type != "cuda":
        raise NoEngineError("2:4 kernels need a CUDA device")
    if linears[0].weight.dtype == torch.float32:
        raise NoEngineError("2:4 kernels take bf16 and fp16")
    refused = [error for linear in linears if (error := _refused_(linear))]
    if len(refused) == len(linears):
        raise NoEngineError(f"no linear layer has a 2:4 kernel: {refused[0]}")


def _refused_(linear: nn.Linear) -> str | None:
    """Return why no kernel takes a layer's weight, None where one does."""
    errors = []
    for backend in BACKENDS:
        try:
            kind = getattr(torch.sparse, f"SparseSemiStructuredTensor{backend}")
            linear.weight = nn.Parameter(kind.from_dense(linear.weight.detach().contiguous()), requires_grad=False)
            return None
        except Exception as error:  # whatever a build, a driver or a card has against it
            errors.append(one_line(error, 160))
    return "; ".join(errors)
