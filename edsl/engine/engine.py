"""Pipeline + parameters → compiled step.

The estimator comes first, over all parameters at once. Then data flows once through each parameter:
θ, g and the memory go in as they lie in memory (as matrices, where a stage asks for them), the stages
run one after another, and the memory and θ are written back in place. So every size and layout shares
one compiled step. A stage that needs a norm over *all* parameters splits the pipeline into segments.

Elements, norms and means are compiled for all parameters at once: on a CPU as native code, one call
(edsl.kernels.cpu), on a GPU as Triton kernels, a few launches (edsl.kernels.cuda). Around products of matrices the
same kernels step a stack of equal matrices at a time (edsl.engine.stacks). The rest goes parameter by parameter
through torch.compile; so do parameters that are cut over processes: each runs its shard, and what a stage asks about
the whole layer is answered before (edsl.engine.sharded).

Hyper-parameters go in as one float64 vector, so a schedule never recompiles. Powers βᵏ are computed
on the host and go with them: inside the loop over elements a pow would cost more than all else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from edsl.engine.monitoring.watching import Observer, Watched, is_whole
from edsl.engine.parameter_steps import MemoryInUse, ParameterSteps
from edsl.engine.paths import StepPath, paths_of
from edsl.engine.plans import GroupPlans
from edsl.engine.replay import Replay, can_replay
from edsl.engine.singly import Singly
from edsl.engine.stacks import step_stacks, step_whole
from edsl.engine.torch_steps import TorchSteps
from edsl.engine.totals import Totals, answer
from edsl.engine.work import SegmentWork, waves_of
from edsl.groups.names import Names
from edsl.kernels.cpu import CpuKernels
from edsl.kernels.cuda import CudaKernels
from edsl.kernels.kernel import NoKernels
from edsl.language.pipeline import Pipeline
from edsl.step.addresses import check_no_fakes
from edsl.step.oracle import Oracle, ParameterSlot
from edsl.step.parameter import ParameterStep
from edsl.step.parts.decoded import encode
from edsl.step.parts.matrices import Matrices
from edsl.step.plan import GroupPlan
from edsl.step.state_dtype import StateDtype

MODES = ("compiled", "inductor", "eager")
Groups = list[dict[str, Any]]


class Engine:
    """Runs the pipelines of an optimizer's groups on their parameters.

    Attributes:
        names: of the parameters.
        native, cuda, torch_steps: what takes an item through a segment: the first that can.
    """

    def __init__(
        self, pipeline: Pipeline, mode: str, state_dtype: StateDtype = None, names: Names | None = None
    ) -> None:
        self.pipeline, self.state_dtype = pipeline, state_dtype
        self.names = names or Names()
        self.native = CpuKernels() if mode == "compiled" else NoKernels()
        self.cuda = CudaKernels() if mode == "compiled" else NoKernels()
        self.torch_steps = TorchSteps(mode, state_dtype)
        self._plans = GroupPlans(pipeline, state_dtype, self.names)
        self._parameters = ParameterSteps(self._plans)
        self._memory = MemoryInUse()
        self._before: list[ParameterStep] = []  # the items of the last general step
        self._replay: Replay | None = None
        self._singly = Singly(self._plans)

    @property
    def kinds(self) -> Mapping[str, Sequence[str]]:
        """Of the modules that own each parameter, by its name, where they are known."""
        return self._plans.kinds

    @kinds.setter
    def kinds(self, known: Mapping[str, Sequence[str]]) -> None:
        self._plans.kinds = known

    @property
    def graphs(self) -> int:
        """How many steps were compiled, natively or by torch."""
        return self.torch_steps.inductor.graphs + self.native.kernels + self.cuda.kernels

    @property
    def fallbacks(self) -> list[str]:
        """One reason for each graph that could not be compiled, and so runs eagerly."""
        return self.torch_steps.inductor.fallbacks

    @property
    def paths(self) -> dict[str, tuple[StepPath, ...]]:
        """By which path each parameter of the last steps went through each part of its pipeline."""
        return paths_of(self._parameters.kept, (self.native, self.cuda), self.torch_steps.mode)

    def forget_plans(self) -> None:
        """Read the groups anew, as after loading a checkpoint; what is compiled stays."""
        self._plans.forget()
        self._parameters.forget()
        self._singly.forget()
        self._replay = None

    def settle(self, groups: Groups, states: Any) -> None:
        """Bring names in line with the groups, and wait until all state is whole where it is kept, as it is here."""
        self.names.follow(groups)

    def plan(self, index: int, group: dict[str, Any], spared: Any, is_half: bool = False) -> GroupPlan:
        """The plan of a group for its parameters that are, or are not, spared decay: see `GroupPlans.plan`."""
        return self._plans.plan(index, group, spared, is_half)

    def plan_for(self, groups: Groups, states: Any, parameter: Any) -> tuple[GroupPlan, Matrices | None] | None:
        """The plan by which a parameter steps, and how it takes it as matrices; None for one that is in no group."""
        return self._plans.plan_for(groups, states, parameter)

    def oracle(self, groups: Groups, states: Any, closure: Callable[[], Any] | None) -> Oracle:
        """The model as the estimator sees it at the next step."""
        check_no_fakes()
        self._plans.set_clock(groups, states)
        slots = list(self._plans.slots(groups, states))
        calls = groups[0].get("calls", 0) if groups else 0
        k = max((slot.k for slot in slots), default=1)
        return Oracle(slots, k, calls, closure, self._plans.estimator(groups))

    def step(self, groups: Groups, states: Any, slots: list[ParameterSlot]) -> list[ParameterStep]:
        """One step of every parameter with a gradient; the items hold u if nothing updates θ."""
        items = self._take(groups, states, slots, are_all=True)
        if not items:
            return []
        shares_memory = bool(self._memory.map.shared)
        may_repeat = not self.pipeline.nonfinite_policy and not shares_memory
        if may_repeat and self._plans.estimator(groups).passes_grad and can_replay(items, self._before):
            self._replay = Replay(groups, items, self._plans, self._memory.map)
        self._before = items
        self._plans.show_next(groups, items)
        return items

    def _take(self, groups: Groups, states: Any, slots: list[ParameterSlot], are_all: bool) -> list[ParameterStep]:
        """Take the parameters of slots through their pipelines, all of them there are or a part."""
        items = list(self._parameters.begin(groups, states, slots, are_all))
        if items:
            self._memory.follow(self._parameters.active)
            self._run_segments(items, self.torch_steps.step)
            self._finish(self._parameters.active)
        return items

    def begin_singly(self, groups: Groups, states: Any) -> None:
        """Begin a step in which one parameter after another steps by `step_one`, until `end_singly`."""
        check_no_fakes()
        self._replay = None
        self._singly.begin(groups, states)

    def slot_of(self, groups: Groups, states: Any, parameter: Any) -> ParameterSlot | None:
        """A parameter with its gradient before `step_one`; None where it is in no group, or has no gradient."""
        return self._singly.slot(groups, states, parameter)

    def step_one(self, groups: Groups, states: Any, parameter: Any) -> bool:
        """Step a parameter on the gradient that it has; False where it is in no group, or has none.

        The pipeline must ask nothing of all parameters.
        """
        if self._singly.repeat(groups, states, parameter):
            return True
        slot = self.slot_of(groups, states, parameter)
        if slot is None:
            return False
        self._take(groups, states, [slot], are_all=False)
        for item in self._parameters.active:
            self._singly.note(item)
        return True

    def end_singly(self, groups: Groups) -> None:
        """End the step: the groups show the scheduled values of the next."""
        if self._singly.stepped:
            self._plans.show_next(groups, self._singly.stepped)

    def _finish(self, items: list[ParameterStep]) -> None:
        """Tell autograd that θ has moved, and count the step where no kernel did."""
        moved: list[Tensor] = []
        uncounted: list[Tensor] = []
        for item in items:
            if item.dense:
                moved.append(item.parameter)
            else:
                item.write_back()
            if item.counts:
                uncounted.append(item.state["step"])
        if not self.pipeline.update.moves_weights:
            torch.autograd.graph.increment_version(moved)
        if uncounted:
            torch._foreach_add_(uncounted, 1)  # pyright: ignore[reportPrivateImportUsage]

    @property
    def can_replay(self) -> bool:
        """Whether the next step may be as the last one was; its estimator is p.grad then."""
        return self._replay is not None

    def replay(self, groups: Groups, states: Any) -> bool:
        """Take the next step if it repeats the last one; if it doesn't, nothing was touched."""
        replay = self._replay
        if replay is None:
            return False
        check_no_fakes()
        found = replay.find(groups, states)
        if found is None:
            self._replay = None
            return False
        replay.step(found)
        self._plans.show_next(groups, replay.items)
        return True

    def release_gradients(self) -> None:
        """Let go of the tensors of the last step."""
        self._parameters.release()

    def watch(self, groups: Groups, states: Any, slots: list[ParameterSlot]) -> list[Watched]:
        """What the next step will compute on the way, without taking it; raises EdslError for sharded parameters."""
        observer = Observer()
        self.preview(groups, states, slots, is_whole, observer.look)
        return observer.seen

    def preview(
        self,
        groups: Groups,
        states: Any,
        slots: list[ParameterSlot],
        chosen: Callable[[ParameterStep], bool],
        look: Callable[[SegmentWork], None],
    ) -> None:
        """Let `look` see chosen items before each segment of the next step, which isn't taken."""
        items = [item for item in self._parameters.begin(groups, states, slots, are_all=False) if chosen(item)]
        self._run_segments(items, lambda works: [look(work) for work in works], natively=False)

    def _run_segments(
        self, items: list[ParameterStep], call: Callable[[list[SegmentWork]], Any], natively: bool = True
    ) -> None:
        """Take all items that have elements through one segment after the other.

        Args:
            call: takes what kernels leave through a segment, but for layers that are gathered.
        """
        items = [item for item in items if item.count > 0 or item.is_sharded_here]
        lengths = [len(plan.segments) for plan in {item.plan for item in items}]
        for number in range(max(lengths, default=0)):
            ends = min(lengths) <= number
            going = [item for item in items if number < len(item.plan.segments)] if ends else items
            totals = Totals(going, number, self.pipeline.update_index)
            answer(totals, (self.native, self.cuda) if natively else (), self.torch_steps)
            for lot in self._memory.lots(going):
                left = self._run_kernels(lot, number, totals) if natively else lot
                for works in waves_of(totals.works_of(left)) if left else ():
                    self.torch_steps.reduce(works)
                    self.torch_steps.step_gathered(works, self._step_whole)
                    call(
                        [
                            work
                            for work in works
                            if not work.needs_whole and (work.item.count > 0 or work.segment.scalars)
                        ]
                    )
                if lot[:1] and lot[0].copied_from is not None:
                    for part in lot:
                        part.write_back()
                    if natively and lot[0].copied_from.coded:
                        encode(lot[0].plan.segments[number], lot[0].copied_from)

    def _run_kernels(self, items: list[ParameterStep], number: int, totals: Totals) -> list[ParameterStep]:
        """Take items through a segment where kernels can; the others are left."""
        for kernels in (self.native, self.cuda):
            items = kernels.run(items, number, totals.late_of_all(items))
        return step_stacks((self.native, self.cuda), items, number, totals)

    def _step_whole(self, work: SegmentWork, *tensors: Any) -> Tensor | None:
        """Take a matrix that was brought together on this process through its segment, where kernels can."""
        return step_whole((self.native, self.cuda), work, *tensors)
