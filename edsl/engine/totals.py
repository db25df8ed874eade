"""What is asked over all layers: total norms before a segment, and sums that stages ask for on their way.

A segment that asks for a total is run up to it for every layer, without writing anything; what the layers add is summed
in float64, over processes too, and the segment runs on. What was answered before is known by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from edsl.distributed.collectives import summed, total_norms
from edsl.engine.work import SegmentWork, work_of
from edsl.errors import EdslError
from edsl.kernels.kernel import Late
from edsl.step.parameter import ParameterStep
from edsl.step.plan import GroupPlan

Place = tuple[str, int, int]  # over whose parameters, "" for all; the number of the stage, and of its total


class Totals:
    """The answers to what a segment asks over all parameters, or behind a route over its own.

    Args:
        items: all that go through the segment.
        number: of the segment.
        update_index: of the base update in the optimizer's pipeline, at which routes begin.

    Raises:
        EdslError: where some parameters ask for what others don't, or a shard can't compute its share.
    """

    def __init__(self, items: Sequence[ParameterStep], number: int, update_index: int) -> None:
        self.number, self._update_index = number, update_index
        self._norms = self._total_norms(items)
        self._works: dict[ParameterStep, SegmentWork] = {}
        self._asking: list[ParameterStep] = []
        self._places: dict[GroupPlan, list[Place]] = {}
        self._answers: dict[GroupPlan, list[Tensor | None]] = {}
        plans = [*dict.fromkeys(item.plan for item in items)]
        for plan in plans:
            if plan.segments[number].totals:
                self._places[plan] = [*self._places_in(plan)]
                self._answers[plan] = [None] * len(self._places[plan])
        if self._places:
            self._asking = [item for item in items if item.plan in self._places]
            self._check_shards()
            self._check_together(plans)

    @property
    def levels(self) -> int:
        """How many times all layers are added up."""
        return max((plan.segments[self.number].levels for plan in self._places), default=0)

    def asking(self, level: int) -> list[ParameterStep]:
        """The items that ask on a level."""
        return [item for item in self._asking if self._asked(item.plan, level)]

    def norm_of(self, item: ParameterStep) -> Tensor | None:
        """The norm of what flows in, if an item's segment reads it."""
        return self._norms.get(item.plan)

    def totals_of(self, item: ParameterStep) -> tuple[Tensor | None, ...]:
        """The totals that an item's segment asks for, as far as they are known."""
        return tuple(
            None if answer is None else answer.to(item.theta.device) for answer in self._answers.get(item.plan, ())
        )

    def late_of(self, item: ParameterStep) -> tuple[Late, ...]:
        """What kernels read of an item among the live values, as far as it is known."""
        norm, live = self._norms.get(item.plan), item.plan.live_layout
        totals = self._answers.get(item.plan, ())
        found = [(live.total(i), answer) for i, answer in enumerate(totals) if answer is not None]
        return tuple(found) if norm is None else ((live.total_norm, norm), *found)

    def late_of_all(self, items: Sequence[ParameterStep]) -> list[tuple[Late, ...]] | None:
        """The same for each item, None where nothing is read."""
        return [self.late_of(item) for item in items] if self._norms or self._answers else None

    def works_of(self, items: Sequence[ParameterStep]) -> list[SegmentWork]:
        """The items before their segment, with all that is known by now."""
        lives: dict[Any, Tensor] = {}
        found = []
        for item in items:
            totals = self.totals_of(item)
            work = self._works.get(item)
            if work is None:
                work = work_of(item, self.number, self.norm_of(item), totals, lives)
                if item.is_sharded_here and totals:  # its reductions over the whole layer stay known
                    self._works[item] = work
            elif totals:
                work.inputs = work.inputs._replace(totals=totals)
            found.append(work)
        return found

    def add_up(self, level: int, added: Sequence[tuple[ParameterStep, Sequence[Tensor]]]) -> None:
        """Sum what each item that asks on a level adds to its totals, in their order, over all processes."""
        addends: dict[Place, list[Tensor]] = {}
        parts = [(item, i, part) for item, own in added for i, part in zip(self._asked(item.plan, level), own)]
        wholes = summed([part for _, _, part in parts], [item.shards for item, _, _ in parts])
        for (item, i, _), whole in zip(parts, wholes):
            addends.setdefault(self._places[item.plan][i], []).append(whole)
        sums = {
            place: torch.stack([one.to(found[0].device) for one in found]).sum() for place, found in addends.items()
        }
        for plan, places in self._places.items():
            for i in self._asked(plan, level):
                self._answers[plan][i] = sums[places[i]]

    def _asked(self, plan: GroupPlan, level: int) -> list[int]:
        """Which of its totals a plan asks for on a level."""
        return plan.segments[self.number].totals_of(level)

    def _scope(self, plan: GroupPlan, stage: int) -> str:
        """Over whose parameters a stage of a plan asks."""
        return "" if stage < self._update_index else plan.route

    def _places_in(self, plan: GroupPlan) -> Iterator[Place]:
        segment, before = plan.segments[self.number], -1
        count = 0
        for total in segment.totals:
            count = count + 1 if total.stage == before else 0
            before = total.stage
            stage = segment.begin + total.stage
            yield self._scope(plan, stage), stage, count

    def _check_shards(self) -> None:
        for item in self._asking:
            segment = item.plan.segments[self.number]
            if segment.stages[0].refresh_every > 0:
                raise EdslError(f"{segment.labels[0]} refreshes its memory and asks for a total: write two stages")
            if item.is_sharded_here and (not segment.serves_all_sizes or item.is_cut):
                raise EdslError(
                    f"parameter {item.name} is sharded, and {' | '.join(segment.labels)} asks for a total beside whole "
                    "matrices: no process can compute its share; leave it unsharded, or write the total in a stage of "
                    "elements"
                )

    def _check_together(self, plans: Sequence[GroupPlan]) -> None:
        """Raises EdslError where a stage asks some of its parameters for other totals than others."""
        asked: dict[tuple[str, int], list[int]] = {}
        for plan in plans:
            segment = plan.segments[self.number]
            for number, label in enumerate(segment.labels):
                stage = segment.begin + number
                levels = [total.level for total in segment.totals if total.stage == number]
                if asked.setdefault((self._scope(plan, stage), stage), levels) != levels:
                    raise EdslError(
                        f"{label}: parameters that are spared decay ask for other totals than the rest: "
                        "ask for the same whether layerwise or not"
                    )

    def _total_norms(self, items: Sequence[ParameterStep]) -> dict[GroupPlan, Tensor]:
        routes = {}  # over whose parameters a plan's norm is taken, "" for all
        for plan in {item.plan: None for item in items}:
            segment = plan.segments[self.number]
            if segment.needs_total_norm:
                routes[plan] = self._scope(plan, segment.begin)
        if not routes:
            return {}
        pools: dict[str, list[ParameterStep]] = {}
        for item in items:
            route = routes.get(item.plan)
            if route is not None:
                pools.setdefault(route, []).append(item)
        shards = [[item.shards for item in pool] for pool in pools.values()]
        norms = dict(zip(pools, total_norms([[item.x for item in pool] for pool in pools.values()], shards)))
        return {plan: norms[route] for plan, route in routes.items()}


def answer(totals: Totals, kernels: Sequence[Any], steps: Any) -> None:
    """Answer all that is asked over all layers, level by level.

    Args:
        kernels: what can add layers up: the first that can does. steps: takes what they leave, through torch.
    """
    for level in range(totals.levels):
        left, added = totals.asking(level), []
        order = {item: place for place, item in enumerate(left)}
        for cache in kernels:
            left, found = cache.add(left, totals.number, level, totals.late_of)
            added += found
        added += steps.add(totals.works_of(left), level)
        totals.add_up(level, sorted(added, key=lambda one: order[one[0]]))
