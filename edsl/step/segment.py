"""Stages that run as one function on tensors, and the `at` that they see there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edsl.codegen.expression import Expression, NotElementwise, RecordingAt, live, read
from edsl.language.reductions import Reading, read_stages
from edsl.language.stage import LEAST, At, BaseUpdate, Stage
from edsl.numerics import matrices
from edsl.numerics.newton_schulz import newton_schulz
from edsl.numerics.stochastic_rounding import rounded
from edsl.numerics.sums import mean, norm, total
from edsl.step.layout import working_dtype


class Given(NamedTuple):
    """What a step reads beside θ, what flows in, and its memory.

    Attributes:
        gradient: the raw gradient, or None where it is what flows in.
        live: the vector of live values, powers and k.
        total_norm: of what flows in, over all parameters, or None.
        normals: noise for each stage that reads it.
        hessian: a new estimate of the Hessian's diagonal, or None.
        difference: the estimator's own difference of raw gradients, or None.
        answers: of a shard, what is known of the whole layer for each of the segment's questions, or
            None for what is not known yet; None where the tensors are whole.
        shape: of a shard, the rows and columns of the whole.
        key: of this parameter's stochastic rounding at this step, where state is bfloat16.
    """

    gradient: Tensor | None
    live: Tensor
    total_norm: Tensor | None = None
    normals: tuple[Tensor, ...] = ()
    hessian: Tensor | None = None
    difference: Tensor | None = None
    answers: tuple[Tensor | None, ...] | None = None
    shape: Tensor | None = None
    key: Tensor | None = None


class TensorAt(At):
    """Where a step happens, in torch."""

    def __init__(
        self, theta: Tensor, gradient: Tensor, given: Given, k: Tensor, looks: Tensor, powers: list[Any]
    ) -> None:
        self.theta = theta
        self.gradient = gradient
        self.k = k
        self.looks = looks
        self.powers = powers  # (β, βᵏ) for every decay
        self.total_norm = given.total_norm
        self.looked = given.hessian is not None
        self.hessian = theta if given.hessian is None else given.hessian.to(theta.dtype)
        self._difference = given.difference
        self._shape = theta.shape if given.shape is None else given.shape
        self._answers = given.answers
        self._asked = 0

    @property
    def rows(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._shape[0]

    @property
    def columns(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._shape[1]

    def function(self, name: str, *arguments: Any) -> Any:
        raise NotImplementedError(f"at.{name} has no reading in torch")

    def sqrt(self, x: Any) -> Any:
        return x.sqrt() if isinstance(x, Tensor) else x**0.5  # the root of a size is a number

    def norm(self, x: Tensor) -> Tensor:
        return self._of_layer(x, norm)

    def mean(self, x: Tensor) -> Tensor:
        return self._of_layer(x, mean, of_shard=total)

    def orthogonal(self, x: Tensor, steps: int, polynomials: str, precision: str) -> Tensor:
        return self._of_layer(x, lambda whole: newton_schulz(whole, steps, polynomials, precision), of_shard=_itself)

    def _of_layer(self, x: Tensor, of_whole: Callable[[Tensor], Tensor], of_shard: Any = None) -> Tensor:
        """What is asked about a layer: from x where that is whole, else as it was answered."""
        if self._answers is None:
            return of_whole(x)
        answer = self._answers[self._asked]
        self._asked += 1
        assert answer is not None  # the engine has asked before
        return answer

    def debias(self, x: Tensor, beta: Any, count: Any = None) -> Tensor:
        # A product with the scalar's inverse: a division for each element would cost as much as all else.
        if count is not None:
            return x * (1 / (1 - beta**count))
        for known, power in self.powers:
            if known is beta:
                return x * (1 / (1 - power))
        return x * (1 / (1 - beta**self.k))

    def first(self, x: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(self.k == 1, x, otherwise)

    def ratio(self, x: Any, y: Any, where: Any = None) -> Tensor:
        zero = ((x if where is None else where) == 0) | (y == 0)
        return torch.where(zero, 1.0, x / torch.where(zero, 1.0, y))

    def fresh(self, x: Tensor, otherwise: Tensor) -> Tensor:
        return x if self.looked else otherwise

    def difference(self, x: Tensor, past: Tensor) -> Tensor:
        if self._difference is not None and x is self.gradient:
            return self._difference.to(x.dtype)
        return x - past

    def finite(self, x: Tensor) -> Tensor:
        return torch.where(x.isfinite(), x, 0.0)

    def clamp(self, x: Tensor, bound: Any) -> Tensor:
        return self.minimum(self.maximum(x, -bound), bound)

    def minimum(self, x: Any, y: Any) -> Tensor:
        return _either(x, y, lambda x, y: torch.where((y < x) | (y != y), y, x))

    def maximum(self, x: Any, y: Any) -> Any:
        if not isinstance(x, Tensor) and not isinstance(y, Tensor):
            return y if y > x else x  # of sizes, which a compiled function is made for
        return _either(x, y, lambda x, y: torch.where((y > x) | (y != y), y, x))

    def sign(self, x: Tensor) -> Tensor:
        return torch.where(x.abs() < LEAST, 0.0, x.sign())

    def positive(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    def every(self, period: int, x: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(torch.remainder(self.k, period) == 0, x, otherwise)

    def transpose(self, x: Tensor) -> Tensor:
        return x.mT

    def product(self, x: Tensor, y: Tensor) -> Tensor:
        return x @ y

    def blocks(self, x: Tensor, size: int) -> Tensor:
        return matrices.blocks(x, size)

    def whole(self, x: Tensor) -> Tensor:
        return matrices.whole(x, self.rows, self.columns)

    def inverse_power(self, x: Tensor, exponent: Any, eps: Any) -> Tensor:
        return matrices.inverse_power(x, exponent, eps)

    def eigenbasis(self, x: Tensor) -> Tensor:
        return matrices.eigenbasis(x)

    def refined(self, basis: Tensor, x: Tensor) -> Tensor:
        return matrices.refined(basis, x)


def _either(x: Any, y: Any, choose: Callable[[Any, Any], Tensor]) -> Tensor:
    """A choice between two, of which one may be a number, or a scalar in float64, in the other's dtype."""
    if not isinstance(y, Tensor):
        y = torch.as_tensor(y, dtype=x.dtype, device=x.device)
    if not isinstance(x, Tensor):
        x = torch.as_tensor(x, dtype=y.dtype, device=y.device)
    if x.dim() > y.dim():
        y = y.to(x.dtype)
    elif y.dim() > x.dim():
        x = x.to(y.dtype)
    return choose(x, y)


class AskingAt(TensorAt):
    """Where a step happens on a shard whose questions are not all answered: what it can tell is kept."""

    def __init__(self, *place: Any) -> None:
        super().__init__(*place)
        self.told: list[Tensor] = []

    def _of_layer(self, x: Tensor, of_whole: Callable[[Tensor], Tensor], of_shard: Any = None) -> Tensor:
        assert self._answers is not None  # nobody asks about a whole tensor
        answer = self._answers[self._asked]
        self._asked += 1
        self.told.append((of_shard or of_whole)(x))
        return self.told[-1] if answer is None else answer


class WatchingAt(TensorAt):
    """Where a step happens while somebody watches: what is taken on the way is kept."""

    def __init__(self, *place: Any) -> None:
        super().__init__(*place)
        self.roots: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.ratios: list[Tensor] = []
        self.flows: dict[str, tuple[Tensor, Tensor]] = {}

    def sqrt(self, x: Tensor) -> Tensor:
        self.roots.append(super().sqrt(x))
        return self.roots[-1]

    def norm(self, x: Tensor) -> Tensor:
        self.norms.append(super().norm(x))
        return self.norms[-1]

    def ratio(self, x: Any, y: Any, where: Any = None) -> Tensor:
        self.ratios.append(super().ratio(x, y, where))
        return self.ratios[-1]

    def passed(self, label: str, before: Tensor, after: Tensor) -> None:
        self.flows[label] = (before.norm(), after.norm())


@dataclass(frozen=True)
class Recording:
    """A segment's step as expressions.

    Attributes:
        made: the next θ, or what flows out.
        buffers, after: its memory before and after.
        updates: `made` is the next θ.
    """

    made: Expression
    buffers: list[Expression]
    after: list[Expression]
    updates: bool


def _itself(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Segment:
    """Stages that run as one function; a stage that needs the total norm, or a refresh, begins a new one.

    `places[i]` maps the live fields of stage i to their entries in the live vector, `powers` lists
    (entry of β, entry of βᵏ), `k` is the entry of the step number, the next that of the looks.
    """

    begin: int  # the index of its first stage in the pipeline
    stages: tuple[Stage, ...]
    labels: tuple[str, ...]
    memory: tuple[Any, ...]
    places: tuple[tuple[tuple[str, int], ...], ...]
    powers: tuple[tuple[int, int], ...]
    k: int
    updates: bool  # the last stage is the pipeline's last, so θ moves

    @property
    def needs_total_norm(self) -> bool:
        return self.stages[0].needs_total_norm

    def refreshes(self, k: int) -> bool:
        """Whether its first stage brings its memory up to date before step k."""
        period = self.stages[0].refresh_every
        return period > 0 and (k - 1) % period == 0

    @cached_property
    def reading(self) -> Reading:
        """What its stages ask about whole layers, and what they leave alone."""
        return read_stages(self.stages, self.memory)

    @cached_property
    def kept(self) -> frozenset[str]:
        """The buffers that a step without a refresh leaves as they are."""
        return frozenset(f"{label}.{name}" for label, kept in zip(self.labels, self.reading.kept) for name in kept)

    @cached_property
    def serves_all_sizes(self) -> bool:
        """Whether one graph is made for all; what is cut into blocks compiles many times faster for known sizes."""
        return not any(stage.buffer_shapes(1, 1) for stage in self.stages)

    @cached_property
    def stacks(self) -> bool:
        """Whether its stages mean the same on a stack: matrix stages that say so, and elements, norms and means."""
        if self.noisy or not any(stage.is_matrix for stage in self.stages):
            return False
        return all(
            stage.stacks if stage.is_matrix else self._is_elementwise(place) for place, stage in enumerate(self.stages)
        )

    def _is_elementwise(self, place: int) -> bool:
        one = slice(place, place + 1)
        alone = replace(
            self, stages=self.stages[one], labels=self.labels[one], memory=self.memory[one], places=self.places[one]
        )
        try:
            alone.record(looked=False, differs=False, apart=True)
        except Exception:  # it speaks torch, not the language of At
            return False
        return True

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """What a compiled function depends on besides its tensors."""
        stages = tuple((type(stage), stage.structure(), stage.live_fields()) for stage in self.stages)
        return stages, self.memory, self.places, self.powers, self.k, self.updates

    @cached_property
    def buffers(self) -> tuple[str, ...]:
        """The names of this segment's state, in the order in which the function takes it."""
        return tuple(f"{label}.{name}" for label, memory in zip(self.labels, self.memory) for name in memory._fields)

    @cached_property
    def noisy(self) -> tuple[tuple[Any, str], ...]:
        """The stages that read noise, with their labels."""
        return tuple((stage, label) for stage, label in zip(self.stages, self.labels) if stage.needs_noise)

    def evaluate(
        self, at_type: type[TensorAt], theta: Tensor, x: Tensor, given: Given, *buffers: Tensor
    ) -> tuple[Tensor, list[Tensor], TensorAt]:
        """What flows out, the next memory, and where it happened; nothing is written."""
        u, at, bound = self._begin(at_type, theta, x, given)
        u, after = self._flow(bound, u, [buffer.to(at.theta.dtype) for buffer in buffers], given.normals, at)
        return u, after, at

    def record(self, looked: bool, differs: bool, apart: bool) -> Recording:
        """The step as expressions; see RecordingAt for the conditions.

        Raises:
            NotElementwise: for a step that is more than elements, norms and means.
        """
        shaped = next((label for label, stage in zip(self.labels, self.stages) if stage.buffer_shapes(1, 1)), None)
        if shaped is not None:  # elements are addressed as those of the parameter
            raise NotElementwise(f"{shaped} has a buffer in another shape than its parameter")
        numbers = [live(i) for i in range(self.k)]
        at = RecordingAt(self.k, [(numbers[b], numbers[p]) for b, p in self.powers], apart, looked, differs)
        buffers = [read("buffer", place) for place in range(len(self.buffers))]
        normals = [read("normal", place) for place in range(len(self.noisy))]
        u, after = self._flow(self._bound(numbers), at.x, buffers, normals, at)
        return Recording(at.theta + u if self.updates else u, buffers, after, self.updates)

    def _flow(
        self, bound: Sequence[Any], u: Any, buffers: Sequence[Any], normals: Sequence[Any], at: Any
    ) -> tuple[Any, list[Any]]:
        """Run the stages one after another: what flows out, and the next memory."""
        taken, drawn = 0, 0
        after: list[Any] = []
        for label, stage, memory_type in zip(self.labels, bound, self.memory):
            count = len(memory_type._fields)
            if stage.needs_noise:
                at.normal = normals[drawn]
                drawn += 1
            before = u
            u, memory = stage.step(before, memory_type(*buffers[taken : taken + count]), at)
            at.passed(label, before, u)
            if isinstance(stage, BaseUpdate):
                at.lr = getattr(stage, "lr", 1.0)
            after.extend(memory)
            taken += count
        return u, after

    def _bound(self, numbers: Sequence[Any]) -> list[Any]:
        """The stages with live values."""
        return [stage.bind({name: numbers[i] for name, i in places}) for stage, places in zip(self.stages, self.places)]

    def refresh(self, k: int, theta: Tensor, x: Tensor, given: Given, *buffers: Tensor) -> None:
        """Bring the first stage's memory up to date before step k, in place."""
        u, at, (stage, *_) = self._begin(TensorAt, theta, x, given)
        memory = self.memory[0](*(buffer.to(at.theta.dtype) for buffer in buffers[: len(self.memory[0]._fields)]))
        for buffer, new in zip(buffers, (stage.begin if k == 1 else stage.refresh)(u, memory, at)):
            if new is not buffer:
                buffer.copy_(new)

    def _begin(
        self, at_type: type[TensorAt], theta: Tensor, x: Tensor, given: Given
    ) -> tuple[Tensor, TensorAt, list[Any]]:
        """What flows in, where it happens, and the stages with their live values."""
        work = working_dtype(theta.dtype)
        numbers = [given.live[i] for i in range(self.k + 2)]
        u = x.to(work)
        raw = u if given.gradient is None else given.gradient.to(work)
        powers = [(numbers[b], numbers[p]) for b, p in self.powers]
        at = at_type(theta.to(work), raw, given, numbers[self.k], numbers[self.k + 1], powers)
        return u, at, self._bound(numbers)

    def asking(self, number: int) -> Callable[..., Any]:
        """(θ, x, given, *memory) → what a shard can tell for each question of one round."""
        chosen = [i for i, question in enumerate(self.reading.questions) if question.round == number]

        def ask(theta: Tensor, x: Tensor, given: Given, *buffers: Tensor) -> tuple[Tensor, ...]:
            _, _, at = self.evaluate(AskingAt, theta, x, given, *buffers)
            assert isinstance(at, AskingAt)  # made by evaluate
            return tuple(at.told[i] for i in chosen)

        return ask

    def function(self) -> Callable[..., Any]:
        """(θ, x, given, *memory) → u, or None when θ was updated."""

        def run(theta: Tensor, x: Tensor, given: Given, *buffers: Tensor) -> Tensor | None:
            u, after, at = self.evaluate(TensorAt, theta, x, given, *buffers)
            # A new buffer may be an old one, or θ itself: copy those before anything is written.
            old = [*buffers, theta]
            after = [new.clone() if any(new is o for o in old) else new for new in after]
            for place, (buffer, new) in enumerate(zip(buffers, after)):
                if given.key is not None and buffer.dtype is torch.bfloat16 and new is not old[place]:
                    new = rounded(new, given.key, place)
                buffer.copy_(new)
            if not self.updates:
                return u
            theta.copy_(at.theta + u)
            return None

        return run
