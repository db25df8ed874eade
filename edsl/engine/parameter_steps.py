"""The parameters that take a step, each known again while nothing but its gradient and its numbers is new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import is_
from typing import Any

import torch
from torch import Tensor

from edsl.engine.plans import Choice, GroupPlans
from edsl.errors import EdslError
from edsl.numerics.dtypes import HALF
from edsl.numerics.weights.form import WeightForm
from edsl.numerics.weights.forms import RESTS
from edsl.step.addresses import MemoryMap, addresses, check_no_state
from edsl.step.buffers import fresh_state
from edsl.step.checks import check_flattened, check_steppable
from edsl.step.oracle import ParameterSlot
from edsl.step.parameter import ParameterStep
from edsl.step.parts.part import parts_of
from edsl.step.plan import GroupPlan, structures_of


class ParameterSteps:
    """The items of an optimizer's parameters, kept from one step to the next.

    Attributes:
        active: those that take the step which began last, each whole.
    """

    def __init__(self, plans: GroupPlans) -> None:
        self._plans = plans
        self._kept: dict[int, ParameterStep] = {}  # from the last general step, by the parameter's id
        self._holding: list[ParameterStep] = []  # those that hold tensors
        self.active: list[ParameterStep] = []

    def forget(self) -> None:
        """Make all items anew, as after loading a checkpoint."""
        self._kept.clear()

    def release(self) -> None:
        """Let go of the tensors of the last step."""
        for item in self._holding:
            item.release_gradients()
            for part in item.parts:
                part.release_gradients()
        self._holding, self.active = [], []

    @property
    def kept(self) -> list[ParameterStep]:
        """Those that have stepped and may step again."""
        return list(self._kept.values())

    def begin(
        self,
        groups: list[dict[str, Any]],
        states: Any,
        slots: list[ParameterSlot],
        are_all: bool = True,
    ) -> Iterator[ParameterStep]:
        """Those with a gradient, before a step, in order; of one that is several matrices its parts.

        Args:
            are_all: an item without a slot is forgotten.

        Raises:
            EdslError: for a parameter, a gradient or state that can't be stepped.
        """
        self.active = []
        before, kept = self._kept, {} if are_all else self._kept
        plans: dict[Choice, GroupPlan] = {}
        for slot in slots:
            place = id(slot.parameter)
            item = before.get(place)
            if slot.gradient is None:
                if item is not None:
                    kept[place] = item
                continue
            choice = (slot.group, slot.spared, slot.parameter.dtype in HALF)
            plan = plans.get(choice)
            if plan is None:
                plan = plans[choice] = self._plans.plan_of(slot, groups[slot.group])
            state = states[slot.parameter]
            if item is None or not item.begin(slot, plan, state):
                check_steppable(plan.pipeline, slot.parameter, slot.name, self._plans.kinds)
                item = self._new_item(slot, plan, state)
            kept[place] = item
            self._holding.append(item)
            self.active.append(item)
            for part in item.parts:
                part.take()
            yield from item.parts or (item,)
        self._kept = kept

    def _new_item(self, slot: ParameterSlot, plan: GroupPlan, state: dict[str, Any]) -> ParameterStep:
        """An item of its own for a parameter, with its state made where there is none."""
        check_flattened(self._plans.pipeline, slot.parameter, slot.name)
        plan.weights.check(slot.parameter.dtype, f"parameter {slot.name}")
        matrices = self._plans.matrices(plan, slot)
        if "step" not in state:
            check_no_state(state, plan.buffers, f"parameter {slot.name}")
            state.update(fresh_state(plan, slot.parameter, matrices))
        elif self._comes_from_another_route(state, plan):
            slot.k = 1
            state.clear()
            state.update(fresh_state(plan, slot.parameter, matrices))
        _fit_rest(state, slot.parameter, plan.weights)
        item = ParameterStep(slot, plan, state, matrices)
        item.parts = parts_of(item)
        return item

    def _comes_from_another_route(self, state: dict[str, Any], plan: GroupPlan) -> bool:
        """Whether a parameter was moved, with its state, to a group of another route: it begins there anew."""
        own = {*plan.buffers}
        strange = {*structures_of(self._plans.pipeline)} - own
        return not own <= state.keys() and not strange.isdisjoint(state)


def _fit_rest(state: dict[str, Any], parameter: Tensor, weights: WeightForm) -> None:
    """Give state that was made for weights of another form or dtype the rest of this one, which begins at 0."""
    own = weights.rest_dtypes(parameter.dtype)
    for name in RESTS.intersection(state) - own.keys():
        del state[name]
    for name in own.keys() - state:
        state[name] = torch.zeros_like(parameter, dtype=own[name], requires_grad=False)


class MemoryInUse:
    """What memory the items of a step take, and which of them share some.

    Attributes:
        map: the memory that the last general step took.
    """

    def __init__(self) -> None:
        self.map = MemoryMap((), ())

    def follow(self, items: Sequence[ParameterStep]) -> None:
        """Find out what memory these items take; raises EdslError where a gradient lies in it."""
        extents = [item.extents for item in items]
        if len(extents) != len(self.map.extents) or not all(map(is_, extents, self.map.extents)):
            self.map = MemoryMap(extents, [f"parameter {item.name}" for item in items])
        reading = [item for item in items if item.steps_on_gradient and item.count > 0]
        begins = addresses([item.raw for item in reading])
        lasts = [begin + item.count * item.raw.element_size() - 1 for begin, item in zip(begins, reading)]
        found = self.map.first_inside(begins, lasts)
        if found is not None:
            raise EdslError(
                f"the gradient of parameter {reading[found].name} shares memory with a parameter or with state, "
                "which the step changes: clone() it"
            )

    def lots(self, items: list[ParameterStep]) -> list[list[ParameterStep]]:
        """The items that may step at once; copied parts, parameter by parameter; what shares memory, one by one."""
        copies = {id(item.copied_from): item.copied_from for item in items if item.copied_from is not None}
        if not self.map.shared and not copies:
            return [items]
        sharing = {id(self.map.extents[place]) for place in self.map.shared}
        alone = [item for item in items if id(item.extents) in sharing]
        together = [item for item in items if id(item.extents) not in sharing]
        copied = [[item for item in together if item.copied_from is whole] for whole in copies.values()]
        return [[item for item in together if item.copied_from is None], *copied, *([item] for item in alone)]
