"""A task of one's own, checked before it is raced: what is wrong with it is said in one line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edsl.errors import EdslError, first_line, shown
from edsl.lab.data.rows import Rows
from edsl.lab.data.seeded import seeded
from edsl.lab.tasks.task import Data, Split, Task
from edsl.language.registry.blame import line_of

FEW = 8  # rows that a task is tried on
SHARES = (0.70, 0.15)  # of all rows, for training and validation; the rest is the test
_OF_NETWORKS = re.compile(r"Connect|Offline|LocalEntryNotFound|URLError|gaierror|MaxRetry|Timeout")


def prepared(task: Task, source: Any) -> Task:
    """The task with a name, and with data that are read once and are the same at each call, as a race needs it.

    Raises:
        EdslError: for a name that isn't one line of text.
    """
    name = task.name or (Path(source.path).stem if source.path else source.name)
    if not isinstance(name, str) or not name.isprintable():
        raise EdslError(f"task {source.label}: its name must be one line of text, got {shown(name)}")
    return replace(
        task,
        name=name,
        data=cache(partial(_data, task.data, source)),
        accuracy=None if task.accuracy is None else partial(_accuracy, task.accuracy),
        source=source,
    )


def check(task: Task, model: str | None) -> None:
    """Try a task's model, loss and accuracy on a few rows.

    Raises:
        EdslError: for whatever is wrong with it, in one line.
    """
    label = task.source.label
    _check_fields(task, label)
    train = task.data().train
    name, build = task.model(model)
    with seeded(0):
        made = tried(task, f"building the model {name}", build)
        if not isinstance(made, nn.Module):
            raise EdslError(f"task {label}: {name} must build a torch.nn.Module, got {shown(made)}")
        if not any(parameter.requires_grad for parameter in made.parameters()):
            raise EdslError(f"task {label}: the model {name} has no parameters to train")
        rows = torch.arange(min(FEW, len(train.inputs)))
        inputs, targets = (tried(task, "taking rows of its data", lambda part=part: part[rows]) for part in train)
        if task.augment is not None:
            inputs = tried(task, "augment", partial(task.augment, inputs, torch.Generator().manual_seed(0)))
        outputs = tried(task, f"the model {name}", partial(made, inputs))
        loss = tried(task, "the loss", partial(task.loss, outputs, targets))
        _check_loss(loss, label)
        tried(task, "the loss's backward()", loss.backward)
        if task.accuracy is not None:
            with torch.no_grad():
                share = tried(task, "the accuracy", partial(task.accuracy, outputs, targets))
            if not 0 <= share <= 1:
                raise EdslError(f"task {label}: the accuracy must lie in [0, 1], got {share:g}")


def tried(task: Task, what: str, call: Callable[[], Any]) -> Any:
    """What a function of the user's gives; raises EdslError where that raises."""
    try:
        return call()
    except EdslError:
        raise
    except Exception as reason:  # the user's own code may raise anything
        raise _blamed(task.source, what, reason) from None


def _blamed(source: Any, what: str, reason: BaseException) -> EdslError:
    line = line_of(reason, source.path) if source.path else ""
    hint = "; it needs a network: download once what it reads, and read it from there" if _is_offline(reason) else ""
    return EdslError(f"task {source.label}{line}: {what} raised {first_line(reason, 160)}{hint}")


def _is_offline(reason: BaseException) -> bool:
    cause: BaseException | None = reason
    while cause is not None:
        if any(_OF_NETWORKS.search(kind.__name__) for kind in type(cause).__mro__) or "onnect to" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _check_fields(task: Task, label: str) -> None:
    for name in ("batch", "steps"):
        value = getattr(task, name)
        if not isinstance(value, int) or value < 1:
            raise EdslError(f"task {label}: {name} must be a whole number of at least 1, got {shown(value)}")
    wanted = {**task.builders, "loss": task.loss} if task.builders else {"models": None}
    for name, value in wanted.items():
        if not callable(value):
            raise EdslError(f"task {label}: {name} must be a function, got {shown(value)}")


def _check_loss(loss: Any, label: str) -> None:
    if not isinstance(loss, Tensor) or loss.ndim:
        given = f"one of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else shown(loss)
        raise EdslError(f"task {label}: the loss must be a scalar tensor, the mean over examples, got {given}")
    if not math.isfinite(loss.item()):
        raise EdslError(f"task {label}: the loss of an untrained model is {loss.item()}; check data, model and loss")
    if not loss.requires_grad:
        raise EdslError(f"task {label}: the loss depends on no parameter; is something detached, or under no_grad?")


def _accuracy(function: Callable[[Any, Any], Any], outputs: Any, targets: Any) -> float:
    return float(function(outputs, targets))


def _data(given: Any, source: Any) -> Data:
    try:
        with seeded(0):
            found = given() if callable(given) else given
    except EdslError:
        raise
    except Exception as reason:  # the user's own code may raise anything
        raise _blamed(source, "data", reason) from None
    try:
        return _three(found)
    except EdslError as reason:
        raise EdslError(f"task {source.label}: {reason}") from None


def _three(found: Any) -> Data:
    """Three splits from three, or from one that is shared out."""
    if isinstance(found, (tuple, list)) and len(found) == 3:
        return Data(*(_split(part, name) for part, name in zip(found, Data._fields)))
    if isinstance(found, (tuple, list)) and len(found) == 2:
        return _shared_out(_split(found, "data"))
    raise EdslError(
        f"data must give (inputs, targets), or three such pairs for training, validation and test, got {_kind(found)}"
    )


def _split(pair: Any, name: str) -> Split:
    if isinstance(pair, torch.utils.data.Dataset):
        pair = torch.utils.data.default_collate([pair[place] for place in range(len(pair))])  # pyright: ignore[reportArgumentType]
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise EdslError(f"{name} must be a pair (inputs, targets), got {_kind(pair)}")
    inputs, targets = (_column(part, f"{which} of {name}") for part, which in zip(pair, Split._fields))
    if not len(inputs) or len(inputs) != len(targets):
        raise EdslError(f"{name} needs a target for each input, got {len(inputs)} inputs and {len(targets)} targets")
    return Split(inputs, targets)


def _column(part: Any, what: str) -> Any:
    """Rows that a batch can be taken from: numbers as a tensor, whole ones as int64, others as float32."""
    if isinstance(part, Mapping):
        part = Rows(**part)
    if hasattr(part, "to_numpy"):
        part = part.to_numpy()
    if isinstance(part, (list, tuple, np.ndarray)):
        try:
            part = torch.tensor(np.asarray(part))
        except (TypeError, ValueError):
            raise EdslError(f"{what} must be numbers, as many in each row, got {_kind(part)}") from None
        part = part.float() if part.dtype == torch.float64 else part.long() if part.dtype == torch.int32 else part
    if isinstance(part, Tensor):
        part = part.detach()
        if part.ndim and part.is_floating_point() and len(part):
            lost = int((~part.isfinite()).reshape(len(part), -1).any(1).sum())
            if lost:
                raise EdslError(f"{what} hold nan or infinity in {lost} of {len(part)} rows")
        if part.ndim:
            return part
    if isinstance(part, str) or not (hasattr(part, "__len__") and hasattr(part, "__getitem__")):
        raise EdslError(f"{what} must be a tensor, an array or edsl.Rows with one row an example, got {_kind(part)}")
    return part


def _shared_out(whole: Split) -> Data:
    """70 % for training, 15 % for validation, 15 % for the test, drawn by a fixed seed."""
    count = len(whole.inputs)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    first = int(SHARES[0] * count)
    second = first + int(SHARES[1] * count)
    parts = order[:first], order[first:second], order[second:]
    if not all(map(len, parts)):
        raise EdslError(f"{count} examples are too few to be split 70/15/15 %: give 7 or more, or three pairs")
    return Data(*(Split(whole.inputs[rows], whole.targets[rows]) for rows in parts))


def _kind(value: Any) -> str:
    """What a value is, in few words."""
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    return "nothing" if value is None else f"a {type(value).__name__}{shape}"
