"""Photographs in files, decoded when a batch asks for them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edsl.errors import EdslError, first_line

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, by channel
SHORT = 256 / 224  # the shorter side that a crop from the middle is taken from, in its own
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # of random crops: the share of the picture, and width over height
TRIES = 10  # of a random crop that lies within the picture
ENDINGS = (".jpeg", ".jpg", ".png", ".bmp", ".webp")
THREADS = min(8, os.cpu_count() or 1)  # that decode; Pillow lets others run meanwhile

Crop = tuple[float, float, float, float]  # left, top, right, bottom


class Pictures:
    """Rows of pictures, which stay in their files until `to` or `cropped` makes a tensor (rows, 3, size, size) of them.

    Args:
        task: its name, for errors.
        files: one a row.
        size: pixels on each side of what is cropped.
    """

    def __init__(self, task: str, files: Sequence[Path], size: int) -> None:
        self.task, self.files, self.size = task, files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Any) -> Pictures:
        """Some rows, for a slice or numbers of rows."""
        chosen = self.files[rows] if isinstance(rows, slice) else [self.files[row] for row in rows.tolist()]
        return Pictures(self.task, chosen, self.size)

    def split(self, size: int) -> list[Pictures]:
        """Parts of so many rows, in their order; the last may have fewer."""
        return [self[first : first + size] for first in range(0, len(self), size)]

    def to(self, device: Any) -> Tensor:
        """Crops from the middle, 224/256 of the shorter side, with mean 0 and deviation 1 over ImageNet."""
        return self._read([None] * len(self)).to(device)

    def cropped(self, generator: torch.Generator) -> Tensor:
        """Random crops of 8 to 100 % of each picture, flipped with chance ½: Szegedy et al. 2015.

        Args:
            generator: on the CPU; what it draws depends on the number of rows alone.
        """
        return self._read(torch.rand(len(self), 4 * TRIES + 1, generator=generator).tolist())

    def _read(self, draws: Sequence[list[float] | None]) -> Tensor:
        with ThreadPoolExecutor(THREADS) as pool:
            return torch.stack(list(pool.map(self._one, zip(self.files, draws))))

    def _one(self, row: tuple[Path, list[float] | None]) -> Tensor:
        """One picture, cropped as drawn, or from the middle."""
        file, draws = row
        image = opened(self.task, file)
        width, height = image.size
        crop = _middle(width, height) if draws is None else _random(width, height, draws)
        pixels = np.array(image.resize((self.size, self.size), 2, box=crop))  # 2: bilinear
        flipped = draws is not None and draws[-1] < 0.5
        found = torch.from_numpy(pixels).permute(2, 0, 1) / 255
        found = (found - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
        return found.flip(2) if flipped else found


def _middle(width: int, height: int) -> Crop:
    side = min(width, height) / SHORT
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2


def _random(width: int, height: int, draws: Sequence[float]) -> Crop:
    """The first of some crops that lies within the picture; the middle where none does."""
    for area, aspect, left, top in zip(*(iter(draws[:-1]),) * 4):
        share = width * height * (AREA[0] + area * (AREA[1] - AREA[0]))
        ratio = math.exp(math.log(ASPECT[0]) + aspect * math.log(ASPECT[1] / ASPECT[0]))
        w, h = math.sqrt(share * ratio), math.sqrt(share / ratio)
        if w <= width and h <= height:
            x, y = left * (width - w), top * (height - h)
            return x, y, x + w, y + h
    return _middle(width, height)


def opened(task: str, file: Path) -> Any:
    """A picture in red, green and blue.

    Raises:
        EdslError: without Pillow, or for a file that is no picture.
    """
    try:
        from PIL import Image
    except ImportError:
        raise EdslError(f"task {task} needs the package pillow: pip install 'edsl-optim[data]'") from None
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as reason:  # what Pillow raises of damaged files
        raise EdslError(f"task {task}: {file} is no picture that can be read ({first_line(reason, 80)})") from None


def by_class(task: str, folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class, FOLDER/CLASS/PICTURE, in the order of their names.

    Raises:
        EdslError: for a folder without classes, or a class without pictures.
    """
    classes = sorted(part for part in folder.iterdir() if part.is_dir() and not part.name.startswith("."))
    found = {
        place.name: sorted(file for file in place.iterdir() if file.suffix.lower() in ENDINGS) for place in classes
    }
    if not found:
        raise EdslError(f"task {task}: {folder} has no folders of classes: put pictures into {folder}/CLASS/")
    empty = next((name for name, files in found.items() if not files), None)
    if empty is not None:
        raise EdslError(f"task {task}: {folder / empty} holds no pictures ({', '.join(ENDINGS)})")
    return found
