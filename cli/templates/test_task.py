"""my_task can be raced on: its data and model fit, and an optimizer learns."""

from pathlib import Path

import edsl

TASK = str(Path(__file__).with_name("my_task.py"))


def test_an_optimizer_learns():
    found = edsl.compare(["adam(lr=0.01)"], task=TASK, steps=100, seeds=1)
    (row,) = found.results.rows
    assert row.ok == 1
    assert row.test_accuracy is None or row.test_accuracy.mean > 0.8  # change it with the task
