"""The path through torch: what no kernel takes, one layer after another.

A segment becomes a function of tensors, compiled by torch.compile, or run as it stands with mode="eager".
A function is compiled once for all layers that it serves: `serves_all_sizes` says whether sizes matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from edsl.engine.paths import EAGER, TORCH
from edsl.engine.sharded import PartialResult, identity_part, reduce_all, step_gathered
from edsl.engine.torch_compile import Inductor
from edsl.engine.work import SegmentWork
from edsl.numerics.dtypes import working_dtype
from edsl.numerics.newton_schulz import newton_schulz
from edsl.numerics.sums import total_in_rows
from edsl.step.inputs import StepInputs
from edsl.step.parameter import ParameterStep
from edsl.step.segment import Segment
from edsl.step.state_dtype import StateDtype


class TorchSteps:
    """Takes layers through their segments with torch, and keeps the functions that do.

    Args:
        mode: the optimizer's; with "eager" nothing is compiled.
        state_dtype: the optimizer's, on which a function depends.
    """

    def __init__(self, mode: str, state_dtype: StateDtype) -> None:
        self.mode = mode
        self.inductor = Inductor()
        self._state_dtype = state_dtype
        self._functions: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def step(self, works: Sequence[SegmentWork]) -> None:
        """Take layers, or shards whose questions are answered, through their segment."""
        for work in works:
            item = work.item
            item.x = self._step_of(work, item.theta, item.x, work.inputs_with_noise(), work.buffers)

    def reduce(self, works: Sequence[SegmentWork]) -> None:
        """Compute the reductions of sharded parameters over their whole layers, all of a turn at once."""
        self._reduce([work for work in works if work.inputs.answers])

    def add(self, works: Sequence[SegmentWork], level: int) -> list[tuple[ParameterStep, Sequence[Tensor]]]:
        """What each item adds to its totals over all layers on one level."""
        self._reduce([work for work in works if work.inputs.answers], level)
        return [(work.item, self._added(work, level)) for work in works]

    def _reduce(self, asking: Sequence[SegmentWork], level: int | None = None) -> None:
        """Compute the reductions that aren't known yet, up to a level."""
        unknown = (
            question.turn
            for work in asking
            for question, answer in zip(work.segment.analysis.reductions, work.inputs.answers or ())
            if answer is None and (level is None or question.level <= level)
        )
        for turn in sorted(set(unknown)):
            reduce_all([part for work in asking for part in self._ask(work, turn)], newton_schulz)

    def _added(self, work: SegmentWork, level: int) -> Sequence[Tensor]:
        item, segment, inputs = work.item, work.segment, work.inputs_with_noise()
        chosen = segment.totals_of(level)
        if item.theta.numel() == 0:
            return [total_in_rows(item.theta.to(working_dtype(item.theta.dtype))) for _ in chosen]
        is_shard = inputs.answers is not None
        make = partial(segment.adding, level, is_shard)
        key, serves_all = (segment.key, "add", level), segment.serves_all_sizes
        if segment.is_matrix and self.mode == "compiled":  # the step itself may well be a program
            add = make()
        else:
            add = self._function(segment, key, make, serves_all, item.theta, item.x, inputs)
        return add(item.theta, item.x, inputs, *work.buffers)

    def step_gathered(self, works: Sequence[SegmentWork], first: Callable[..., Tensor | None]) -> None:
        """Take sharded layers through a segment that no shard can run: each whole, on one process.

        Args:
            first: takes those that are no work for torch; it gives None for the others.
        """

        def step(work: SegmentWork, theta: Tensor, x: Tensor, inputs: StepInputs, buffers: list[Tensor]) -> Tensor:
            made = first(work, theta, x, inputs, buffers)
            if made is None:
                made = self._step_of(work, theta, x, inputs, buffers)
            return theta if made is None else made

        step_gathered([work for work in works if work.needs_whole], step)

    def _step_of(
        self, work: SegmentWork, theta: Tensor, x: Tensor, inputs: StepInputs, buffers: list[Tensor]
    ) -> Tensor | None:
        segment, item = work.segment, work.item
        if segment.refreshes(item.k, item.name):
            segment.refresh(item.k, theta, x, inputs, *buffers)
        inputs = inputs._replace(probes=())  # for one function, whether or not there was a refresh
        if theta.numel() == 0:  # a shard without elements, which has the numbers of its layer
            return segment.function()(theta, x, inputs, *buffers)
        function = self._function(segment, segment.key, segment.function, segment.serves_all_sizes, theta, x, inputs)
        item.paths[segment.begin] = EAGER if self._is_eager(segment, inputs) else TORCH
        return function(theta, x, inputs, *buffers)

    def _ask(self, work: SegmentWork, turn: tuple[int, int]) -> Iterator[PartialResult]:
        """A shard's partial results of its reductions of one turn."""
        item, segment = work.item, work.segment
        asked = [(i, question) for i, question in enumerate(segment.analysis.reductions) if question.turn == turn]
        if not asked:
            return
        parts: Any = [identity_part(item.theta, question) for _, question in asked]
        if item.theta.numel() > 0:
            key = (segment.key, "ask", turn)
            inputs = work.inputs_with_noise()
            ask = self._function(segment, key, partial(segment.asking, turn), True, item.theta, item.x, inputs)
            parts = ask(item.theta, item.x, inputs, *work.buffers)
        for (place, question), part in zip(asked, parts):
            yield PartialResult(work, place, question, part)

    def _function(
        self,
        segment: Segment,
        key: Any,
        make: Callable[[], Any],
        dynamic: bool,
        theta: Tensor,
        x: Tensor,
        inputs: StepInputs,
    ) -> Callable[..., Any]:
        form = _form(theta) if dynamic else theta.shape[-2:]
        known = tuple(answer is None for answer in inputs.answers or ())
        has = (
            tuple(answer is None for answer in inputs.totals),
            inputs.hessian is None,
            inputs.difference is None,
            inputs.gradient is None,
            inputs.answers is None,
            known,
        )
        key = (key, theta.dtype, x.dtype, theta.device, form, has)
        if key not in self._functions:
            whole, eager = (*key, str(self._state_dtype)), self._is_eager(segment, inputs)
            self._functions[key] = make() if eager else self.inductor.compiled(whole, make, dynamic)
        return self._functions[key]

    def _is_eager(self, segment: Segment, inputs: StepInputs) -> bool:
        of_shard = self.mode == "compiled" and segment.is_matrix and inputs.answers is not None
        return self.mode == "eager" or of_shard  # what a shard computes of a matrix is little


def _form(theta: Tensor) -> tuple[bool, ...]:
    """What a matrix function may branch on: the compiler gives equal sizes one symbol."""
    if theta.dim() == 1:
        return ()
    *stack, rows, columns = theta.shape
    equal = (rows in stack, columns in stack)
    return (rows > columns, rows == columns, rows == 1, columns == 1, *equal)
