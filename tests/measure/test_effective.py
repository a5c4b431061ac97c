"""Effective sparsity against searches of the graph of single connections."""

import itertools
from collections import defaultdict
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from bench.masks import Masks
from bench.measure.effective import effective_sparsity
from bench.models import digits_net, resnet, vgg
from criteria.tools.parameters import prunable
from tests.helpers import same, weights


def masks_of(model: nn.Module, density: float, seed: int = 0) -> Masks:
    g = torch.Generator().manual_seed(seed)
    return {name: torch.rand(p.shape, generator=g) < density for name, p in prunable(model).items()}


def ones(model: nn.Module) -> Masks:
    return masks_of(model, 2.0)


class Graph:
    """Connections between single units, each labelled by the weight entry that it uses (or none)."""

    def __init__(self) -> None:
        self.edges: list[tuple[object, object, tuple[object, ...] | None]] = []

    def used(self, inputs: set[object], outputs: set[object]) -> tuple[set[object], bool]:
        """Return the labels on some path from an input to an output, and whether there is no path."""
        after = reached(inputs, [(a, b) for a, b, _ in self.edges])
        before = reached(outputs, [(b, a) for a, b, _ in self.edges])
        return {label for a, b, label in self.edges if label and a in after and b in before}, not after & outputs


def reached(start: set[object], edges: list[tuple[object, object]]) -> set[object]:
    following = defaultdict(list)
    for a, b in edges:
        following[a].append(b)
    found, todo = set(start), list(start)
    while todo:
        new = [b for b in following[todo.pop()] if b not in found]
        found.update(new)
        todo += new
    return found


def expected(graph: Graph, inputs: set[object], outputs: set[object], masks: Masks) -> tuple[float, bool]:
    used, disconnected = graph.used(inputs, outputs)
    return 1 - len(used) / sum(mask.numel() for mask in masks.values()), disconnected


# Linear layers

DENSITY = st.floats(0, 1)
SEED = st.integers(0, 2**32)


def mlp(widths: list[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), DENSITY, SEED)
@settings(max_examples=80)
def test_mlps_against_a_search(widths: list[int], density: float, seed: int) -> None:
    model = mlp(widths)
    masks, graph = masks_of(model, density, seed), Graph()
    for layer, (name, mask) in enumerate(masks.items()):
        graph.edges += [((layer, i), (layer + 1, o), (name, o, i)) for o, i in mask.nonzero().tolist()]
    inputs = {(0, i) for i in range(widths[0])}
    outputs = {(len(widths) - 1, o) for o in range(widths[-1])}
    got = effective_sparsity(model, masks, torch.ones(1, widths[0]))
    assert got == (*expected(graph, inputs, outputs, masks), None)


# Convolutions, pooling, a residual addition


class Small(nn.Module):
    """conv, BN, ReLU, pooling; then a branch that may be added to what it started from; then a linear layer."""

    def __init__(
        self, channels: int, kernel: int, stride: int, padding: int, groups: int, pool: int, add: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, channels, kernel, stride, padding, groups=groups)
        self.bn = nn.BatchNorm2d(channels)
        self.pool = pool
        self.branch = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.add = add
        side = ((5 + 2 * padding - kernel) // stride + 1) // pool
        self.linear = nn.Linear(channels * side * side, 2)
        nn.init.constant_(self.bn.bias, 3.0)  # a shift revives no path
        nn.init.constant_(self.bn.running_mean, -2.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn(self.conv(x))), self.pool)
        y = torch.relu(self.branch(x))
        return self.linear(((x + y) if self.add else y).flatten(1))  # type: ignore[no-any-return]


def conv_edges(graph: Graph, name: str, conv: nn.Conv2d, mask: Tensor, source: str, target: str, side: int) -> int:
    """Add the connections of a convolution over a square of `side`; return the side of its output."""
    after = (side + 2 * conv.padding[0] - conv.kernel_size[0]) // conv.stride[0] + 1
    per_group = conv.out_channels // conv.groups
    for o, i, ky, kx in mask.nonzero().tolist():
        channel = o // per_group * mask.shape[1] + i
        for y in range(after):
            for x in range(after):
                from_y, from_x = (at * conv.stride[0] + k - conv.padding[0] for at, k in ((y, ky), (x, kx)))
                if 0 <= from_y < side and 0 <= from_x < side:
                    graph.edges.append(((source, channel, from_y, from_x), (target, o, y, x), (name, o, i, ky, kx)))
    return after


@given(
    st.tuples(*(st.integers(1, n) for n in (2, 3, 2)), st.integers(0, 1), st.integers(1, 2), st.integers(1, 2)),
    st.booleans(),
    DENSITY,
    SEED,
)
@settings(max_examples=80)
def test_small_convolutional_networks_against_a_search(
    sizes: tuple[int, ...], add: bool, density: float, seed: int
) -> None:
    half, kernel, stride, padding, groups, pool = sizes
    channels = 2 * half
    pool = min(pool, (5 + 2 * padding - kernel) // stride + 1)
    model = Small(channels, kernel, stride, padding, groups, pool, add)
    masks, graph = masks_of(model, density, seed), Graph()
    side = conv_edges(graph, "conv", model.conv, masks["conv.weight"], "input", "map", 5)
    pooled = side // pool
    for c in range(channels):
        for y in range(pooled * pool):
            for x in range(pooled * pool):
                graph.edges.append((("map", c, y, x), ("pooled", c, y // pool, x // pool), None))
    conv_edges(graph, "branch", model.branch, masks["branch.weight"], "pooled", "sum", pooled)
    for c, y, x in torch.ones(channels, pooled, pooled).nonzero().tolist():
        if add:
            graph.edges.append((("pooled", c, y, x), ("sum", c, y, x), None))
        flat = (c * pooled + y) * pooled + x
        for o in masks["linear.weight"][:, flat].nonzero().flatten().tolist():
            graph.edges.append((("sum", c, y, x), ("output", o), ("linear", o, flat)))
    inputs = {("input", c, y, x) for c in range(2) for y in range(5) for x in range(5)}
    got = effective_sparsity(model, masks, torch.ones(1, 2, 5, 5))
    assert got == (*expected(graph, inputs, {("output", 0), ("output", 1)}, masks), None)


# Deep networks, whose counts of paths no number type holds: reachability, one layer after the other


def flags(values: Tensor) -> Tensor:
    return (values > 0).double()


def reachable_share(model: nn.Module, masks: Masks, side: int) -> tuple[float, bool]:
    """A CIFAR ResNet's (effective sparsity, disconnected), from what is reached forwards and backwards."""
    names = {id(module): f"{name}.weight" for name, module in model.named_modules()}
    tape: list[tuple[nn.Conv2d, Tensor]] = []
    used = 0

    def forwards(conv: nn.Conv2d, x: Tensor) -> Tensor:
        tape.append((conv, x))
        return flags(F.conv2d(x, masks[names[id(conv)]].double(), stride=conv.stride, padding=conv.padding))

    def backwards(needed: Tensor) -> Tensor:
        nonlocal used
        conv, x = tape.pop()
        mask = masks[names[id(conv)]]
        used += int((mask & (conv2d_weight(x, mask.shape, needed, conv.stride, conv.padding) > 0)).sum())
        return flags(conv2d_input(x.shape, mask.double(), needed, conv.stride, conv.padding))

    blocks = [block for stage in (model.stage1, model.stage2, model.stage3) for block in stage]
    x = forwards(model.conv, torch.ones(1, 3, side, side, dtype=torch.float64))
    starts = []
    for block in blocks:
        starts.append(x)
        out = forwards(block.conv2, forwards(block.conv1, x))
        x = flags(out + block._shortcut(x, out.shape[1]))
    linear, features = masks["linear.weight"], x.mean((2, 3)) > 0
    used += int((linear & features).sum())
    needed = flags(linear.double().sum(0))[None, :, None, None].expand_as(x).contiguous()
    for block, start in zip(reversed(blocks), reversed(starts), strict=True):
        channels = needed.shape[1]
        through_shortcut = torch.autograd.functional.vjp(
            lambda x, n=channels, b=block: b._shortcut(x, n), start, needed
        )[1]
        needed = flags(backwards(backwards(needed)) + through_shortcut)
    backwards(needed)
    return 1 - used / sum(mask.numel() for mask in masks.values()), not (linear & features).any()


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.98, 0.99, 0.995, 0.998])
@pytest.mark.parametrize("depth", [20, 110])
def test_deep_residual_networks_neither_overflow_nor_underflow(depth: int, sparsity: float) -> None:
    model = resnet.resnet((3, 8, 8), 10, depth=depth)
    for seed in range(2):
        masks = masks_of(model, 1 - sparsity, seed)
        if seed:  # a stage that almost nothing passes, a branch that nothing passes
            masks["stage1.2.conv1.weight"][1:] = False
            masks["stage2.0.conv2.weight"][:] = False
        got = effective_sparsity(model, masks, torch.ones(1, 3, 8, 8))
        assert got == (*reachable_share(model, masks, 8), None)


def test_a_branch_that_is_all_zero_costs_its_own_weights_alone() -> None:
    """Its values are 0 and must not be scaled up: 0 times infinity is no path."""
    model = resnet.resnet((3, 8, 8), 10, depth=20)
    masks = ones(model)
    masks["stage2.1.conv1.weight"][:] = False
    lost = 2 * masks["stage2.1.conv1.weight"].numel()
    total = sum(mask.numel() for mask in masks.values())
    assert effective_sparsity(model, masks, torch.ones(1, 3, 8, 8)) == (pytest.approx(lost / total), False, None)


@pytest.mark.parametrize("sparsity", [0.0, 0.8, 0.9])
def test_plain_deep_networks_neither_overflow_nor_underflow(sparsity: float) -> None:
    """200 layers of width 50: dense, more than 10^330 paths lead to each output but the first, and none to that."""
    model = mlp([50] * 201)
    masks = masks_of(model, 1 - sparsity)
    for mask in masks.values():
        mask[0] = False
    after, before, layers = [torch.ones(50)], [torch.ones(50)], list(masks.values())
    for mask in layers:
        after.append(((mask.float() @ after[-1]) > 0).float())
    for mask in reversed(layers):
        before.append(((mask.float().T @ before[-1]) > 0).float())
    used = sum(int((mask & before[199 - i].bool()[:, None] & after[i].bool()).sum()) for i, mask in enumerate(layers))
    assert effective_sparsity(model, masks, torch.ones(1, 50))[:2] == (1 - used / (200 * 2500), False)


@pytest.mark.parametrize("factory", [digits_net.digits_net, vgg.vgg])
def test_dense_built_in_networks_have_no_dead_weight(factory: Callable[..., nn.Module]) -> None:
    shape = (1, 8, 8) if factory is digits_net.digits_net else (3, 32, 32)
    model = factory(shape, 10)
    masks = ones(model)
    got = effective_sparsity(model, masks, torch.ones(1, *shape))
    # The last stage of VGG sees 2x2 pixels, so every kernel position still meets one.
    assert got == (0.0, False, None)


# Edges of the definition


def test_unlike_masks_of_equal_sparsity() -> None:
    model = mlp([4, 4, 4])
    masks = {name: torch.zeros(4, 4, dtype=torch.bool) for name in ("0.weight", "2.weight")}
    masks["0.weight"][0], masks["2.weight"][:, 0] = True, True  # all through the first unit
    assert effective_sparsity(model, masks, torch.ones(1, 4)) == (0.75, False, None)
    masks["2.weight"] = masks["2.weight"].roll(1, dims=1)  # the second layer listens to another
    assert effective_sparsity(model, masks, torch.ones(1, 4)) == (1.0, True, None)


def test_biases_do_not_revive_a_path() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).eval()
    for p in model.parameters():
        nn.init.constant_(p, 5.0)
    masks = ones(model)
    masks["0.weight"][:] = False
    assert effective_sparsity(model, masks, torch.ones(1, 3)) == (1.0, True, None)


def test_signs_do_not_cancel() -> None:
    model = mlp([2, 2, 1])
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
        model[2].weight.copy_(torch.tensor([[1.0, 1.0]]))
    assert effective_sparsity(model, ones(model), torch.ones(1, 2)) == (0.0, False, None)


def test_a_layer_that_was_excluded_counts_as_dense_and_is_not_in_the_share() -> None:
    model = mlp([4, 4, 4])
    masks = {"2.weight": torch.zeros(4, 4, dtype=torch.bool)}
    masks["2.weight"][0] = True
    assert effective_sparsity(model, masks, torch.ones(1, 4)) == (0.75, False, None)


def test_a_tied_weight_is_used_if_any_of_its_layers_uses_it() -> None:
    model = mlp([3, 3, 3])
    model[2].weight = model[0].weight
    masks = {"0.weight": torch.tensor([[True, False, False], [False, True, True], [False, False, False]])}
    # 0 -> 0 -> 0; 1 -> 1 -> 1; 2 -> 1 -> 1: all three entries lie on a path.
    assert effective_sparsity(model, masks, torch.ones(1, 3)) == (pytest.approx(6 / 9), False, None)


ACTIVATIONS = [
    *(nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.SELU, nn.CELU, nn.LeakyReLU, nn.Hardswish, nn.PReLU),
    *(nn.Hardsigmoid, nn.Hardtanh, nn.Softplus, nn.Sigmoid, nn.Tanh, nn.LogSigmoid, nn.Softsign, nn.Tanhshrink),
    *(nn.Hardshrink, nn.Softshrink, nn.RReLU, nn.Identity, nn.Dropout, nn.AlphaDropout),
    *(nn.Dropout1d, nn.Dropout2d, nn.FeatureAlphaDropout),
    *(lambda: nn.Threshold(0.1, 7.0), lambda: nn.ReLU(inplace=True), lambda: nn.Softmax(1), lambda: nn.Softmin(1)),
    *(lambda: nn.LogSoftmax(1), lambda: nn.LayerNorm(4), lambda: nn.RMSNorm(4), lambda: nn.GroupNorm(2, 4)),
    *(lambda: nn.BatchNorm1d(4), lambda: nn.BatchNorm1d(4, track_running_stats=False)),
]
FUNCTIONS: list[Callable[[Tensor], Tensor]] = [
    *(F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.gelu, F.silu, torch.sigmoid, Tensor.sigmoid_),
    *(torch.tanh, Tensor.tanh, Tensor.tanh_, lambda x: x.softmax(1), lambda x: torch.log_softmax(x, 1)),
    *(lambda x: F.relu(x, inplace=True), lambda x: F.dropout(x, 0.5), lambda x: F.normalize(x), F.relu6),
]


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, *(lambda f=f: Function(f) for f in FUNCTIONS)])
def test_activations_and_norms_let_every_path_pass_and_make_none(activation: Callable[[], nn.Module]) -> None:
    model = mlp([4, 4, 2], activation)
    masks = ones(model)
    masks["0.weight"][0] = False  # no path reaches unit 0, so its two outgoing weights are dead too
    masks["0.weight"][1, 1:] = False
    got = effective_sparsity(model, masks, torch.ones(1, 4))
    assert got == (1 - (1 + 8 + 2 * 3) / 24, False, None)
    assert effective_sparsity(model, ones(model), torch.ones(1, 4)) == (0.0, False, None)


POOLS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "module": (nn.MaxPool2d(2), 2),
    "function": (lambda x: F.max_pool2d(x, 2), 2),
    "torch": (lambda x: torch.max_pool2d(x, 2), 2),
    "keywords": (lambda x: F.max_pool2d(input=x, kernel_size=2, stride=2), 2),
    "ceiling": (nn.MaxPool2d(3, 3, ceil_mode=True), 2),
    "padded": (nn.MaxPool2d(3, 2, padding=1), 2),
    "adaptive": (nn.AdaptiveMaxPool2d(2), 2),
    "dilation of one": (nn.MaxPool2d(2, dilation=(1, 1)), 2),
    "average": (nn.AvgPool2d(2), 2),
}


@pytest.mark.parametrize("pool", POOLS)
def test_max_pooling_lets_every_input_of_a_window_pass(pool: str) -> None:
    """A maximum of counts would let the largest alone pass."""
    function, side = POOLS[pool]
    model = nn.Sequential(
        nn.Conv2d(1, 1, 3, padding=1, bias=False), Function(function), nn.Flatten(), nn.Linear(side * side, 1)
    )
    got = effective_sparsity(model, ones(model), torch.ones(1, 1, 4, 4))
    assert got == (0.0, False, None)
    # The kernel's corner alone sees black outside the image at some positions, and other windows still pass.
    masks = ones(model)
    masks["0.weight"][:] = False
    masks["0.weight"][0, 0, 0, 0] = True
    assert effective_sparsity(model, masks, torch.ones(1, 1, 4, 4)) == (pytest.approx(8 / 13), False, None)


def test_max_pooling_in_one_and_three_dimensions() -> None:
    for model, shape in (
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(4, 2)), (1, 6)),
        (nn.Sequential(nn.Conv3d(1, 2, 1), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(2, 2)), (1, 2, 2, 2)),
    ):
        assert effective_sparsity(model, ones(model), torch.ones(1, *shape)) == (0.0, False, None)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: F.max_pool2d(x, 2, dilation=2), "dilated max pooling"),
        (lambda x: torch.max_pool2d(x, 2, 2, 0, 2), "dilated max pooling"),
        (lambda x: F.max_pool2d(x, 2, return_indices=True)[0], "max pooling that returns indices"),
        (lambda x: F.scaled_dot_product_attention(x, x, x), "attention"),
    ],
)
def test_what_cannot_be_counted_is_null_with_a_reason(function: Callable[[Tensor], Tensor], reason: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3), Function(function))
    got = effective_sparsity(model, ones(model), torch.ones(1, 1, 6, 6))
    assert got == (None, None, f"paths through {reason} are not counted")


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_is_null_with_a_reason(need_weights: bool) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=need_weights)[0]  # type: ignore[no-any-return]

    reason = "paths through attention are not counted"
    for model in (Attention(), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)):
        assert effective_sparsity(model, ones(model), torch.ones(1, 3, 4)) == (None, None, reason)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_alone(training: bool) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(0.5)).train(training)
    before, masks = weights(model), masks_of(model, 0.5)
    kept = {name: mask.clone() for name, mask in masks.items()}
    effective_sparsity(model, masks, torch.ones(1, 1, 6, 6))
    assert same(before, weights(model))
    assert same(kept, masks)
    assert all(module.training == training for module in model.modules())
    assert all(p.grad is None and p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
