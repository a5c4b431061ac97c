"""The residual networks for CIFAR (He et al. 2016, arXiv:1512.03385, section 4.2): 6n + 2 layers, 16-32-64 channels."""

from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import UserError
from bench.models.kaiming import kaiming_


def resnet(input_shape: tuple[int, ...], num_classes: int, depth: int = 20) -> nn.Module:
    """Return a ResNet for images [C, H, W] of any size; depth 8, 20, 32, 44, 56, 110 or another 6n + 2."""
    if depth < 8 or depth % 6 != 2:
        raise UserError(f"resnet: depth={depth} is not 6n + 2; take 20, 32, 44, 56 or 110")
    return ResNet(input_shape[0], num_classes, blocks=(depth - 2) // 6)


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm, and a shortcut without parameters (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(out + self._shortcut(x, out.shape[1]))  # type: ignore[no-any-return]

    def _shortcut(self, x: Tensor, channels: int) -> Tensor:
        """Return every second pixel, the new channels filled with zeros; x itself where the shape stays."""
        if self.stride == 1 and channels == x.shape[1]:
            return x
        # Pooling by 1 takes the same pixels as a slice, whose gradient would come in another memory format than that
        # of the block: a tenth of a training step of ResNet-8.
        return F.pad(F.avg_pool2d(x, 1, self.stride), (0, 0, 0, 0, 0, channels - x.shape[1]))


class ResNet(nn.Module):
    """One convolution, three stages of `blocks` blocks, the mean over positions, one linear layer."""

    def __init__(self, channels: int, num_classes: int, blocks: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.stage1 = _stage(16, 16, 1, blocks)
        self.stage2 = _stage(16, 32, 2, blocks)
        self.stage3 = _stage(32, 64, 2, blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, num_classes)
        kaiming_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, C, H, W] to logits [B, num_classes]."""
        x = self.relu(self.bn(self.conv(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.linear(self.pool(x).flatten(1))  # type: ignore[no-any-return]


def _stage(inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(Block(inputs, outputs, stride), *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))
