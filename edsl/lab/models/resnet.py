"""Residual networks for small images, He et al. 2016, section 4.2."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn.functional import relu


class ResNet20(nn.Module):
    """Three stages of three blocks, 16, 32 and 64 channels, with projections as shortcuts (option B).

    272,474 parameters for 10 classes, 278,324 for 100; the names are those of the parameter set `resnet20`.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16)
        self.layer2 = _stage(16, 32)
        self.layer3 = _stage(32, 64)
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(examples, 3, height, width) → (examples, classes)."""
        x = relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


class ResNet18(nn.Module):
    """The ImageNet network of section 4.1 on small images: its first convolution is 3 × 3 of stride 1, without pooling.

    Four stages of two blocks, 64 to 512 channels: 11,173,962 parameters for 10 classes, 11,220,132 for 100.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, blocks=2)
        self.layer2 = _stage(64, 128, blocks=2)
        self.layer3 = _stage(128, 256, blocks=2)
        self.layer4 = _stage(256, 512, blocks=2)
        self.fc = nn.Linear(512, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(examples, 3, height, width) → (examples, classes)."""
        x = relu(self.bn1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class Block(nn.Module):
    """relu(x + two 3 × 3 convolutions), where x is projected if the shape changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = nn.Identity() if channels == width else projection(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = relu(self.bn1(self.conv1(x)))
        return relu(self.downsample(x) + self.bn2(self.conv2(inner)))


def _stage(channels: int, width: int, blocks: int = 3) -> nn.Sequential:
    stride = 1 if channels == width else 2
    later = [Block(width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Block(channels, width, stride), *later)


def projection(channels: int, width: int, stride: int) -> nn.Sequential:
    """A shortcut where the shape changes: a 1 × 1 convolution and a norm."""
    layers = {"conv": nn.Conv2d(channels, width, 1, stride, bias=False), "norm": nn.BatchNorm2d(width)}
    return nn.Sequential(OrderedDict(layers))
