"""`bytes`: a GPT on the Python standard library's own source text, byte by byte."""

from __future__ import annotations

import sysconfig
from functools import lru_cache
from pathlib import Path

import numpy as np

from edsl.lab.data.windows import next_token_loss, windows
from edsl.lab.models.decoder import Decoder
from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.task import Data, Scale, Task

LENGTH = 128  # bytes of a row
VALIDATION, TEST = 128, 512  # rows
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


@lru_cache(maxsize=1)
def data() -> Data:
    """Rows of 128 bytes; of every ten files eight are for training, one for validation, one for the test.

    About 78,000 training rows; validation is 128 rows and the test 512, evenly from their files. The
    text is that of the Python that runs: another version has another.
    """
    files = sources(Path(sysconfig.get_path("stdlib")))
    validation, test = files[4::10], files[9::10]
    held = {*validation, *test}
    train = [file for file in files if file not in held]
    return Data(
        windows(_read(train), LENGTH),
        windows(_read(validation), LENGTH, VALIDATION),
        windows(_read(test), LENGTH, TEST),
    )


def sources(library: Path) -> list[Path]:
    """The standard library's files, without its tests and what is installed beside it, in the order of their names."""
    files = (file.relative_to(library) for file in library.rglob("*.py"))
    return [library / file for file in sorted(files) if not LEFT_OUT & set(file.parts)]


def _read(files: list[Path]) -> np.ndarray:
    return np.frombuffer(b"".join(file.read_bytes() for file in files), dtype=np.uint8)


def tiny() -> Decoder:
    """2 layers, 64 wide, 2 heads: 124,672 parameters."""
    return Decoder(256, LENGTH, width=64, depth=2, heads=2)


def small() -> Decoder:
    """5 layers, 128 wide, 4 heads: 1,040,768 parameters."""
    return Decoder(256, LENGTH, width=128, depth=5, heads=4)


def large() -> Decoder:
    """8 layers, 320 wide, 5 heads: 9,987,200 parameters."""
    return Decoder(256, LENGTH, width=320, depth=8, heads=5, fused=True)


def moe() -> Decoder:
    """As `tiny`, with 4 experts in each block, of which a byte takes two: 323,712 parameters, 191,360 for each byte."""
    return Decoder(256, LENGTH, width=64, depth=2, heads=2, experts=4)


BYTES = Task(
    name="bytes",
    data=data,
    models={"tiny": tiny, "small": small, "large": large, "moe": moe},
    loss=next_token_loss,
    accuracy=None,
    batch=32,
    steps=300,
    about=TASKS["bytes"][1],
    scale=Scale(micro_batch=512),
    evaluated=TEST,
)
