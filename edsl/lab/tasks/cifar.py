"""`cifar10` and `cifar100`: Krizhevsky 2009, photographs of 32 × 32 pixels."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from edsl.errors import EdslError
from edsl.lab.data.hub import column, splits
from edsl.lab.models.resnet import ResNet18, ResNet20
from edsl.lab.models.vgg import Vgg16
from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.classification import accuracy
from edsl.lab.tasks.task import Data, Scale, Split, Task

SIZE = 32  # pixels
PADDING = 4  # pixels on each side, for crops
HELD = 10  # one of so many training images is for validation
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10's training pixels, by channel


@cache
def cifar10(folder: Path | None) -> Task:
    """50,000 training images (5,000 of them for validation) and 10,000 test images of 10 classes."""
    return _task("cifar10", "uoft-cs/cifar10", 10, folder)


@cache
def cifar100(folder: Path | None) -> Task:
    """As `cifar10`, of 100 classes."""
    return _task("cifar100", "uoft-cs/cifar100", 100, folder)


def _task(word: str, source: str, classes: int, folder: Path | None) -> Task:
    return Task(
        name=word if folder is None else f"{word}:{folder}",
        data=cache(partial(_data, word, source, classes, folder)),
        models={
            "resnet20": partial(ResNet20, classes),
            "resnet18": partial(ResNet18, classes),
            "vgg16": partial(Vgg16, classes),
        },
        loss=cross_entropy,
        accuracy=accuracy,
        batch=128,
        steps=64_000,  # as He et al. 2016
        about=TASKS[word][1],
        augment=cropped_and_flipped,
        scale=Scale(autocast="bfloat16", micro_batch=4096, compile_model=True),
    )


def _data(word: str, source: str, classes: int, folder: Path | None) -> Data:
    found = splits(word, source, folder, ("train", "test"))
    train, test = (_split(word, found[name], classes) for name in ("train", "test"))
    order = torch.randperm(len(train.inputs), generator=torch.Generator().manual_seed(0))
    held = len(order) // HELD
    kept, validation = (Split(train.inputs[rows], train.targets[rows]) for rows in (order[held:], order[:held]))
    return Data(kept, validation, test)


def _split(word: str, rows: Any, classes: int) -> Split:
    """Images (n, 3, 32, 32) with mean 0 and deviation 1, and labels (n,)."""
    images = column(word, rows, ("img", "image"))
    labels = torch.tensor(rows[column(word, rows, ("label", "fine_label"))][:], dtype=torch.int64)
    if len(labels) == 0 or not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise EdslError(f"task {word}: labels must lie in [0, {classes}), got {sorted(set(labels.tolist()))[-1:]}")
    pixels = torch.empty(len(labels), 3, SIZE, SIZE)
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    for place, image in enumerate(rows[images]):
        if image.size != (SIZE, SIZE):
            raise EdslError(f"task {word}: images must be {SIZE} × {SIZE}, got {image.size[0]} × {image.size[1]}")
        raw = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        pixels[place] = (raw / 255 - mean) / deviation
    return Split(pixels, labels)


def cropped_and_flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to 4 pixels, zeros coming in (which is the mean), and flipped with chance ½.

    Args:
        images: (n, channels, height, width), on any device.
        generator: on the CPU.
    """
    count, channels, height, width = images.shape
    top, left = torch.randint(2 * PADDING + 1, (2, count, 1), generator=generator)
    flipped = torch.rand(count, 1, generator=generator) < 0.5
    rows = top + torch.arange(height)
    columns = torch.arange(width).expand(count, -1)
    columns = left + torch.where(flipped, columns.flip(1), columns)
    places = [
        torch.arange(count)[:, None, None, None],
        torch.arange(channels)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
    padded = pad(images, (PADDING, PADDING, PADDING, PADDING))
    return padded[tuple(place.to(images.device) for place in places)]
