"""What optimizers race on: one file each, one line of registration here."""

from __future__ import annotations

from edsl.errors import EdslError, nearest, shown
from edsl.lab.task import Task

# name: (place, what it is)
TASKS = {
    "digits": (
        "edsl.lab.tasks.digits:DIGITS",
        "scikit-learn's handwritten digits, 1,257 training images; models mlp, cnn, linear",
    ),
    "mnist1d": (
        "edsl.lab.tasks.mnist1d:MNIST1D",
        "MNIST-1D: 16,000 generated training curves of 40 points; models mlp, cnn",
    ),
    "sine": ("edsl.lab.tasks.sine:SINE", "y = sin x + noise on [-10, 10], 32,768 training samples; model mlp"),
    "cardioid": ("edsl.lab.tasks.landscapes:CARDIOID", "a point in the plane, with a closed valley; model point"),
    "rosenbrock": ("edsl.lab.tasks.landscapes:ROSENBROCK", "a point in the plane, with a curved valley; model point"),
    "f1": ("edsl.lab.tasks.landscapes:F1", "a point on a line, minima ever lower and flatter; model point"),
    "f2": ("edsl.lab.tasks.landscapes:F2", "a point on a line, a wide minimum between narrow ones; model point"),
}


def task(name: str) -> Task:
    """The task of this name; raises EdslError for an unknown one."""
    from edsl.registry import load

    if name not in TASKS:
        raise EdslError(f"unknown task {shown(name)}; {nearest(name, TASKS, 'tasks')}")
    return load(TASKS[name][0])
