"""Batch norms and the layers that feed them: seen where functions are called, whatever the modules' names or order."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from criteria import CriterionError
from criteria.tools.filters import filters, layer_weight, names_by_id, tensors
from criteria.tools.types import Batches


def affine(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return `NORM.weight` (gamma) and `NORM.bias` (beta) of each batch norm that has both: [channels] each."""
    found: dict[str, nn.Parameter] = {}
    for name, norm in model.named_modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.weight is not None and norm.bias is not None:
            found |= {f"{name}.weight": norm.weight, f"{name}.bias": norm.bias}
    return found


def own_norms(model: nn.Module, batches: Batches) -> dict[str, str]:
    """Return weight -> name of the batch norm that reads this layer's output, which nothing else reads.

    The batch norm reads nothing else either, so its channels are the layer's. May be empty. Runs the model once, on
    two samples of the first batch. Raises CriterionError where there is no batch.
    """
    inputs = next((inputs[:2] for inputs, _ in batches), None)
    if inputs is None:
        raise CriterionError("a batch is needed to see which batch norm follows which layer")
    gammas = {id(p): name.removesuffix(".weight") for name, p in affine(model).items() if name.endswith(".weight")}
    readers = _Readers(names_by_id(filters(model)), gammas)
    with torch.no_grad(), readers:
        outputs = model(inputs)
    readers.note(outputs, "")
    return {layer: by[0] for layer, by in readers.of.items() if len(by) == 1 and by[0] and readers.calls[by[0]] == 1}


def needed_norms(model: nn.Module, batches: Batches) -> dict[str, str]:
    """Return `own_norms`; raise CriterionError where no layer has one."""
    if norms := own_norms(model, batches):
        return norms
    raise CriterionError("no layer's output goes to a batch norm of its own and nowhere else: there is none to score")


def gates(values: dict[str, Tensor], norms: dict[str, str]) -> dict[str, Tensor]:
    """Return per layer [filters] what a gate on its batch norm's output gets: the values of gamma and beta, added.

    With values p * dL/dp it is the derivative of the loss for a factor on the output gamma * x + beta, at factor 1.
    """
    return {layer: values[f"{norm}.weight"] + values[f"{norm}.bias"] for layer, norm in norms.items()}


class _Readers(TorchFunctionMode):
    """Notes what reads each layer's output: the name of a batch norm, or "" for anything else."""

    def __init__(self, layers: dict[int, str], norms: dict[int, str]) -> None:
        super().__init__()
        self.layers, self.norms = layers, norms
        self.makers: Any = WeakTensorKeyDictionary()
        """Output -> the layer that made it."""
        self.of: dict[str, list[str]] = {}
        self.calls: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function and note what it reads; what returns no tensor (a shape) reads nothing."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if any(True for _ in tensors(result)):
            norm = self.norms.get(id(_gamma(*args, **kwargs)), "") if func is F.batch_norm else ""
            self.calls[norm] += 1
            self.note((args, kwargs), norm)
        weight = layer_weight(func, args, kwargs)
        if id(weight) in self.layers and isinstance(weight, Tensor) and _channels_second(result, weight):
            self.makers[result] = self.layers[id(weight)]
        return result

    def note(self, values: Any, reader: str) -> None:
        """Note that `reader` reads these values."""
        for tensor in tensors(values):
            if tensor in self.makers:
                self.of.setdefault(self.makers[tensor], []).append(reader)


def _gamma(
    input: Tensor, running_mean: Tensor, running_var: Tensor, weight: Tensor | None = None, *rest: Any, **options: Any
) -> Tensor | None:
    return weight


def _channels_second(output: Tensor, weight: Tensor) -> bool:
    """Whether the filters are dimension 1 of the output, where batch norm has its channels (not so for tokens)."""
    return output.dim() == weight.dim() and output.shape[1] == len(weight)
