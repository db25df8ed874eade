"""One optimizer of a race, and one trial of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edsl.lab.tasks.catalogue import task as task_named
from edsl.lab.tasks.own import Source
from edsl.lab.tasks.task import Task
from edsl.lab.trials.hopeless import Bar
from edsl.lab.trials.setting import Setting
from edsl.language.registry.plugins import Plugin


@dataclass(frozen=True)
class Entrant:
    """One row of a race.

    Attributes:
        name: what it is called: the spec as given, or "SPEC, without E" and "SPEC, twin" for its controls.
        spec: canonical, with the learning rate that it starts from.
        control_of: the name of the entrant that it is a control of, or "".
        about: what a control shows.
        values: the hyper-parameters that a sweep gave it.
    """

    name: str
    spec: str
    control_of: str = ""
    about: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """One trial to run: everything that a worker needs to know."""

    setting: Setting
    spec: str
    seed: int
    plugins: tuple[Plugin, ...] = ()
    name: str = ""  # of the entrant
    source: Source | None = None  # of a task of one's own
    bar: Bar | None = None  # of a tuning trial, which is stopped where it misses it

    @property
    def key(self) -> tuple[str, int]:
        return self.spec, self.seed

    def task(self) -> Task:
        """What is trained."""
        return task_named(self.setting.task) if self.source is None else self.source.task()
