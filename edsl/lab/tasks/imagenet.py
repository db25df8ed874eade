"""`imagenet:FOLDER`: photographs in folders of classes, as ImageNet's are (Russakovsky et al. 2015)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from edsl.errors import EdslError, either
from edsl.lab.data.pictures import Pictures, by_class, opened
from edsl.lab.models.resnet_imagenet import resnet34, resnet50
from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.classification import accuracy
from edsl.lab.tasks.task import Data, Scale, Split, Task

SIZE = 224  # most pixels of a side
HELD = 20  # one of so many training pictures is for validation
EVALUATED = 50_000  # rows; as many as ImageNet's own test has
TESTS = ("val", "validation", "test")  # what the folder of the test may be called


@cache
def imagenet(folder: Path | None) -> Task:
    """FOLDER/train/CLASS/PICTURE, of which one in 20 is for validation, and FOLDER/val/CLASS/PICTURE for the test.

    Crops have 224 pixels a side, or as many as the first picture's shorter side has where that is less.

    Raises:
        EdslError: without a folder.
    """
    if folder is None:
        raise EdslError("task imagenet: name a folder with train/CLASS/ and val/CLASS/, imagenet:FOLDER")
    return Task(
        name=f"imagenet:{folder}",
        data=cache(partial(_data, folder)),
        models={"resnet34": partial(_built, folder, resnet34), "resnet50": partial(_built, folder, resnet50)},
        loss=cross_entropy,
        accuracy=accuracy,
        batch=256,
        steps=450_000,  # 90 epochs of ImageNet, as Goyal et al. 2017
        about=TASKS["imagenet"][1],
        augment=_cropped,
        scale=Scale(autocast="bfloat16", micro_batch=256, compile_model=True),
        evaluated=EVALUATED,
    )


def _cropped(pictures: Pictures, generator: torch.Generator) -> Tensor:
    return pictures.cropped(generator)


def _built(folder: Path, network: Callable[[int], Any]) -> Any:
    return network(len(_classes(folder)))


@cache
def _classes(folder: Path) -> dict[str, list[Path]]:
    """The training pictures of each class."""
    if not (folder / "train").is_dir():
        raise EdslError(f"task imagenet: {folder} has no folder train, with pictures in train/CLASS/")
    return by_class("imagenet", folder / "train")


def _data(folder: Path) -> Data:
    classes = _classes(folder)
    size = min(SIZE, *opened("imagenet", next(iter(classes.values()))[0]).size)
    place = next((folder / name for name in TESTS if (folder / name).is_dir()), None)
    if place is None:
        raise EdslError(f"task imagenet: {folder} has no folder {either(TESTS)}, with pictures in val/CLASS/")
    tests = by_class("imagenet", place)
    unknown = next((name for name in tests if name not in classes), None)
    if unknown is not None:
        raise EdslError(f"task imagenet: {place / unknown} is of no class in {folder / 'train'}")
    numbers = {name: number for number, name in enumerate(classes)}
    train = _shuffled([(file, numbers[name]) for name, files in classes.items() for file in files])
    if len(train) < 2:
        raise EdslError(f"task imagenet: {folder / 'train'} holds one picture; training and validation need two")
    held = max(1, len(train) // HELD)
    parts = (train[held:], train[:held], _shuffled([(f, numbers[name]) for name in tests for f in tests[name]]))
    return Data(*(_split(part, size) for part in parts))


def _shuffled(rows: list[tuple[Path, int]]) -> list[tuple[Path, int]]:
    """In an order of their own, so that the first are a sample of all."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return [rows[place] for place in order.tolist()]


def _split(rows: list[tuple[Path, int]], size: int) -> Split:
    return Split(Pictures("imagenet", [file for file, _ in rows], size), torch.tensor([label for _, label in rows]))
