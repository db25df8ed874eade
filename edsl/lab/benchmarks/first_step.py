"""How long an optimizer's first step takes in a process of its own: with nothing compiled yet, and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from edsl.errors import EdslError
from edsl.lab.benchmarks.contender import Contender, Entry, Gradients, Place
from edsl.lab.benchmarks.parameter_sets import Shape
from edsl.lab.trials.clock import Clock
from edsl.language.registry.plugins import load_plugin, loaded
from edsl.language.schedules.group import ANY_TOTAL
from edsl.optim.compile import compile

_CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "EDSL_CACHE_DIR")
LIMIT = 600  # seconds that a first step may take, with its process
_PROGRAM = "from edsl.lab.benchmarks.first_step import main; main()"


class TooSlow(EdslError):
    """A first step that took more than LIMIT."""


@dataclass(frozen=True)
class FirstStep:
    """Seconds of the first step, packages loaded and the optimizer built.

    Attributes:
        cold: with empty caches of compiled code.
        warm: in a second process, with what the first one left in them.
    """

    cold: float
    warm: float


def first_step(
    entry: Entry, shapes: dict[str, Shape], place: Place, threads: int, limit: float | None = None
) -> FirstStep:
    """Measure the first step of an optimizer in two fresh processes, one after the other.

    Args:
        limit: seconds that each may take, LIMIT if it is not given.

    Raises:
        TooSlow: when one takes more.
        EdslError: when the step fails there.
    """
    files = {sys.modules[stage.__module__].__file__ for stage in loaded().values()}
    task = {
        "entry": asdict(entry),
        "shapes": shapes,
        "place": asdict(place),
        "threads": threads,
        "plugins": sorted(os.path.abspath(file) for file in files if file),
    }
    with tempfile.TemporaryDirectory() as folder:
        seconds = LIMIT if limit is None else limit
        return FirstStep(_in_a_fresh_process(task, folder, seconds), _in_a_fresh_process(task, folder, seconds))


def _in_a_fresh_process(task: dict[str, Any], folder: str, limit: float) -> float:
    caches = {name: os.path.join(folder, name.lower()) for name in _CACHES}
    command = [sys.executable, "-c", _PROGRAM]
    environment = {**os.environ, **caches}
    try:
        done = subprocess.run(
            command,
            input=json.dumps(task),
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        raise TooSlow(f"its first step took more than {limit:g} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EdslError(f"a first step in a fresh process failed: {said[:200]}")
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """The fresh process: reads its task from stdin, prints the seconds."""
    task = json.load(sys.stdin)
    try:
        print(_timed(task))
    except EdslError as error:
        sys.exit(str(error))


def _timed(task: dict[str, Any]) -> float:
    torch.set_num_threads(task["threads"])
    for path in task["plugins"]:
        load_plugin(path)
    entry, place = Entry(**task["entry"]), Place(**task["place"])
    shapes = {name: tuple(shape) for name, shape in task["shapes"].items()}
    build = partial(compile, total_steps=ANY_TOTAL)
    gradients, contender = Gradients(shapes, place), Contender(entry, shapes, place, build)
    contender.prepare(gradients.tensors)
    clock = Clock(torch.device(place.device))
    began = clock.now()
    contender.step()
    return clock.now() - began
