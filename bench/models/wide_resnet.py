"""Wide residual networks (Zagoruyko and Komodakis 2016, arXiv:1605.07146): 6n + 4 layers, pre-activated."""

from torch import Tensor, nn

from bench.errors import UserError
from bench.models.kaiming import kaiming_


def wide_resnet(input_shape: tuple[int, ...], num_classes: int, depth: int = 28, width: int = 10) -> nn.Module:
    """Return WRN-depth-width for images [C, H, W]; depth is 6n + 4, width multiplies 16-32-64 channels."""
    if depth < 10 or depth % 6 != 4:
        raise UserError(f"wide_resnet: depth={depth} is not 6n + 4; take 16, 22, 28 or 40")
    return WideResNet(input_shape[0], num_classes, blocks=(depth - 4) // 6, width=width)


class Block(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions; a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        reshapes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if reshapes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        activated = self.relu1(self.bn1(x))
        out = self.conv2(self.relu2(self.bn2(self.conv1(activated))))
        # Where the shape changes, the shortcut too starts from the activated input, as in the authors' code.
        return out + (x if self.shortcut is None else self.shortcut(activated))  # type: ignore[no-any-return]


class WideResNet(nn.Module):
    """One convolution, three stages of `blocks` blocks, batch norm, the mean over positions, one linear layer."""

    def __init__(self, channels: int, num_classes: int, blocks: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.stage1 = _stage(16, 16 * width, 1, blocks)
        self.stage2 = _stage(16 * width, 32 * width, 2, blocks)
        self.stage3 = _stage(32 * width, 64 * width, 2, blocks)
        self.bn = nn.BatchNorm2d(64 * width)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64 * width, num_classes)
        kaiming_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, C, H, W] to logits [B, num_classes]."""
        x = self.stage3(self.stage2(self.stage1(self.conv(x))))
        return self.linear(self.pool(self.relu(self.bn(x))).flatten(1))  # type: ignore[no-any-return]


def _stage(inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(Block(inputs, outputs, stride), *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))
