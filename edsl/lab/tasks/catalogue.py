"""What optimizers race on: one file each, one line of registration here.

A task is called by its name, or by NAME:FOLDER where its data can come from a folder of yours. The
folder can stand in the environment variable EDSL_DATA instead. A collection needs a part's name too, NAME:PART or
NAME:PART:FOLDER. One of your own is FILE.py or FILE.py:NAME, a name
that a package registers, or a `Task` itself: `edsl.lab.tasks.own`.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from edsl.errors import EdslError, nearest, shown
from edsl.lab.tasks.installed import installed
from edsl.lab.tasks.task import Task

# name: (place of a Task, or of a function from a folder or None to one; what it is)
TASKS = {
    "digits": (
        "edsl.lab.tasks.digits:DIGITS",
        "scikit-learn's handwritten digits, 1,257 training images; models mlp, cnn, linear",
    ),
    "cancer": (
        "edsl.lab.tasks.cancer:CANCER",
        "scikit-learn's breast cancer data, 398 training patients of 30 numbers; models mlp, linear",
    ),
    "mnist1d": (
        "edsl.lab.tasks.mnist1d:MNIST1D",
        "MNIST-1D, 16,000 generated training curves of 40 points; models mlp, cnn, gru",
    ),
    "sine": ("edsl.lab.tasks.sine:SINE", "y = sin x + noise on [-10, 10], 32,768 training samples; model mlp"),
    "bytes": (
        "edsl.lab.tasks.python_bytes:BYTES",
        "Python's standard library as text, 10 MB of bytes; models tiny, small, large: GPTs of 0.1M to 10M; moe",
    ),
    "cartpole": (
        "edsl.lab.tasks.cartpole:CARTPOLE",
        "a pole is balanced by actor and critic, gymnasium's CartPole-v1 (extra rl), 16 episodes a step; model mlp",
    ),
    "cifar10": (
        "edsl.lab.tasks.cifar:cifar10",
        "CIFAR-10 through datasets, or cifar10:FOLDER, 45,000 training images; models resnet20, resnet18, vgg16",
    ),
    "cifar100": (
        "edsl.lab.tasks.cifar:cifar100",
        "CIFAR-100 through datasets, or cifar100:FOLDER, 45,000 training images; models resnet20, resnet18, vgg16",
    ),
    "text": (
        "edsl.lab.tasks.text:text",
        "all text files of a folder, text:FOLDER; models gpt2 (124M) and gpt2-medium (355M)",
    ),
    "wikitext": (
        "edsl.lab.tasks.text:wikitext",
        "WikiText-103 through datasets, or wikitext:FOLDER; models gpt2 (124M) and gpt2-medium (355M)",
    ),
    "glue": (
        "edsl.lab.tasks.finetuning:glue",
        "GLUE's texts through datasets, glue:mrpc, or glue:mrpc:FOLDER; models bert-base, bert-base-cased, or a folder",
    ),
    "imdb": (
        "edsl.lab.tasks.finetuning:imdb",
        "IMDB's reviews through datasets, or imdb:FOLDER; models bert-base, bert-base-cased, or a folder",
    ),
    "conll2003": (
        "edsl.lab.tasks.finetuning:conll2003",
        "names in news through datasets, or conll2003:FOLDER; models bert-base-cased, bert-base, or a folder",
    ),
    "imagenet": (
        "edsl.lab.tasks.imagenet:imagenet",
        "photographs in folders of classes, imagenet:FOLDER; models resnet34, resnet50",
    ),
    "lightbench": (
        "edsl.lab.tasks.lightbench:lightbench",
        "a problem of the package lightbench, lightbench:NAME or lightbench:NAME:DIFFICULTY; model own",
    ),
    "quadratic": (
        "edsl.lab.tasks.quadratic:QUADRATIC",
        "least squares in 50 dimensions, condition 1000, noisy, its optimum known; model linear",
    ),
    "logistic": (
        "edsl.lab.tasks.logistic:LOGISTIC",
        "logistic regression in 30 dimensions with an L2 penalty, its optimum known; model linear",
    ),
    "cardioid": ("edsl.lab.tasks.landscapes:CARDIOID", "a point in the plane, with a closed valley; model point"),
    "rosenbrock": ("edsl.lab.tasks.landscapes:ROSENBROCK", "a point in the plane, with a curved valley; model point"),
    "f1": ("edsl.lab.tasks.landscapes:F1", "a point on a line, minima ever lower and flatter; model point"),
    "f2": ("edsl.lab.tasks.landscapes:F2", "a point on a line, a wide minimum between narrow ones; model point"),
}

PARTS = {"glue": ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")}  # of collections
NAMED_BY_OTHERS = ("lightbench",)  # collections whose parts another package names


def task(name: str | Task) -> Task:
    """The task of this name, such as "digits", "text:/data/books" or "./mytask.py"; or one made in Python, checked.

    Raises:
        EdslError: for an unknown task, a folder that isn't there or holds nothing, one given to a task that takes
            none, or a file that holds no task.
    """
    from edsl.lab.tasks import own
    from edsl.language.registry.stages import load

    if not isinstance(name, str):
        return name if _is_built_in(name) else own.from_object(name)
    if own.is_file(name):
        return own.from_file(name)
    word, colon, folder = name.partition(":")
    if word not in TASKS:
        if name in installed():
            return own.from_package(name)
        known = [*TASKS, *installed()]
        hint = "; a task of your own is a Python file, such as mytask.py" if set(r"./\\") & set(word) else ""
        if Path(f"{word}.py").is_file():
            raise EdslError(f"unknown task {shown(word)}; of the file here write {word}.py")
        raise EdslError(f"unknown task {shown(word)}; {nearest(word, known, 'tasks')}{hint}")
    found = load(TASKS[word][0])
    if word in NAMED_BY_OTHERS:
        return found(folder)
    if word in PARTS:
        part, colon, folder = folder.partition(":")
        if part not in PARTS[word]:
            asked = f"unknown part {shown(part)}" if part else f"name a part, such as {word}:{PARTS[word][0]}"
            raise EdslError(f"task {word}: {asked}; {nearest(part, PARTS[word], 'parts')}")
        word, found = f"{word}:{part}", partial(found, part)
    if isinstance(found, Task):
        if colon:
            hint = f"; its model {folder} is --model {folder}" if folder in found.builders else ""
            raise EdslError(f"task {word} takes no folder, got {shown(name)}{hint}")
        return found
    folder = folder if colon else os.environ.get("EDSL_DATA", "")
    if colon and not folder:
        raise EdslError(f"task {word}: name a folder after the colon, such as {word}:/data/{word.rpartition(':')[2]}")
    return found(_checked(word, Path(folder)) if folder else None)


def _is_built_in(found: Any) -> bool:
    """Whether a task is one of these, rather than one that is only called as they are."""
    name = getattr(found, "name", "")
    try:
        return isinstance(name, str) and name.partition(":")[0] in TASKS and task(name) is found
    except EdslError:
        return False


def _checked(word: str, folder: Path) -> Path:
    """A folder that holds something."""
    try:
        if next(folder.iterdir(), None) is None:
            raise EdslError(f"task {word}: the folder {folder} is empty")
    except OSError as reason:
        raise EdslError(f"task {word}: {folder} is no folder that can be read: {reason.strerror or reason}") from None
    return folder
