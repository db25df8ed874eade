"""Parameters that step one at a time, each as its gradient comes: which they are, and what each step repeats.

A general step of one parameter takes a hundred microseconds of questions. Where the parameter stepped before by one
kernel on its own gradient, the next step asks a few of them at once and takes the same launch table: see
`edsl.engine.replay`, which does so for all parameters together.
"""

from __future__ import annotations

from array import array
from typing import Any

import torch
from torch import Tensor

from edsl.engine.plans import GroupPlans, Place
from edsl.engine.replay import is_replayable
from edsl.numerics.dtypes import HALF
from edsl.step.addresses import MemoryMap, Recognition, steps_taken
from edsl.step.oracle import ParameterSlot
from edsl.step.parameter import ParameterStep
from edsl.step.plan import GroupPlan


class Singly:
    """The parameters of an optimizer between the first and the last that steps.

    Args:
        plans: of its groups.

    Attributes:
        stepped: the items of this step.
    """

    def __init__(self, plans: GroupPlans) -> None:
        self._plans = plans
        self._places: dict[int, tuple[Any, Place]] = {}
        self._before: dict[int, ParameterStep] = {}  # by the parameter's id, the item of its last general step
        self._lone: dict[int, LoneReplay] = {}
        self.stepped: list[ParameterStep] = []

    def begin(self, groups: list[dict[str, Any]], states: Any) -> None:
        """Find out which parameters there are, and which step comes next."""
        self.stepped = []
        self._plans.set_clock(groups, states)
        self._plans.estimator(groups)  # in which the groups must agree
        self._places = {id(parameter): (parameter, place) for parameter, place in self._plans.places(groups)}

    def forget(self) -> None:
        """Ask everything anew, as after loading a checkpoint."""
        self._before.clear()
        self._lone.clear()

    def slot(self, groups: list[dict[str, Any]], states: Any, parameter: Any) -> ParameterSlot | None:
        """A parameter with the gradient that it has; None where it is in no group, or has none."""
        known, place = self._places.get(id(parameter), (None, None))
        if known is not parameter or place is None or parameter.grad is None:
            return None
        slot = self._plans.slot(groups, states, parameter, place)
        slot.gradient = parameter.grad
        return slot

    def repeat(self, groups: list[dict[str, Any]], states: Any, parameter: Any) -> bool:
        """Take a parameter's step if it repeats its last one; if it doesn't, nothing was touched."""
        lone = self._lone.get(id(parameter))
        known, place = self._places.get(id(parameter), (None, None))
        if lone is None or known is not parameter or place is None:
            return False
        group = groups[place.group]
        plan = self._plans.plan(place.group, group, place.spared, parameter.dtype in HALF)
        if group.get("maximize") or not lone.step(parameter, states.get(parameter), plan, place.name):
            del self._lone[id(parameter)]
            return False
        self.stepped.append(lone.item)
        return True

    def note(self, item: ParameterStep) -> None:
        """Take note of a general step, before its tensors are let go of."""
        place = id(item.parameter)
        self.stepped.append(item)
        if self._before.get(place) is item and is_replayable(item):
            self._lone[place] = LoneReplay(item)
        self._before[place] = item


class LoneReplay:
    """One parameter in a launch table of its own, and all by which it is known again; it keeps no tensor.

    Args:
        item: of a general step, which `is_replayable`.
    """

    def __init__(self, item: ParameterStep) -> None:
        self.item = item
        self._memory = MemoryMap([item.extents], [f"parameter {item.name}"])
        self._recognition = Recognition([item.parameter, *item.state.values()], [item.raw])
        self._gradient = item.raw.data_ptr()
        self._last_byte = item.count * item.raw.element_size() - 1
        self._batch = item.kernels[0][2].batch(0)
        self._batch.place = (0, item.name)
        self._batch.add(item, ())
        self._counts = item.counts  # no kernel does

    def step(self, parameter: Any, state: dict[str, Any] | None, plan: GroupPlan, name: str) -> bool:
        """Take the step if parameter, state and plan are as they were, and the gradient is in the same form."""
        gradient, item = parameter.grad, self.item
        if plan is not item.plan or not plan.estimator.passes_grad or gradient is None or not state:
            return False
        if not self._recognition.fits([parameter, *state.values()], [gradient]):
            return False
        where = gradient.data_ptr()
        if where != self._gradient:
            inside = self._memory.first_inside([where], [where + self._last_byte]) is not None
            if inside or not self._recognition.fits_storage([gradient]):
                return False
            self._gradient = where
        item.k = (steps_taken(state, name) or 0) + 1
        self._batch.repeat([item], array("q", [where]))
        torch.autograd.graph.increment_version(parameter)
        if self._counts:
            count: Tensor = state["step"]
            count.add_(1)
        return True
