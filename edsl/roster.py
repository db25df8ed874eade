"""A step that repeats the last one: the same layers by the same kernels, with new gradients and numbers.

A general step asks of one parameter after another what it is, which kernel takes it and where its state
lies: some ten microseconds each, more than the arithmetic of a small layer. But most steps of a training
are alike. So what a step found is kept, and the next one asks of all parameters at once, in a few loops
that run in C, whether anything but the gradients and the hyper-parameters is another or lies elsewhere.
If so, nothing was touched, and the step is a general one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import torch
from torch import Tensor

from edsl.compiled import Batch, Kernel
from edsl.item import Item
from edsl.plan import Plan

_form = attrgetter("layout", "dtype")
_gradient = attrgetter("grad")


class Roster:
    """The layers of a step in the tables of their kernels, and all by which they are known again.

    Args:
        groups: the optimizer's.
        items: of a general step that `repeats`, one for each parameter with a gradient.
        plans: theirs, by group and by whether a parameter is spared.
        named: the parameters' names, as the engine keeps them.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        items: Sequence[Item],
        plans: dict[tuple[int, bool], Plan],
        named: Any,
    ) -> None:
        self.plans, self.named = plans, named
        self._items = items
        self._members = [list(group["params"]) for group in groups]
        self._idle = [parameter.grad is None for parameter in chain(*self._members)]
        self._parameters = [item.parameter for item in items]
        self._states = [item.state for item in items]
        self._steps = [state["step"] for state in self._states]
        self._kept = [*_all(self._states)]
        self._layouts = self._laid_out()
        self._forms = [(torch.strided, parameter.dtype) for parameter in self._parameters]
        self._batches: dict[Kernel, tuple[Batch, list[int]]] = {}
        for place, item in enumerate(items):
            kernel = item.kernels[0][2]
            batch, places = self._batches.setdefault(kernel, (kernel.batch(0), []))
            batch.add(item, None)
            places.append(place)
        self._uncounted = [item.state["step"] for item in items if item.counts]

    def gradients(self, groups: Sequence[dict[str, Any]], states: Any) -> list[Tensor] | None:
        """The gradients of a step that repeats the one before, or None if this one would not."""
        if len(groups) != len(self._members) or any(group.get("maximize") for group in groups):
            return None
        if not all(_same(group["params"], members) for group, members in zip(groups, self._members)):
            return None
        found = [*map(_gradient, chain(*self._members))]
        if [*map(is_, found, [None] * len(found))] != self._idle:
            return None
        gradients = [gradient for gradient in found if gradient is not None]
        alike = (
            _same([*map(states.get, self._parameters)], self._states)
            and _same([*_all(self._states)], self._kept)
            and self._laid_out() == self._layouts
            and [*map(_form, gradients)] == self._forms
            and [*map(Tensor.size, gradients)] == self._layouts[1]
            and [*map(Tensor.stride, gradients)] == self._layouts[2]
            and not any(map(Tensor.is_neg, gradients))
        )
        return gradients if alike else None

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Take every layer through its kernel."""
        for item, step in zip(self._items, map(Tensor.item, self._steps)):
            item.k = int(step) + 1
        where = array("q", map(Tensor.data_ptr, gradients))
        for batch, places in self._batches.values():
            if len(places) == len(where):
                batch.repeat(self._items, where)
            else:
                batch.repeat([self._items[place] for place in places], array("q", [where[place] for place in places]))
        torch.autograd.graph.increment_version(self._parameters)
        if self._uncounted:
            torch._foreach_add_(self._uncounted, 1)  # pyright: ignore[reportPrivateImportUsage]

    def _laid_out(self) -> tuple[Any, ...]:
        """Where the parameters and their state lie, and how the parameters do."""
        own = self._parameters
        places = array("q", map(Tensor.data_ptr, chain(own, self._kept)))
        return places, [*map(Tensor.size, own)], [*map(Tensor.stride, own)], [*map(attrgetter("dtype"), own)]


def repeats(items: Sequence[Item], before: Sequence[Item]) -> bool:
    """Whether a step of these items is worth keeping: they stepped before, each by one kernel on its gradient."""
    return len(items) == len(before) and all(map(is_, items, before)) and all(item.is_plain for item in items)


def _all(states: Iterable[dict[str, Any]]) -> Iterable[Any]:
    """Everything that states hold."""
    return chain.from_iterable(map(dict.values, states))


def _same(these: Sequence[Any], those: Sequence[Any]) -> bool:
    """Whether two lists hold the very same objects."""
    return len(these) == len(those) and all(map(is_, these, those))
