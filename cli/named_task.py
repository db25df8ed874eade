"""The task of a command that trains: by --task, or as the word before the specs, alike in all of them."""

from __future__ import annotations

from collections.abc import Sequence

from edsl.errors import EdslError


def task_and_specs(task: str | None, words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The task by itself, or as the first word where that is no spec.

    Raises:
        EdslError: for a task that is given twice.
    """
    from edsl.lab.tasks.own import is_file

    if not words:
        return task, []
    first, *others = words
    if task is None:
        is_task = is_file(first) or _is_named(first) or (bool(others) and _is_no_spec(first))
        return (first, others) if is_task else (None, list(words))
    if is_file(first) or _is_named(first):
        raise EdslError(f"the task is given twice: {first}, and --task {task}; give it once")
    return task, list(words)


def task_and_spec(task: str | None, words: Sequence[str], command: str) -> tuple[str | None, str | None]:
    """The task, and the one spec of a command that takes no more.

    Raises:
        EdslError: for several specs, or a task that is given twice.
    """
    task, specs = task_and_specs(task, words)
    if len(specs) > 1:
        raise EdslError(f"edsl {command} takes one spec, got {len(specs)}: {', '.join(specs)[:80]}")
    return task, specs[0] if specs else None


def _is_named(word: str) -> bool:
    """Whether a word is a task of edsl's, or such names with commas."""
    from edsl.lab.tasks.catalogue import TASKS

    return all(name.strip().partition(":")[0] in TASKS for name in word.split(","))


def _is_no_spec(word: str) -> bool:
    """Whether a word can't be a spec, and so is a task's, or one that is meant."""
    from edsl.language.registry.constructors import constructor

    return not set("|(.") & set(word) and constructor(word) is None
