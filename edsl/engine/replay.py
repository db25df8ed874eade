"""A step that repeats the last one: the same layers by the same kernels, with new gradients and numbers.

A general step asks of one parameter after another what it is, which kernel takes it and where its state
lies: some ten microseconds each, more than the arithmetic of a small layer. But most steps of a training
are alike. So what a step found is kept, and the next one asks of all parameters at once, in a few loops
that run in C, whether anything but the gradients and the hyper-parameters is another or lies elsewhere.
If so, nothing was touched, and the step is a general one.

`Replay.find` is the one place that asks whether a step is as the last one. It is two questions, since the answers
mean different things. Of tensors (`Recognition`): another one, or one that lies elsewhere, ends the replay, for the
launch tables hold addresses. Of values (`GroupPlans.follow`): another learning rate is only read, for kernels take
numbers as arguments; other groups, names, routes or exclusions end it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import add, attrgetter, is_, itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edsl.engine.plans import GroupPlans
from edsl.kernels.kernel import Kernel, LaunchTable
from edsl.step.addresses import MemoryMap, Recognition, addresses
from edsl.step.parameter import ParameterStep

_gradient = attrgetter("grad")


class Found(NamedTuple):
    """The tensors of a step that repeats the one before."""

    parameters: list[Tensor]
    steps: list[Tensor]
    where: array[int]  # the gradients begin


class Replay:
    """The layers of a step in the tables of their kernels, and all by which they are known again.

    It keeps addresses and forms, and no tensor: what lies where it lay, in the same form, is the same to a kernel.

    Args:
        groups: the optimizer's.
        items: of a general step that `can_replay`, one for each parameter with a gradient.
        plans: of the groups, by which the items stepped.
        memory: what the items take.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        items: Sequence[ParameterStep],
        plans: GroupPlans,
        memory: MemoryMap,
    ) -> None:
        self._plans, self._serving, self._named = plans, plans.serving(items), plans.named(groups)
        self.items, self._memory = items, memory
        self._sizes = [len(group["params"]) for group in groups]
        self._idle = [parameter.grad is None for group in groups for parameter in group["params"]]
        parameters, gradients = [item.parameter for item in items], [item.raw for item in items]
        kept = [*_all([item.state for item in items])]
        self._recognition = Recognition([*parameters, *kept], gradients)
        self._gradients = addresses(gradients)
        self._last_bytes = [item.count * item.raw.element_size() - 1 for item in items]
        self._batches: dict[Kernel, tuple[LaunchTable, list[int]]] = {}
        for place, item in enumerate(items):
            kernel = item.kernels[0][2]
            batch, places = self._batches.setdefault(kernel, (kernel.batch(0), []))
            batch.add(item, ())
            places.append(place)
        self._uncounted = [place for place, item in enumerate(items) if item.counts]

    def find(self, groups: list[dict[str, Any]], states: Any) -> Found | None:
        """The tensors of a step that repeats the one before with the groups' values, or None if this one would not.

        Raises:
            EdslError: for a value outside its domain, as in a general step.
        """
        found = self._same_tensors(groups, states)
        same = found is not None and self._plans.follow(groups, self._serving, self._named)
        return found if same else None

    def _same_tensors(self, groups: Sequence[dict[str, Any]], states: Any) -> Found | None:
        """The tensors of this step where they are those of the one before, but for gradients."""
        if [len(group["params"]) for group in groups] != self._sizes or any(group.get("maximize") for group in groups):
            return None
        members = [*chain.from_iterable(map(itemgetter("params"), groups))]
        found = [*map(_gradient, members)]
        if [gradient is None for gradient in found] != self._idle:
            return None
        if any(self._idle):
            members = [parameter for parameter, gradient in zip(members, found) if gradient is not None]
            found = [gradient for gradient in found if gradient is not None]
        own = [*map(states.get, members)]
        if not all(own):
            return None
        if not self._recognition.fits([*members, *_all(own)], found):
            return None
        where = addresses(found)
        if where != self._gradients:  # new memory, which must be none that the step changes
            inside = self._memory.first_inside(where, [*map(add, where, self._last_bytes)]) is not None
            if inside or not self._recognition.fits_storage(found):
                return None
            self._gradients = where
        return Found(members, [*map(itemgetter("step"), own)], where)

    def step(self, found: Found) -> None:
        """Take every layer through its kernel."""
        for item, step in zip(self.items, map(Tensor.item, found.steps)):
            item.k = int(step) + 1
        where = found.where
        for batch, places in self._batches.values():
            if len(places) == len(where):
                batch.repeat(self.items, where)
            else:
                batch.repeat([self.items[place] for place in places], array("q", [where[place] for place in places]))
        torch.autograd.graph.increment_version(found.parameters)
        if self._uncounted:
            uncounted = [found.steps[place] for place in self._uncounted]
            torch._foreach_add_(uncounted, 1)  # pyright: ignore[reportPrivateImportUsage]


def can_replay(items: Sequence[ParameterStep], before: Sequence[ParameterStep]) -> bool:
    """Whether a step of these items is worth keeping: they stepped before, each by one kernel on its gradient."""
    return len(items) == len(before) and all(map(is_, items, before)) and all(map(is_replayable, items))


def is_replayable(item: ParameterStep) -> bool:
    """Whether one kernel took it all the way in this step, on its gradient as that lies."""
    _, _, kernel = item.kernels.get(0, (None, None, None))
    segment = item.plan.segments[0]
    return (
        item.steps_in_place
        and item.count > 0
        and kernel is not None
        and item.raw is item.flowing is item.parameter.grad
        and item.raw.dtype is item.local.dtype
        and item.new_hessian is item.own_difference is None
        and segment.updates
        and not segment.noisy
        and not segment.needs_total_norm
        and not segment.totals
        and all(isinstance(value, Tensor) and value.layout is torch.strided for value in item.state.values())
    )


def _all(states: Iterable[dict[str, Any]]) -> Iterable[Any]:
    """Everything that states hold."""
    return chain.from_iterable(map(dict.values, states))
