"""`lightbench:NAME` and `lightbench:NAME:DIFFICULTY`: the problems of LightBench, HeavyBall's benchmark.

Each of its modules has a `main` that builds a model, a stream of batches and a loss, and hands them to its `trial`,
which tunes one of HeavyBall's optimizers. Here `main` is called with another `trial` in its place, which takes them for
a race. What its `trial` does beyond, its tuner and its conditions for a win, is not used: races rank by the loss.
"""

from __future__ import annotations

import inspect
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edsl.errors import EdslError, first_line, nearest, shown
from edsl.lab.data.seeded import seeded
from edsl.lab.tasks.catalogue import TASKS
from edsl.lab.tasks.task import Data, Split, Task

PACKAGE = "lightbench"
DIFFICULTIES = ("trivial", "easy", "medium", "hard", "extreme", "nightmare")
NO_PROBLEMS = ("create_", "format_", "generate_", "loss_contour", "merge_", "__")  # beginnings of its tools' names
BATCHES = {"train": 256, "validation": 16, "test": 16}  # drawn once of a stream: a row of the task is one of these
EVALUATED = 16  # rows
STEPS = 500


@dataclass(frozen=True)
class Problem:
    """What a module hands to its `trial`; data or loss may be None: then the model's output is the loss."""

    model: nn.Module
    data: Callable[[], tuple[Any, Any]] | None
    loss: Callable[[Any, Any], Tensor] | None


class _Caught(BaseException):
    """Ends a module's `main`, whatever errors that heeds."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


class OnCpu(TorchFunctionMode):
    """Inside, tensors that are asked for on a GPU are made on the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.cuda:
            return args[0]
        if "cuda" in str(kwargs.get("device", "")):
            kwargs["device"] = "cpu"
        if func is Tensor.to:
            args = tuple("cpu" if str(arg).startswith("cuda") else arg for arg in args)
        return func(*args, **kwargs)


@cache
def lightbench(name: str) -> Task:
    """A problem of LightBench. A row is a batch of its stream, so that a step takes one; 256 are drawn for training.

    Raises:
        EdslError: without the package, or for a problem or difficulty that it doesn't have.
    """
    problem, _, difficulty = name.partition(":")
    known = problems()
    if problem not in known:
        asked = f"unknown problem {shown(problem)}" if problem else "name a problem, such as lightbench:beale"
        raise EdslError(f"task lightbench: {asked}; {nearest(problem, known, 'problems')}")
    if difficulty and difficulty not in DIFFICULTIES:
        known = list(DIFFICULTIES)
        raise EdslError(
            f"task lightbench: unknown difficulty {shown(difficulty)}; {nearest(difficulty, known, 'known')}"
        )
    return Task(
        name=f"lightbench:{name}",
        data=cache(partial(_data, problem, difficulty)),
        models={"own": partial(_built, problem, difficulty)},
        loss=partial(_loss, problem, difficulty),
        batch=1,
        steps=STEPS,
        about=TASKS[PACKAGE][1],
        evaluated=EVALUATED,
    )


def problems() -> list[str]:
    """The names of all its problems; raises EdslError without the package."""
    try:
        package = import_module(PACKAGE)
    except ImportError:
        raise EdslError("the tasks of LightBench need it: pip install lightbench") from None
    return [name for name in package.available() if not name.startswith(NO_PROBLEMS)]


class Batches(nn.Module):
    """A problem's model on rows that are whole batches; (rows, …) of its outputs.

    It is left as it was by an evaluation, though it may count its calls.
    """

    def __init__(self, model: nn.Module, takes_inputs: bool) -> None:
        super().__init__()
        self.model, self.takes_inputs = model, takes_inputs

    def forward(self, rows: Tensor) -> Tensor:
        with _here(rows), nullcontext() if self.training else _left_as_it_is(self.model):
            return torch.stack([self.model(row) if self.takes_inputs else self.model() for row in rows])


def _built(problem: str, difficulty: str) -> nn.Module:
    found = _problem(problem, difficulty)
    return Batches(found.model, _takes_inputs(problem, difficulty))


def _loss(problem: str, difficulty: str, outputs: Tensor, targets: Tensor) -> Tensor:
    found = _first(problem, difficulty).loss
    if found is None:
        return outputs.mean()
    with _here(outputs):
        return torch.stack([found(output, target) for output, target in zip(outputs, targets)]).mean()


def _data(problem: str, difficulty: str) -> Data:
    draw = _first(problem, difficulty).data
    label = f"task lightbench:{problem}"
    try:
        with seeded(0), _without_gpu():
            found = Data(*(_split(draw, count) for count in BATCHES.values()))
            row = Split(*(part[:1] for part in found.train))
            _loss(problem, difficulty, _built(problem, difficulty)(row.inputs), row.targets).backward()
    except EdslError:
        raise
    except Exception as reason:  # another package's functions may raise anything
        raise EdslError(f"{label} can't be raced: {first_line(reason)}") from None
    return found


def _split(draw: Callable[[], tuple[Any, Any]] | None, count: int) -> Split:
    rows = [(None, None) if draw is None else draw() for _ in range(count)]
    inputs, targets = ([torch.zeros(1) if part is None else part.cpu() for part in parts] for parts in zip(*rows))
    return Split(torch.stack(inputs), torch.stack(targets))


def _takes_inputs(problem: str, difficulty: str) -> bool:
    draw = _first(problem, difficulty).data
    if draw is None:
        return False
    with seeded(0), _without_gpu():
        return draw()[0] is not None


@cache
def _first(problem: str, difficulty: str) -> Problem:
    """A problem's loss and stream, which don't depend on the seed."""
    with seeded(0):
        return _problem(problem, difficulty)


def _problem(name: str, difficulty: str) -> Problem:
    """What the module of this name hands to its `trial`; the model is drawn by torch's global seed, or its own."""
    label = f"task lightbench:{name}"
    try:
        with _settings_kept():
            module: Any = import_module(f"{PACKAGE}.{name}")
    except Exception as reason:  # another package's module may raise anything
        raise EdslError(f"{label} can't be loaded: {first_line(reason)}") from None
    before = getattr(module, "trial", None)
    if before is None or not callable(getattr(module, "main", None)):
        raise EdslError(f"{label} can't be raced: the module has no main that calls a trial")
    module.trial = _catch
    try:
        with _settings_kept(), _without_gpu(), _in_an_empty_folder():
            module.main(**_arguments(module.main, difficulty))
    except _Caught as caught:
        return caught.problem
    except Exception as reason:  # as above
        if type(reason).__name__ == "SkipConfig":
            raise EdslError(
                f"{label} has no difficulty {shown(difficulty or 'default')}: {first_line(reason)}"
            ) from None
        raise EdslError(f"{label} can't be built: {first_line(reason)}") from None
    finally:
        module.trial = before
    raise EdslError(f"{label} hands nothing to its trial: this LightBench has another interface")


def _catch(model: Any, data: Any = None, loss_fn: Any = None, *_: Any, dtype: Any = None, **__: Any) -> None:
    dtype = dtype[0] if isinstance(dtype, (list, tuple)) else dtype
    model = model.to(dtype=getattr(torch, dtype) if isinstance(dtype, str) else dtype)
    raise _Caught(Problem(model.train(), data, loss_fn))


def _arguments(main: Any, difficulty: str) -> dict[str, Any]:
    """What a module's `main` is called with: its own defaults, of options what they hold."""
    taken = inspect.signature(main).parameters
    found = {name: getattr(one.default, "default", one.default) for name, one in taken.items()}
    listed = isinstance(found.get("dtype"), (list, tuple))
    found |= {"dtype": ["float32"] if listed else "float32"} if "dtype" in found else {}
    return {**found, "config": difficulty or None} if "config" in found else found


@contextmanager
def _without_gpu() -> Iterator[None]:
    """Where there is no GPU, what asks for one gets the CPU."""
    if torch.cuda.is_available():
        yield
        return
    with OnCpu():
        yield


def _here(rows: Tensor) -> Any:
    return OnCpu() if rows.device.type == "cpu" else torch.device(rows.device)


@contextmanager
def _left_as_it_is(model: nn.Module) -> Iterator[None]:
    """What a model counts, keeps in lists and holds in buffers is the same afterwards.

    No deep copy: some models keep tensors that have a graph.
    """
    common = vars(nn.Module()).keys()
    parts = list(model.modules())
    own = [{name: _copied(value) for name, value in vars(part).items() if name not in common} for part in parts]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for part, held in zip(parts, own):
            vars(part).update(held)
        for buffer, before in buffers:
            buffer.detach().copy_(before)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    return copy(value) if isinstance(value, (list, dict, set, deque)) else value


@contextmanager
def _settings_kept() -> Iterator[None]:
    """HeavyBall sets torch's precision and cuDNN's choices as it is imported; other tasks keep theirs."""
    precision, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    certain = torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(certain)


@contextmanager
def _in_an_empty_folder() -> Iterator[None]:
    """Modules remove pictures from the folder that they run in, and print."""
    before, out = os.getcwd(), sys.stdout
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nothing:
        os.chdir(folder)
        sys.stdout = nothing
        try:
            yield
        finally:
            sys.stdout = out
            os.chdir(before)
