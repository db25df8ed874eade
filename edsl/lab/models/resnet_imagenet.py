"""Residual networks for photographs, He et al. 2016, table 1: ResNet-34 and ResNet-50."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from edsl.lab.models.resnet import Block, projection

WIDTHS = (64, 128, 256, 512)
DEPTHS = (3, 4, 6, 3)  # blocks of a stage, of both
WIDER = 4  # a bottleneck's output, in its width


def resnet34(classes: int) -> nn.Module:
    """Four stages of 3, 4, 6 and 3 blocks of two 3 × 3 convolutions: 21,797,672 parameters for 1,000 classes."""
    return ResNet(classes, Block, 1)


def resnet50(classes: int) -> nn.Module:
    """The same stages of bottlenecks, 25,557,032 parameters for 1,000 classes; the parameter set `resnet50`."""
    return ResNet(classes, Bottleneck, WIDER)


class ResNet(nn.Module):
    """A 7 × 7 convolution, four stages of blocks, each half as large, and a linear layer behind their mean.

    Args:
        wider: a block's output, in its width.
    """

    def __init__(self, classes: int, block: type[nn.Module], wider: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        channels = WIDTHS[0]
        for number, (width, depth) in enumerate(zip(WIDTHS, DEPTHS), start=1):
            first = block(channels, width, 1 if number == 1 else 2)
            channels = wider * width
            self.add_module(
                f"layer{number}", nn.Sequential(first, *(block(channels, width, 1) for _ in range(depth - 1)))
            )
        self.fc = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(examples, 3, height, width) → (examples, classes)."""
        x = self.maxpool(relu(self.bn1(self.conv1(images))))
        for number in range(1, len(WIDTHS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(x.mean((2, 3)))


class Bottleneck(nn.Module):
    """relu(x + convolutions of 1 × 1, 3 × 3 and 1 × 1), the stride in the middle one, as Goyal et al. 2017 have it."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = WIDER * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity() if channels == outputs else projection(channels, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = relu(self.bn1(self.conv1(x)))
        inner = relu(self.bn2(self.conv2(inner)))
        return relu(self.downsample(x) + self.bn3(self.conv3(inner)))
