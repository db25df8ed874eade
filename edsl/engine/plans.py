"""The plans of an optimizer's groups: what their parameters share in a step, and what each parameter is called.

A plan follows its group: what a schedule has changed there is read into the plan, which stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from edsl.errors import EdslError, shown
from edsl.groups.names import Names
from edsl.groups.param_groups import Share, is_whole, routes_in, values_on, weights_in
from edsl.language.domain import Number
from edsl.language.pipeline import Pipeline
from edsl.language.schedules.group import TEXTS, Following, StepClock
from edsl.language.stage import Estimator
from edsl.numerics.dtypes import HALF
from edsl.numerics.weights.form import WeightForm
from edsl.numerics.weights.forms import NEAREST
from edsl.step.addresses import steps_taken
from edsl.step.buffers import fresh_state
from edsl.step.oracle import ParameterSlot
from edsl.step.parameter import ParameterStep
from edsl.step.parts.matrices import Matrices
from edsl.step.plan import GroupPlan
from edsl.step.state_dtype import StateDtype

# The number of a group, which of its parameters, spared or not or a Share, and whether they are in half precision.
Choice = tuple[int, Any, bool]


class Place(NamedTuple):
    """Where a parameter stands: the number of its group, its name, and whether it is spared, or its Share."""

    group: int
    name: str
    spared: Any


class GroupPlans:
    """A plan for the parameters of each group, of each route in it, with decay and without.

    Args:
        names: of the parameters, which follow the groups.

    Attributes:
        kinds: of the modules that own each parameter, by its name, where they are known.
    """

    kinds: Mapping[str, Sequence[str]]

    def __init__(self, pipeline: Pipeline, state_dtype: StateDtype, names: Names) -> None:
        self.pipeline = pipeline
        self._state_dtype = state_dtype
        self._names = names
        self.kinds = {}
        self.clock = StepClock()
        self._plans: dict[Choice, GroupPlan] = {}
        self._owners: dict[Choice, int] = {}  # the id of the group that each plan was made for
        self._known: tuple[Any, Any] | None = None  # what names were made from, and the names

    def forget(self) -> None:
        """Make all plans anew, as after loading a checkpoint."""
        self._plans.clear()
        self._owners.clear()
        self._names.forget()

    def plan(self, index: int, group: dict[str, Any], spared: Any, is_half: bool = False) -> GroupPlan:
        """The plan of a group for its parameters that are, or are not, spared decay, and in half precision.

        In a group of several routes `spared` is a `Share`, which says of which route they are too.
        """
        share = spared if isinstance(spared, Share) else Share(group.get("route", ""), spared)
        values = group
        if is_whole(self.pipeline, group):
            share = share if share.route else Share(next(iter(self.pipeline.branches)), share.spared)
            values = values_on(self.pipeline, share.route, group)
        choice = (index, spared, is_half)
        weights = weights_in(group) if is_half else NEAREST
        plan = self._plans.get(choice)
        other = plan is None or self._owners[choice] != id(group)  # groups may be removed and reordered
        if plan is None or other or plan.weights is not weights or plan.following.is_outdated(values):
            plan = self._plans[choice] = self._new_plan(index, values, share, weights)
            self._owners[choice] = id(group)
        elif moved := plan.moved(values):
            _follow(plan, index, values, moved)
        return plan

    def _new_plan(self, index: int, group: dict[str, Any], share: Share, weights: WeightForm) -> GroupPlan:
        pipeline = self.pipeline.branch(share.route)
        _check_keys(index, group, (*pipeline.hyperparameters, "exclude"))
        following = Following(group, pipeline.hyperparameters, self.clock)
        for key in following.schedules:
            following.check(index, group, key)
        values = {key: _number(index, group, key) for key in pipeline.hyperparameters}
        values |= {key: schedule.value for key, schedule in following.schedules.items()}
        plan = GroupPlan(pipeline, share.spared, values, share.route, self._state_dtype, following, weights)
        _check_synonyms(index, group, plan)
        plan.record_values(group, ("route", "exclude", *plan.synonyms, *values))
        return plan

    def plan_of(self, slot: ParameterSlot, group: dict[str, Any]) -> GroupPlan:
        """The plan by which a parameter of a group steps."""
        return self.plan(slot.group, group, slot.spared, slot.parameter.dtype in HALF)

    def matrices(self, plan: GroupPlan, slot: ParameterSlot) -> Matrices | None:
        """How a plan takes a parameter as matrices, None where it doesn't."""
        return plan.matrices(slot.parameter.shape, slot.name, self.kinds.get(slot.name)) if plan.is_matrix else None

    def estimator(self, groups: list[dict[str, Any]]) -> Estimator:
        """The estimator with the groups' values; raises EdslError where these differ."""
        found = [self.plan(index, group, False, _begins_in_half(group)).estimator for index, group in enumerate(groups)]
        if any(other != found[0] for other in found[1:]):
            raise EdslError(f"all param groups must agree on the estimator, got {' and '.join(map(str, set(found)))}")
        return found[0] if found else self.pipeline.estimator

    def serving(self, items: Sequence[ParameterStep]) -> dict[Choice, GroupPlan]:
        """The plans by which these items step."""
        return {choice: plan for choice, plan in self._plans.items() if any(item.plan is plan for item in items)}

    def follow(self, groups: list[dict[str, Any]], serving: dict[Choice, GroupPlan], named: Any) -> bool:
        """Read the groups' values of now into the plans, and say whether these plans and names still serve.

        Args:
            serving: what `serving` gave at an earlier step.
            named: what `named` gave there.

        Raises:
            EdslError: for a value outside its domain.
        """
        if self.named(groups) is not named:
            return False
        found = [(self.plan(choice[0], groups[choice[0]], *choice[1:]), plan) for choice, plan in serving.items()]
        return all(now is plan and now.estimator.passes_grad for now, plan in found)

    def set_clock(self, groups: list[dict[str, Any]], states: Any) -> None:
        """Find out which step comes next, where a schedule asks."""
        if any(group.get(TEXTS) for group in groups):
            taken = [steps_taken(state, "") or 0 for state in states.values()]
            self.clock.k, self.clock.is_set = max(taken, default=0) + 1, True

    def show_next(self, groups: list[dict[str, Any]], items: Sequence[ParameterStep]) -> None:
        """Behind a step of these items, let the groups show the scheduled values of the next."""
        scheduled = [(index, plan) for (index, *_), plan in self._plans.items() if plan.following.schedules]
        if not scheduled:
            return
        self.clock.k = k = max(self.clock.k, max(item.k for item in items) + 1)
        shown: dict[int, dict[str, float]] = {}
        for index, plan in scheduled:
            following = plan.following
            if index not in shown:
                shown[index] = following.values(k)
                groups[index].update({key: v for key, v in shown[index].items() if key not in following.held})
            following.foresee(k, shown[index])
            plan.record_values(groups[index], following.schedules)

    def slots(self, groups: list[dict[str, Any]], states: Any) -> Iterator[ParameterSlot]:
        """All parameters that may step, for the estimator to fill in what it finds."""
        reads_grad = not self.pipeline.estimator.needs_closure
        for parameter, place in self.places(groups):
            if reads_grad or parameter.requires_grad:  # its closure may unfreeze one yet
                yield self.slot(groups, states, parameter, place)

    def places(self, groups: list[dict[str, Any]]) -> Iterator[tuple[Any, Place]]:
        """Every parameter with the number of its group, its name, and whether it is spared."""
        for index, (group, named) in enumerate(zip(groups, self.named(groups))):
            for parameter, (name, spared) in zip(group["params"], named):
                yield parameter, Place(index, name, spared)

    def slot(self, groups: list[dict[str, Any]], states: Any, parameter: Any, place: Place) -> ParameterSlot:
        """A parameter before its next step."""
        group = groups[place.group]
        taken = steps_taken(states.get(parameter), place.name)

        def memory(slot: ParameterSlot) -> Any:
            return self._estimator_memory(group, states, slot)

        climbs = group.get("maximize", False)
        known = taken is not None
        return ParameterSlot(parameter, place.name, place.group, (taken or 0) + 1, known, memory, climbs, place.spared)

    def _estimator_memory(self, group: dict[str, Any], states: Any, slot: ParameterSlot) -> Any:
        plan, parameter = self.plan_of(slot, group), slot.parameter
        if "step" not in states[parameter]:
            states[parameter].update(fresh_state(plan, parameter, self.matrices(plan, slot)))
        memory = plan.estimator_memory(states[parameter])
        if any(buffer.shape != parameter.shape for buffer in memory):
            raise EdslError("a parameter changed its shape: build a new optimizer after changing shapes")
        return memory

    def plan_for(
        self, groups: list[dict[str, Any]], states: Any, parameter: Any
    ) -> tuple[GroupPlan, Matrices | None] | None:
        """The plan by which a parameter steps, and how it takes it as matrices; None for one that is in no group."""
        place = next((place for one, place in self.places(groups) if one is parameter), None)
        if place is None:
            return None
        slot = self.slot(groups, states, parameter, place)
        plan = self.plan_of(slot, groups[place.group])
        return plan, self.matrices(plan, slot)

    def named(self, groups: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
        """The name of each group's parameters, each name once, and whether it is spared: for `plan`.

        While nothing of it changes, it is the same object.
        """
        self._names.follow(groups)
        given = [
            (group.get("param_names") or len(group["params"]), group.get("exclude", ()), self._routes_in(group))
            for group in groups
        ]
        if self._known is None or self._known[0] != given:
            copies = [
                (known if isinstance(known, int) else list(known), tuple(spared), routes)
                for known, spared, routes in given
            ]
            self._known = (copies, _unique_names(given))
        return self._known[1]

    def _routes_in(self, group: dict[str, Any]) -> list[str]:
        """The routes of the parameters of a group that holds several."""
        return routes_in(self.pipeline, group) if is_whole(self.pipeline, group) else []


def _begins_in_half(group: dict[str, Any]) -> bool:
    """Whether a group's first parameter is in half precision: that of its plans which surely serves some."""
    return any(parameter.dtype in HALF for parameter in group["params"][:1])


def _follow(plan: GroupPlan, index: int, group: dict[str, Any], moved: list[str]) -> None:
    """Take over what a group has under the keys that moved."""
    route = group.get("route", "")
    if route != plan.route:
        raise EdslError(
            f"param group {index}: its route is fixed, got {shown(route)} instead of {shown(plan.route)}; "
            "move its parameters to a group of that route"
        )
    _check_synonyms(index, group, plan)
    _check_keys(index, group, moved)
    for key in moved:
        if key in plan.following.schedules:
            plan.following.check(index, group, key)
    numbers = [key for key in moved if key in plan.values and key not in plan.following.schedules]
    now = {key: _number(index, group, key) for key in numbers}
    changed = {key: value for key, value in now.items() if value != plan.values[key]}
    if changed:
        plan.change(changed)
    plan.record_values(group, moved)


def _unique_names(given: Sequence[tuple[Any, Any, list[str]]]) -> list[list[tuple[str, Any]]]:
    """For each group, of its names or how many parameters it has, of what is excluded and of routes: see `named`."""
    taken: set[str] = set()
    found = []
    for index, (known, spared, routes) in enumerate(given):
        own = [f"{index}.{place}" for place in range(known)] if isinstance(known, int) else list(known)
        unique = [f"{name}@{index}" if name in taken else name for name in own]  # of two models
        taken.update(unique)
        excluded = frozenset(spared)
        plain: list[Any] = [name in excluded for name in own]
        shares = list(map(Share, routes, plain)) if routes else plain
        found.append(list(zip(unique, shares)))
    return found


def _check_keys(index: int, group: dict[str, Any], keys: Sequence[str]) -> None:
    missing = [key for key in keys if key not in group]
    if missing:
        raise EdslError(f"param group {index} is missing {', '.join(missing)}")


def _check_synonyms(index: int, group: dict[str, Any], plan: GroupPlan) -> None:
    """Raises EdslError for a synonym in a group: specs and new groups may use it, a step would ignore it."""
    for name, meant in plan.synonyms.items():
        if name in group:
            there = " and ".join(meant)
            raise EdslError(f"param group {index}: a step does not read {name}; set {there}")


_ANY = Number()


def _number(index: int, group: dict[str, Any], key: str) -> Any:
    """A group's number, or that which its tensor or numpy scalar holds; raises EdslError where it holds none."""
    value = group[key]
    if isinstance(value, (float, int)):
        return value  # which its own domain reads
    try:
        return _ANY.read(value)
    except ValueError as reason:
        raise EdslError(f"param group {index}: {key} {reason}") from None
