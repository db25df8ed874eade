"""The schedules of a param group: their texts beside its values, and the numbers of each step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from edsl.errors import EdslError, shown
from edsl.language.schedules.layerwise import carried, layerwise_in, scheduled_in
from edsl.language.schedules.reading import read_text
from edsl.language.schedules.schedule import Schedule

TEXTS = "schedules"  # in a group: its schedules' texts, by the keys of their values
TOTAL = "total_steps"  # in a group: T
SCALES = "scales"  # in a group: the factors of its layers, by the keys of their values
ANY_TOTAL = 2**40  # a T for who steps next to nothing: every warmup fits in it


class StepClock:
    """Which step comes next: one more than the most that any parameter has taken."""

    k = 1
    is_set = False


def read_total(total: Any) -> int | None:
    """T as `edsl.compile` takes it; raises EdslError for anything but a whole number above 0."""
    if total is None or (isinstance(total, int) and not isinstance(total, bool) and total > 0):
        return total
    raise EdslError(f"total_steps must be a whole number above 0, got {shown(total)}")


def layered_group(live: Mapping[str, Any], group: Mapping[str, Any], factors: Mapping[str, float]) -> dict[str, Any]:
    """What a new group holds for what differs from layer to layer: its numbers, perhaps on schedules, and the factors.

    Args:
        live: the spec's hyper-parameters.
        group: what a user gave: a value there is that of a layer whose factor is 1.
        factors: of the group's layers.
    """
    found = layerwise_in(live)
    if not found or SCALES in group:  # that of another optimizer
        return {}
    own = {key: carried(value, group.get(key, value)) for key, value in found.items()}
    return {**{key: value.at(factors.get(key, 1.0)) for key, value in own.items()}, SCALES: dict(factors)}


def scheduled_group(live: Mapping[str, Any], group: Mapping[str, Any], total: int | None) -> dict[str, Any]:
    """What a new group holds for the schedules of a spec: their texts, T, and the values of the first step.

    Args:
        live: the spec's hyper-parameters.
        group: what a user gave: a value there is that of the schedule.
    """
    if TEXTS in group:  # that of another optimizer
        texts, total = group[TEXTS], group.get(TOTAL, total)
    else:
        found = scheduled_in(live)
        texts = {key: str(carried(value, group.get(key, value)).schedule) for key, value in found.items()}
    schedules = schedules_in({TEXTS: texts, TOTAL: total}, live)
    if not schedules:
        return {}
    return {**{key: schedule.at(1, total) for key, schedule in schedules.items()}, TEXTS: dict(texts), TOTAL: total}


def schedules_in(group: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Schedule]:
    """A group's schedules; raises EdslError where they can't be read, or T is missing."""
    texts = group.get(TEXTS)
    if not texts:
        return {}
    if not isinstance(texts, dict):
        raise EdslError(f"param group: schedules must be texts by their keys, got {shown(texts)}")
    total = read_total(group.get(TOTAL))
    found = {}
    for key, text in texts.items():
        if key not in live:
            raise EdslError(f"param group: {shown(key)} in schedules is no hyper-parameter of it")
        found[key] = _read(text) if isinstance(text, str) else read_text(text)
        found[key].check_total(total, key)
    return found


_read = lru_cache(maxsize=256)(read_text)


class Following:
    """The scheduled numbers of a plan.

    Args:
        group: as it is when the plan is made.
        live: its hyper-parameters.
        clock: says which step comes next.
    """

    def __init__(self, group: Mapping[str, Any], live: Mapping[str, Any], clock: StepClock) -> None:
        self.schedules = schedules_in(group, live)
        self.total: int | None = group.get(TOTAL)
        self._texts = dict(group.get(TEXTS) or {})
        self._clock = clock
        self._k = clock.k
        self._held: dict[str, float] = {}
        self._now = self.values(clock.k)
        self._shown = {key: group.get(key) for key in self.schedules} if clock.k > 1 or not clock.is_set else self._now

    def is_outdated(self, group: Mapping[str, Any]) -> bool:
        """Whether a group's schedules are others by now."""
        return (group.get(TEXTS) or {}) != self._texts or group.get(TOTAL) != self.total

    def values(self, k: int) -> dict[str, float]:
        """The numbers of step k, by their keys."""
        return {key: schedule.at(k, self.total) for key, schedule in self.schedules.items()}

    def foresee(self, k: int, values: dict[str, float]) -> None:
        """Take the numbers of the next step, which its group shows from now on."""
        self._k, self._now, self._shown = k, values, {**self._shown, **values}

    def now(self) -> dict[str, float]:
        """The numbers of the step that comes next."""
        if self._k != self._clock.k:
            self._k, self._now = self._clock.k, self.values(self._clock.k)
        return {**self._now, **self._held} if self._held else self._now

    @property
    def held(self) -> dict[str, float]:
        """What a user holds at 0."""
        return self._held

    def check(self, index: int, group: Mapping[str, Any], key: str) -> None:
        """Note a value that somebody wrote: a learning rate of 0 holds still, as when a checkpoint makes its state.

        Raises:
            EdslError: for any other than the one shown.
        """
        value = group.get(key)
        if value is not None and value == self._shown[key]:
            self._held.pop(key, None)
        elif key == "lr" and value is not None and value == 0:
            self._held[key] = 0.0
        else:
            raise EdslError(
                f"param group {index}: {key} follows {self._texts[key]}, and a scheduler or you wrote {shown(value)} "
                f"there: remove one of the two (del group['schedules'][{key!r}] frees {key})"
            )
