"""Pipeline + parameters → compiled step.

The estimator comes first, over all parameters at once. Then data flows once through each parameter:
θ, g and the memory go in as they lie in memory (as matrices, where a stage asks for them), the stages
run one after another, and the memory and θ are written back in place. So every size and layout shares
one compiled step. A stage that needs a norm over *all* parameters splits the pipeline into segments.

Elements, norms and means are compiled for all parameters at once: on a CPU as native code, one call
(edsl.kernels.cpu), on a GPU as Triton kernels, a few launches (edsl.kernels.cuda). The rest, matrices above all,
goes parameter by parameter through torch.compile; so do parameters that are cut over processes: each
runs its shard, and what a stage asks about the whole layer is answered before (edsl.engine.sharded).

Hyper-parameters go in as one float64 vector, so a schedule never recompiles. Powers βᵏ are computed
on the host and go with them: inside the loop over elements a pow would cost more than all else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from operator import is_
from typing import Any

import torch
from torch import Tensor

from edsl.distributed.collectives import total_norms
from edsl.engine.replay import Replay, can_replay
from edsl.engine.sharded import PartialResult, identity_part, reduce_all, step_gathered
from edsl.engine.stacks import stack_inputs, stacked, stacked_function, unstack_results
from edsl.engine.torch_compile import Inductor
from edsl.engine.watching import Watched
from edsl.engine.work import SegmentWork, waves_of
from edsl.errors import EdslError, shown
from edsl.groups.names import Names
from edsl.groups.param_groups import Share, is_whole, routes_in, values_on
from edsl.kernels.cpu import CpuKernels
from edsl.kernels.cuda import CudaKernels
from edsl.kernels.kernel import NoKernels
from edsl.language.domain import Number
from edsl.language.pipeline import Pipeline
from edsl.language.stage import Estimator
from edsl.numerics.newton_schulz import orthogonal_factor
from edsl.step.addresses import MemoryMap, addresses, check_no_fakes, check_no_state, steps_taken
from edsl.step.checks import check_steppable
from edsl.step.contexts import ObservingContext
from edsl.step.inputs import StepInputs
from edsl.step.layout import matrix_shape
from edsl.step.oracle import Oracle, ParameterSlot
from edsl.step.parameter import ParameterStep
from edsl.step.plan import GroupPlan, buffer_names
from edsl.step.segment import Segment
from edsl.step.state_dtype import StateDtype

MODES = ("compiled", "inductor", "eager")


class Engine:
    """Runs the pipelines of an optimizer's groups on their parameters."""

    def __init__(
        self, pipeline: Pipeline, mode: str, state_dtype: StateDtype = None, names: Names | None = None
    ) -> None:
        self.pipeline = pipeline
        self.names = names or Names()
        self.mode = mode
        self.state_dtype = state_dtype
        self.native = CpuKernels() if mode == "compiled" else NoKernels()
        self.cuda = CudaKernels() if mode == "compiled" else NoKernels()
        self.inductor = Inductor()
        self._plans: dict[tuple[int, Any], GroupPlan] = {}
        self._owners: dict[tuple[int, Any], int] = {}  # the id of the group that each plan was made for
        self._functions: dict[tuple[Any, ...], Callable[..., Any]] = {}
        self._names: tuple[Any, Any] | None = None  # what names were made from, and the names
        self._kept: dict[int, ParameterStep] = {}  # from the last general step, by the parameter's id
        self._active: list[ParameterStep] = []  # those that hold tensors
        self._before: list[ParameterStep] = []  # the items of the last general step
        self._replay: Replay | None = None
        self._memory = MemoryMap((), ())  # of the last general step
        self.kinds: Mapping[str, Sequence[str]] = {}  # of the modules that own each parameter, where they are known

    @property
    def graphs(self) -> int:
        """How many steps were compiled, natively or by torch."""
        return self.inductor.graphs + self.native.kernels + self.cuda.kernels

    @property
    def fallbacks(self) -> list[str]:
        """One reason for each graph that could not be compiled, and so runs eagerly."""
        return self.inductor.fallbacks

    def forget_plans(self) -> None:
        """Read the groups anew, as after loading a checkpoint; what is compiled stays."""
        self._plans.clear()
        self._owners.clear()
        self.names.forget()
        self._kept.clear()
        self._replay = None

    def plan(self, index: int, group: dict[str, Any], spared: Any) -> GroupPlan:
        """The plan of a group for its parameters that are, or are not, spared decay.

        In a group of several routes `spared` is a `Share`, which says of which route they are too.
        """
        share = spared if isinstance(spared, Share) else Share(group.get("route", ""), spared)
        values = group
        if is_whole(self.pipeline, group):
            share = share if share.route else Share(next(iter(self.pipeline.branches)), share.spared)
            values = values_on(self.pipeline, share.route, group)
        plan = self._plans.get((index, spared))
        if plan is None or self._owners[index, spared] != id(group):  # groups may be removed and reordered
            plan = self._plans[index, spared] = self._new_plan(index, values, share)
            self._owners[index, spared] = id(group)
        elif moved := plan.moved(values):
            self._follow(plan, index, values, moved)
        return plan

    def _new_plan(self, index: int, group: dict[str, Any], share: Share) -> GroupPlan:
        pipeline = self.pipeline.branch(share.route)
        _check_keys(index, group, (*pipeline.hyperparameters, "exclude"))
        values = {key: _number(key, group[key]) for key in pipeline.hyperparameters}
        plan = GroupPlan(pipeline, share.spared, values, share.route, self.state_dtype)
        plan.record_values(group, ("route", "exclude", *values))
        return plan

    def _follow(self, plan: GroupPlan, index: int, group: dict[str, Any], moved: list[str]) -> None:
        """Take over what a group has under the keys that moved."""
        route = group.get("route", "")
        if route != plan.route:
            raise EdslError(
                f"param group {index}: its route is fixed, got {shown(route)} instead of {shown(plan.route)}; "
                "move its parameters to a group of that route"
            )
        _check_keys(index, group, [key for key in moved if key != "route"])
        now = {key: _number(key, group[key]) for key in moved if key in plan.values}
        changed = {key: value for key, value in now.items() if value != plan.values[key]}
        if changed:
            plan.change(changed)
        plan.record_values(group, moved)

    def oracle(self, groups: list[dict[str, Any]], states: Any, closure: Callable[[], Any] | None) -> Oracle:
        """The model as the estimator sees it at the next step."""
        check_no_fakes()
        slots = list(self._slots(groups, states))
        calls = groups[0].get("calls", 0) if groups else 0
        return Oracle(slots, max((slot.k for slot in slots), default=1), calls, closure, self.estimator(groups))

    def estimator(self, groups: list[dict[str, Any]]) -> Estimator:
        """The estimator with the groups' values, in which they must agree."""
        found = [self.plan(index, group, spared=False).estimator for index, group in enumerate(groups)]
        if any(other != found[0] for other in found[1:]):
            raise EdslError(f"all param groups must agree on the estimator, got {' and '.join(map(str, set(found)))}")
        return found[0] if found else self.pipeline.estimator

    def _slots(self, groups: list[dict[str, Any]], states: Any) -> Iterator[ParameterSlot]:
        reads_grad = not self.pipeline.estimator.needs_closure

        def memory(slot: ParameterSlot) -> Any:
            return self._estimator_memory(groups[slot.group], states, slot)

        for index, (group, named) in enumerate(zip(groups, self._named(groups))):
            climbs = group.get("maximize", False)
            for parameter, (name, spared) in zip(group["params"], named):
                if reads_grad or parameter.requires_grad:  # its closure may unfreeze one yet
                    taken = steps_taken(states.get(parameter), name)
                    yield ParameterSlot(
                        parameter, name, index, (taken or 0) + 1, taken is not None, memory, climbs, spared
                    )

    def _named(self, groups: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
        """The name of each group's parameters, each name once, and whether it is spared: for `plan`."""
        self.names.follow(groups)
        given = [
            (group.get("param_names") or len(group["params"]), group.get("exclude", ()), self._routes_in(group))
            for group in groups
        ]
        if self._names is None or self._names[0] != given:
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
            copies = [
                (known if isinstance(known, int) else list(known), tuple(spared), routes)
                for known, spared, routes in given
            ]
            self._names = (copies, found)
        return self._names[1]

    def _routes_in(self, group: dict[str, Any]) -> list[str]:
        """The routes of the parameters of a group that holds several."""
        return routes_in(self.pipeline, group) if is_whole(self.pipeline, group) else []

    def _estimator_memory(self, group: dict[str, Any], states: Any, slot: ParameterSlot) -> Any:
        plan, parameter = self.plan(slot.group, group, slot.spared), slot.parameter
        if "step" not in states[parameter]:
            states[parameter].update(plan.fresh_state(parameter))
        memory = plan.estimator_memory(states[parameter])
        if any(buffer.shape != parameter.shape for buffer in memory):
            raise EdslError("a parameter changed its shape: build a new optimizer after changing shapes")
        return memory

    def step(self, groups: list[dict[str, Any]], states: Any, slots: list[ParameterSlot]) -> list[ParameterStep]:
        """One step of every parameter with a gradient; the items hold u if nothing updates θ."""
        items = list(self._items(groups, states, slots))
        if not items:
            return []
        self._look_at_memory(items)
        self._run_segments(items, self._run)
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
        may_repeat = (
            not self.pipeline.nonfinite_policy and not self._memory.shared and self.estimator(groups).passes_grad
        )
        if may_repeat and can_replay(items, self._before):
            plans = {choice: plan for choice, plan in self._plans.items() if any(item.plan is plan for item in items)}
            self._replay = Replay(groups, items, plans, self._named(groups), self._memory)
        self._before = items
        return items

    def _look_at_memory(self, items: list[ParameterStep]) -> None:
        """Find out who shares memory; raises EdslError where a gradient does."""
        extents = [item.extents for item in items]
        if len(extents) != len(self._memory.extents) or not all(map(is_, extents, self._memory.extents)):
            self._memory = MemoryMap(extents, [f"parameter {item.name}" for item in items])
        reading = [item for item in items if item.steps_on_gradient and item.count > 0]
        begins = addresses([item.raw for item in reading])
        lasts = [begin + item.count * item.raw.element_size() - 1 for begin, item in zip(begins, reading)]
        found = self._memory.first_inside(begins, lasts)
        if found is not None:
            raise EdslError(
                f"the gradient of parameter {reading[found].name} shares memory with a parameter or with state, "
                "which the step changes: clone() it"
            )

    @property
    def can_replay(self) -> bool:
        """Whether the next step may be as the last one was; its estimator is p.grad then."""
        return self._replay is not None

    def replay(self, groups: list[dict[str, Any]], states: Any) -> bool:
        """Take the next step if it repeats the last one; if it doesn't, nothing was touched."""
        if self._replay is None:
            return False
        check_no_fakes()
        found = self._replay.find(groups, states)
        if found is None or not self._plans_stay(self._replay, groups):
            self._replay = None
            return False
        self._replay.step(found)
        return True

    def _plans_stay(self, replay: Replay, groups: list[dict[str, Any]]) -> bool:
        """Whether the plans are those of the roster still, with the groups' values of now."""
        if self._named(groups) is not replay.named:
            return False
        found = [(self.plan(index, groups[index], spared), plan) for (index, spared), plan in replay.plans.items()]
        return all(now is plan and now.estimator.passes_grad for now, plan in found)

    def watch(self, groups: list[dict[str, Any]], states: Any, slots: list[ParameterSlot]) -> list[Watched]:
        """What the next step will compute on the way, without taking it."""
        seen: list[Watched] = []
        flows: dict[ParameterStep, dict[str, tuple[Tensor, Tensor]]] = {}

        def look(work: SegmentWork) -> None:
            item = work.item
            u, _, at = work.segment.evaluate(ObservingContext, item.theta, item.x, work.place, *work.buffers)
            assert isinstance(at, ObservingContext)  # made by evaluate
            through = flows.setdefault(item, {})
            through |= at.flows
            if work.segment.updates:
                update = item.plan.pipeline.update
                seen.append(Watched(item.parameter, item.k, update, at.roots, at.norms, at.ratios, through))
            item.x = u

        items = list(self._items(groups, states, slots))
        if any(item.is_sharded_here for item in items):
            raise EdslError("only unsharded parameters can be watched; these are sharded (DTensor)")
        self._run_segments(items, lambda works: [look(work) for work in works], natively=False)
        return seen

    def preview(
        self,
        groups: list[dict[str, Any]],
        states: Any,
        slots: list[ParameterSlot],
        chosen: Callable[[ParameterStep], bool],
        look: Callable[[SegmentWork], None],
    ) -> None:
        """Let `look` see chosen items before each segment of the next step, which isn't taken."""
        items = [item for item in self._items(groups, states, slots) if chosen(item)]
        self._run_segments(items, lambda works: [look(work) for work in works], natively=False)

    def _run_segments(
        self, items: list[ParameterStep], call: Callable[[list[SegmentWork]], Any], natively: bool = True
    ) -> None:
        """Take all items that have elements through one segment after the other."""
        items = [item for item in items if item.count > 0 or item.is_sharded_here]
        lengths = [len(plan.segments) for plan in {item.plan for item in items}]
        for number in range(max(lengths, default=0)):
            ends = min(lengths) <= number
            going = [item for item in items if number < len(item.plan.segments)] if ends else items
            totals = self._total_norms(going, number)
            for lot in self._lots(going):
                left = self._compiled_steps(lot, number, totals) if natively else lot
                if not left:
                    continue
                for works in waves_of(self._turns(left, number, totals)):
                    self._confer(works)
                    step_gathered([work for work in works if work.needs_whole], self._step_whole)
                    call([work for work in works if not work.needs_whole and work.item.count > 0])

    def _lots(self, items: list[ParameterStep]) -> list[list[ParameterStep]]:
        """The items that may step at once, then one by one those that share memory."""
        if not self._memory.shared:
            return [items]
        sharing = {id(self._memory.extents[place]) for place in self._memory.shared}
        apart = [[item] for item in items if id(item.extents) in sharing]
        return [[item for item in items if id(item.extents) not in sharing], *apart]

    def _compiled_steps(
        self, items: list[ParameterStep], number: int, totals: dict[str, Tensor]
    ) -> list[ParameterStep]:
        """Take items through a segment where kernels can; the others are left."""
        for steps in (self.native, self.cuda):
            norms = [totals.get(self._pool(item, number)) for item in items] if totals else None
            items = steps.run(items, number, norms)
        return items

    def _turns(self, items: list[ParameterStep], number: int, totals: dict[str, Tensor]) -> list[SegmentWork]:
        """The items before their segment of this number, with all that it reads."""
        lives: dict[tuple[int, int, torch.device], Tensor] = {}
        works = []
        for item in items:
            segment, device = item.plan.segments[number], item.theta.device
            total = totals.get(self._pool(item, number))
            live = lives.get((id(item.plan), item.k, device))
            if live is None:
                live = lives[id(item.plan), item.k, device] = item.plan.live(item.k, device)
            needs_whole = item.is_sharded_here and not segment.serves_all_sizes
            asks = item.is_sharded_here and not needs_whole
            inputs = StepInputs(
                gradient=item.gradient if number > 0 else None,
                live=live,
                total_norm=None if total is None else total.to(device),
                hessian=item.hessian,
                difference=item.difference,
                answers=(None,) * len(segment.analysis.reductions) if asks else None,
                shape=_size(matrix_shape(item.parameter), live) if asks and item.plan.is_matrix else None,
                key=torch.tensor(item.key, device=device) if item.plan.rounds_stochastically else None,
            )
            works.append(SegmentWork(item, segment, inputs, item.memory(segment), needs_whole))
        return works

    def _total_norms(self, items: list[ParameterStep], number: int) -> dict[str, Tensor]:
        """The norms that a segment needs: over all parameters, or behind a route over its own."""
        needing = {plan for plan in {item.plan for item in items} if plan.segments[number].needs_total_norm}
        if not needing:
            return {}
        pools: dict[str, list[ParameterStep]] = {}
        for item in items:
            if item.plan in needing:
                pools.setdefault(self._pool(item, number), []).append(item)
        shards = [[item.shards for item in pooled] for pooled in pools.values()]
        return dict(zip(pools, total_norms([[item.x for item in pooled] for pooled in pools.values()], shards)))

    def _pool(self, item: ParameterStep, number: int) -> str:
        """The route over whose parameters a total norm is taken, "" for all."""
        return "" if item.plan.segments[number].begin < self.pipeline.update_index else item.plan.route

    def _run(self, works: list[SegmentWork]) -> None:
        for stack in stacked(works) if self.mode != "eager" else ([work] for work in works):
            if len(stack) > 1:
                self._step_stack(stack)
                continue
            (work,) = stack
            item = work.item
            item.x = self._step_of(work.segment, item.k, item.theta, item.x, work.place, work.buffers)

    def _step_stack(self, stack: list[SegmentWork]) -> None:
        segment = stack[0].segment
        for work in dict.fromkeys(stack):
            _refresh(segment, work.item.k, work.item.theta, work.item.x, work.place, work.buffers)
        theta, x, inputs, buffers = stack_inputs(stack)
        for tensor in (theta, x, inputs.gradient, inputs.hessian, inputs.difference, inputs.key, *buffers):
            if tensor is not None:  # so that a layer without a gradient compiles nothing
                torch._dynamo.mark_dynamic(tensor, 0)
        function = self._function(
            (segment.key, "stack"), partial(stacked_function, segment), segment.serves_all_sizes, theta, x, inputs
        )
        unstack_results(stack, *function(theta, x, inputs, *buffers))

    def _step_of(
        self, segment: Segment, k: int, theta: Tensor, x: Tensor, inputs: StepInputs, buffers: list[Tensor]
    ) -> Tensor | None:
        _refresh(segment, k, theta, x, inputs, buffers)
        function = self._function(segment.key, segment.function, segment.serves_all_sizes, theta, x, inputs)
        return function(theta, x, inputs, *buffers)

    def _confer(self, works: list[SegmentWork]) -> None:
        """Answer what sharded items ask about their whole layers, all of a round at once."""
        asking = [work for work in works if work.inputs.answers]
        for number in range(max((work.segment.analysis.rounds for work in asking), default=0)):
            reduce_all([told for work in asking for told in self._ask(work, number)], self._orthogonal)

    def _ask(self, work: SegmentWork, number: int) -> Iterator[PartialResult]:
        """What a shard can tell for its questions of one round."""
        item, segment = work.item, work.segment
        asked = [(i, question) for i, question in enumerate(segment.analysis.reductions) if question.round == number]
        if not asked:
            return
        parts: Any = [identity_part(item.theta, question) for _, question in asked]
        if item.theta.numel() > 0:
            key = (segment.key, "ask", number)
            inputs = work.place
            ask = self._function(key, partial(segment.asking, number), True, item.theta, item.x, inputs)
            parts = ask(item.theta, item.x, inputs, *work.buffers)
        for (place, question), part in zip(asked, parts):
            yield PartialResult(work, place, question, part)

    def _orthogonal(self, whole: Tensor, *how: Any) -> Tensor:
        """A whole matrix's orthogonal factor."""
        key = ("orthogonal", how, whole.dtype, whole.device, _form(whole))
        return self._cached(key, partial(orthogonal_factor, how), True)(whole)

    def _step_whole(
        self, work: SegmentWork, theta: Tensor, x: Tensor, inputs: StepInputs, buffers: list[Tensor]
    ) -> Tensor:
        u = self._step_of(work.segment, work.item.k, theta, x, inputs, buffers)
        return theta if u is None else u

    def _items(self, groups: list[dict[str, Any]], states: Any, slots: list[ParameterSlot]) -> Iterator[ParameterStep]:
        before, kept = self._kept, {}
        plans: dict[tuple[int, bool], GroupPlan] = {}
        partners = lru_cache(lambda: Counter(map(_stack_key, slots)))
        for slot in slots:
            if slot.gradient is None:
                if id(slot.parameter) in before:
                    kept[id(slot.parameter)] = before[id(slot.parameter)]
                continue
            choice = (slot.group, slot.spared)
            plan = plans.get(choice)
            if plan is None:
                plan = plans[choice] = self.plan(slot.group, groups[slot.group], slot.spared)
            state = states[slot.parameter]
            item = before.get(id(slot.parameter))
            if item is None or not item.begin(slot, plan, state):
                item = self._new_item(slot, plan, state, partners)
            kept[id(slot.parameter)] = item
            self._active.append(item)
            yield item
        self._kept = kept

    def _new_item(
        self, slot: ParameterSlot, plan: GroupPlan, state: dict[str, Any], partners: Callable[[], Counter[Any]]
    ) -> ParameterStep:
        """An item whose parameter, gradient and state were checked."""
        check_steppable(plan.pipeline, slot.parameter, slot.name, self.kinds)
        check_flattened(self.pipeline, slot.parameter, slot.name)
        if "step" not in state:
            check_no_state(state, plan.buffers, f"parameter {slot.name}")
            state.update(plan.fresh_state(slot.parameter))
        elif self._comes_from_another_route(state, plan):
            slot.k = 1
            state.clear()
            state.update(plan.fresh_state(slot.parameter))
        return ParameterStep(slot, plan, state, plan.is_matrix and partners()[_stack_key(slot)] > 1)

    def _comes_from_another_route(self, state: dict[str, Any], plan: GroupPlan) -> bool:
        """Whether a parameter was moved, with its state, to a group of another route: it begins there anew."""
        own = {*plan.buffers}
        strange = {*buffer_names(self.pipeline)} - own
        return not own <= state.keys() and not strange.isdisjoint(state)

    def release_gradients(self) -> None:
        """Let go of the tensors of the last step."""
        for item in self._active:
            item.release_gradients()
        self._active = []

    def _function(
        self, key: Any, make: Callable[[], Any], dynamic: bool, theta: Tensor, x: Tensor, inputs: StepInputs
    ) -> Callable[..., Any]:
        form = _form(theta) if dynamic else theta.shape[-2:]
        known = tuple(answer is None for answer in inputs.answers or ())
        has = (
            inputs.hessian is None,
            inputs.difference is None,
            inputs.gradient is None,
            inputs.answers is None,
            known,
        )
        return self._cached((key, theta.dtype, x.dtype, theta.device, form, has), make, dynamic)

    def _cached(self, key: tuple[Any, ...], make: Callable[[], Any], dynamic: bool) -> Callable[..., Any]:
        if key not in self._functions:
            eager = self.mode == "eager"
            whole = (*key, str(self.state_dtype))
            self._functions[key] = make() if eager else self.inductor.compiled(whole, make, dynamic)
        return self._functions[key]


def _check_keys(index: int, group: dict[str, Any], keys: Sequence[str]) -> None:
    missing = [key for key in keys if key not in group]
    if missing:
        raise EdslError(f"param group {index} is missing {', '.join(missing)}")


def check_flattened(pipeline: Pipeline, parameter: Tensor, name: str) -> None:
    """Raises EdslError for a piece of FSDP1's flat parameter under a pipeline that looks at whole layers."""
    if not getattr(parameter, "_fsdp_flattened", False):
        return
    which = f"parameter {name}" if name else "a parameter"
    if any(GroupPlan(one, False, dict(one.hyperparameters)).asks_about_layers for one in pipeline.branches.values()):
        raise EdslError(
            f"{which} is part of a flat parameter of FullyShardedDataParallel (FSDP1), which hides the norms and "
            "matrices of layers: shard with fully_shard (FSDP2), or use an element-wise pipeline such as adamw"
        )


def _form(theta: Tensor) -> tuple[bool, ...]:
    """What a matrix function may branch on: the compiler gives equal sizes one symbol."""
    if theta.dim() == 1:
        return ()
    *stack, rows, columns = theta.shape
    equal = (rows in stack, columns in stack)
    return (rows > columns, rows == columns, rows == 1, columns == 1, *equal)


def _refresh(segment: Segment, k: int, theta: Tensor, x: Tensor, inputs: StepInputs, buffers: list[Tensor]) -> None:
    if segment.refreshes(k):
        segment.refresh(k, theta, x, inputs, *buffers)


def _stack_key(slot: ParameterSlot) -> Any:
    """What the parameters that may share a stack have in common."""
    return slot.group, slot.spared, slot.parameter.shape[:1], slot.parameter.numel()


_ANY = Number()


def _number(key: str, value: Any) -> Any:
    """A group's number, or that which its tensor or numpy scalar holds; raises EdslError where it holds none."""
    if isinstance(value, (float, int)):
        return value  # which its own domain reads
    try:
        return _ANY.read(value)
    except ValueError as reason:
        raise EdslError(f"param group: {key} {reason}") from None


def _size(shape: tuple[int, int], like: Tensor) -> Tensor:
    """Rows and columns as live values."""
    return torch.tensor(shape, dtype=like.dtype, device=like.device)
