"""The channels of a network that go together, and attention's heads.

torch-pruning's dependency graph says which channels of which layers must go together (Fang et al. 2023,
arXiv:2301.12900). Left alone are channels of the network's output, of layers whose weight is shared, and channels that
a LayerNorm or GroupNorm normalises together.
"""

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch_pruning.dependency.index_mapping import _ConcatIndexMapping, update_index_mapping

from bench.units import Part, Removal, Units

CHANNELWISE = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.PReLU, nn.modules.batchnorm._BatchNorm),
    nn.modules.instancenorm._InstanceNorm,
)
"""Modules whose channels can be removed one by one."""


def channels(model: nn.Module, sample: Tensor) -> list[Units]:
    """Return the coupled channels and the attention heads of a model that takes `sample` [1, ...]."""
    model = copy.deepcopy(model)  # tracing sets the mode and asks for gradients
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    attention: list[Any] = [module for module in model.modules() if _has_heads(module)]
    padded = _Padded()
    with torch.enable_grad(), padded:
        graph = tp.DependencyGraph().build_dependency(model, sample, _forward, verbose=False)
    _map_padding(graph, padded.spans)
    names = {module: name for name, module in model.named_modules()}
    inside = {layer for module in attention for layer in (module.qkv, module.proj)}
    groups = [_heads(names[module], module) for module in attention]
    return groups + list(_coupled(graph, names, inside))


def _forward(model: nn.Module, sample: Tensor) -> Any:
    return model(sample)


def _has_heads(module: nn.Module) -> bool:
    """Whether a module is attention as timm writes it, whose heads can be removed."""
    qkv, proj = getattr(module, "qkv", None), getattr(module, "proj", None)
    count, size = getattr(module, "num_heads", None), getattr(module, "head_dim", None)
    plain = getattr(module, "gate", None) is None and isinstance(getattr(module, "norm", None), nn.Identity | None)
    if not (plain and isinstance(qkv, nn.Linear) and isinstance(proj, nn.Linear)):
        return False
    if not (isinstance(count, int) and isinstance(size, int)):
        return False
    return qkv.out_features == 3 * count * size and proj.in_features == count * size


def _heads(name: str, module: Any) -> Units:
    count, size = int(module.num_heads), int(module.head_dim)
    inputs = torch.arange(count * size) // size
    outputs = inputs.repeat(3)
    bias = [Part(f"{name}.qkv.bias", 0, outputs)] if module.qkv.bias is not None else []
    return Units(
        name=f"{name}.qkv.weight",
        count=count,
        produced=(Part(f"{name}.qkv.weight", 0, outputs),),
        others=(*bias, Part(f"{name}.proj.weight", 1, inputs)),
        removals=(Removal(name, _remove_heads, torch.arange(count)),),
    )


def _remove_heads(module: Any, heads: list[int]) -> None:
    count, size = module.num_heads, module.head_dim
    owner = torch.arange(count * size) // size
    gone = torch.isin(owner, torch.tensor(heads))
    tp.prune_linear_out_channels(module.qkv, gone.repeat(3).nonzero().flatten().tolist())
    tp.prune_linear_in_channels(module.proj, gone.nonzero().flatten().tolist())
    module.num_heads = count - len(heads)
    module.attn_dim = module.num_heads * size


class _Padded(TorchFunctionMode):
    """Notes where zero padding puts the channels that it reads (ResNet's shortcut A)."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: dict[Any, tuple[int, int, int]] = {}
        """Autograd's node of the padding -> (channels before, that it reads, that it makes)."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        pad = (*args[1:2], *(kwargs or {}).values())[0] if func is F.pad else ()
        if pad and len(pad) == 2 * (args[0].dim() - 1) and any(pad[-2:]):
            self.spans[result.grad_fn] = (pad[-2], args[0].shape[1], result.shape[1])
        return result


class _Padding(nn.Module):
    """Stands in the graph for padding: it reads and makes known numbers of channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs


class _PaddingPruner(tp.ops.DummyPruner):  # type: ignore[misc]
    def get_in_channels(self, layer: _Padding) -> int:
        return layer.inputs

    def get_out_channels(self, layer: _Padding) -> int:
        return layer.outputs


def _map_padding(graph: tp.DependencyGraph, spans: dict[Any, tuple[int, int, int]]) -> None:
    """Tell the graph, which takes padding for an operation on single elements, that it moves the channels' numbers."""
    padded = {node: spans[node.grad_fn] for node in graph.module2node.values() if node.grad_fn in spans}
    if not padded:
        return
    graph.register_customized_layer(_Padding, _PaddingPruner())
    for node, (_, inputs, outputs) in padded.items():
        del graph.module2node[node.module]
        node.module = _Padding(inputs, outputs)
        graph.module2node[node.module] = node
    # What the graph has inferred from wrong numbers of channels is inferred again.
    dependencies = [dependency for node in graph.module2node.values() for dependency in node.dependencies]
    for dependency in dependencies:
        dependency.index_mapping = [None, None]
    update_index_mapping(graph)
    for dependency in dependencies:
        for pad, other, back in (
            (dependency.source, dependency.target, True),
            (dependency.target, dependency.source, False),
        ):
            if pad in padded and other in pad.inputs:
                before, inputs, _ = padded[pad]
                dependency.index_mapping[1] = _ConcatIndexMapping([before, before + inputs], reverse=back)


def _coupled(graph: tp.DependencyGraph, names: dict[nn.Module, str], inside: set[nn.Module]) -> Iterator[Units]:
    """Yield the channels that layers make, each with all that goes with it, from the first layer on."""
    shared = _shared_parameters(names)
    covered: dict[nn.Module, set[int]] = {}
    for layer in names:
        if layer not in graph.module2node or not isinstance(layer, tp.ops.TORCH_CONV | tp.ops.TORCH_LINEAR):
            continue
        free = sorted(set(range(layer.weight.shape[0])) - covered.setdefault(layer, set()))
        if not free or not isinstance(layer, CHANNELWISE) or layer in inside:
            continue
        pruner = graph.get_pruner_of_module(layer)
        group = graph.get_pruning_group(layer, pruner.prune_out_channels, free)
        for item in group.items:
            if graph.is_out_channel_pruning_fn(item.dep.handler):
                covered.setdefault(item.dep.target.module, set()).update(item.idxs)
        if all(_removable(graph, item, inside, shared) for item in group.items):
            yield from _as_units(graph, group.items, names, free)


def _shared_parameters(names: Iterable[nn.Module]) -> set[int]:
    owners = [id(p) for module in names for p in module.parameters(recurse=False)]
    return {one for one in owners if owners.count(one) > 1} if len(owners) != len(set(owners)) else set()


def _removable(graph: tp.DependencyGraph, item: Any, inside: set[nn.Module], shared: set[int]) -> bool:
    """Whether an operation or layer lets single channels go."""
    module, node = item.dep.target.module, item.dep.target
    if not isinstance(module, nn.Module) or module in inside:
        return False
    is_layer = any(True for _ in module.parameters(recurse=False)) or isinstance(
        module, nn.modules.batchnorm._BatchNorm
    )
    if is_layer and (not isinstance(module, CHANNELWISE) or any(id(p) in shared for p in module.parameters())):
        return False
    # What nothing follows is the network's output, unless a layer reads the channels there.
    return bool(node.outputs) or (is_layer and not graph.is_out_channel_pruning_fn(item.dep.handler))


def _as_units(
    graph: tp.DependencyGraph, items: list[Any], names: dict[nn.Module, str], roots: list[int]
) -> Iterator[Units]:
    """Turn one group of the graph, whose root is pruned at `roots`, into units; nothing where groups cannot balance."""
    position = {root: number for number, root in enumerate(roots)}
    layers = [item for item in items if item.dep.target.module in names and _has_channels(item.dep.target.module)]
    if any(max(item.idxs) >= _size(item.dep.target.module, _makes(graph, item)) for item in layers):
        return  # an operation between them moves channels in a way that the graph does not know
    at = [[position[root] for root in item.root_idxs] for item in layers]
    edges: list[tuple[int, int]] = []
    for item, unit_of in zip(layers, at, strict=True):
        ties = _ties(graph, item, unit_of)
        if ties is None:
            return
        edges += ties
    unit = _joined(len(roots), edges)
    produced: list[Part] = []
    others: list[Part] = []
    removals: list[Removal] = []
    for item, unit_of in zip(layers, at, strict=True):
        module, name, out = item.dep.target.module, names[item.dep.target.module], _makes(graph, item)
        owner = torch.full((_size(module, out),), -1)
        owner[torch.tensor(item.idxs)] = unit[torch.tensor(unit_of)]
        removals.append(Removal(name, item.dep.handler, owner))
        for parameter, dim in _dimensions(module, out):
            part = Part(f"{name}.{parameter}", dim, owner[: module.get_parameter(parameter).shape[dim]])
            is_weight = dim == 0 and parameter == "weight" and not isinstance(module, nn.modules.batchnorm._NormBase)
            (produced if is_weight and not isinstance(module, nn.PReLU) else others).append(part)
    yield Units(produced[0].parameter, int(unit.max()) + 1, tuple(produced), tuple(others), tuple(removals))


def _has_channels(module: nn.Module) -> bool:
    """Whether a module holds something of each channel; a PReLU may have one slope for all."""
    return isinstance(module, CHANNELWISE) and not (isinstance(module, nn.PReLU) and module.num_parameters == 1)


def _makes(graph: tp.DependencyGraph, item: Any) -> bool:
    """Whether an item is about the channels that a layer makes (a norm makes and reads the same)."""
    return bool(graph.is_out_channel_pruning_fn(item.dep.handler))


def _size(module: nn.Module, out: bool) -> int:
    if isinstance(module, nn.Linear):
        return module.out_features if out else module.in_features
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.out_channels if out else module.in_channels
    return int(getattr(module, "num_features", None) or module.num_parameters)  # type: ignore[arg-type]


def _dimensions(module: nn.Module, out: bool) -> list[tuple[str, int]]:
    """Return the parameters, and which dimension of each, that go with a module's channels."""
    if not out:
        return [("weight", 1)]
    return [(name, 0) for name, _ in module.named_parameters(recurse=False)]


def _ties(graph: tp.DependencyGraph, item: Any, unit_of: list[int]) -> list[tuple[int, int]] | None:
    """Return which units a grouped convolution couples, so that its groups stay equal; None where they cannot."""
    module = item.dep.target.module
    groups = getattr(module, "groups", 1)
    if groups == 1 or "Depthwise" in type(item.dep.handler.__self__).__name__:
        return []
    each = _size(module, _makes(graph, item)) // groups
    same: dict[int, list[int]] = {}
    for index, unit in zip(item.idxs, unit_of, strict=True):
        same.setdefault(index % each, []).append(unit)
    if any(len(units) != groups for units in same.values()):
        return None
    return [(units[0], other) for units in same.values() for other in units[1:]]


def _joined(count: int, edges: list[tuple[int, int]]) -> Tensor:
    """Return the number of each position's unit, where edges tie positions together."""
    ends = np.array(edges, dtype=int).reshape(-1, 2)
    graph = coo_array(  # type: ignore[no-untyped-call]
        (np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count)
    )
    labels = connected_components(graph, directed=False)[1]
    # In the order of their first position, as scores are ranked.
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return torch.from_numpy(first.argsort().argsort()[inverse])
