"""What a stage is: hyper-parameters, a memory, and one step, written as its paper writes it.

A stage is a frozen dataclass with two pure methods. `init(zero)` gives the memory before the first
step, `step(x, memory, at)` maps the incoming quantity to the outgoing one and to the next memory.
Both work on any number-like value: the engine passes tensors, theory passes symbols. `at` provides
whatever Python's operators do not.

There are four kinds, in this order: an estimator, adaptors, one base update, wrappers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from edsl.errors import FieldError
from edsl.language.context import At, Value
from edsl.language.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    from edsl.language.pipeline import Chain
    from edsl.step.oracle import Oracle


class NoMemory(NamedTuple):
    """The memory of a stage without state."""


@dataclasses.dataclass(frozen=True)
class Stage(Hyperparameters):
    """One link of a pipeline; see `Estimator`, `Adaptor`, `BaseUpdate` and `Wrapper` for the kinds.

    Its fields are its hyper-parameters, as `Hyperparameters` reads, binds and prints them.
    """

    kind: ClassVar[str] = ""
    place: ClassVar[int] = -1  # the order of kinds in a pipeline
    _join: ClassVar[Callable[..., Any]]  # |, which edsl.language.pipeline gives
    _check: ClassVar[Callable[[type[Stage]], None]]  # of a class, which edsl.language.registry.check gives
    example: ClassVar[str] = ""  # how to write it, where its name alone is not enough
    needs_noise: ClassVar[bool] = False  # at.normal is read
    needs_probe: ClassVar[bool] = False  # refresh reads at.probe
    takes_stages: ClassVar[bool] = False  # its arguments are stages
    is_matrix: ClassVar[bool] = False  # takes a parameter as a matrix, rows × all other dimensions
    takes_vectors: ClassVar[bool] = False  # a matrix stage to which one of fewer than 2 dimensions is a single row
    stacks: ClassVar[bool] = False  # a matrix stage whose refresh takes (n, rows, columns) as well
    reads_matrix: ClassVar[bool] = False  # it asks about rows, columns or products, which no shard can answer

    @property
    def doubt(self) -> str:
        """A warning about values that run but may not be intended, in one line; "" for none."""
        return ""

    @property
    def moves_weights(self) -> bool:
        """Whether it changes θ by itself, so that no wrapper sees its Δθ."""
        return False

    @property
    def evaluation_buffer(self) -> str:
        """The buffer that holds weights to evaluate with, instead of the trained ones; "" for none."""
        return ""

    @property
    def needs_total_norm(self) -> bool:
        """Whether the step reads at.total_norm, which splits the pipeline before this stage."""
        return False

    @property
    def needs_hessian(self) -> bool:
        """Whether the step reads at.hessian, which not every estimator gives."""
        return False

    @property
    def reads_difference(self) -> bool:
        """Whether the step asks at.difference of the gradient, which an estimator may give by itself."""
        return False

    @property
    def nonfinite_policy(self) -> str:
        """What to do if gradients aren't finite: "skip" the step, "raise", "zero" them, or "" for nothing."""
        return ""

    @property
    def refresh_every(self) -> int:
        """The least number of steps between two calls of `refresh`; 0 without one."""
        return 0

    def is_due(self, k: int) -> bool:
        """Whether `refresh` is called before step k, of a stage that has one."""
        return (k - 1) % self.refresh_every == 0

    @property
    def rhythm(self) -> str:
        """When `refresh` is called, in words; "" without one. Those of equal words are due at the same steps."""
        period = self.refresh_every
        return f"every {period} steps" if period > 1 else "each step" * period

    @property
    def begins_apart(self) -> bool:
        """Whether its first refresh is another one than those that follow."""
        return type(self).begin is not Stage.begin

    @property
    def staggers(self) -> bool:
        """Whether parameters refresh at different steps, by their names; all do before their first one."""
        return False

    @property
    def begins_segment(self) -> bool:
        """Whether what comes before it must be finished, for all parameters, before it steps."""
        return self.needs_total_norm or self.refresh_every > 0 or bool(self.buffer_shapes(1, 1))

    @property
    def cut(self) -> tuple[Any, int]:
        """Of a matrix stage: into what it cuts each parameter, its `split` ("" without one) and its `heads`."""
        return "", 1

    def _check_knot(self, field: str, there: Any) -> None:
        if field in self.constant:
            raise FieldError(
                f"{self.name}: {field} takes no schedule, since this form is exact for a constant one only; "
                f"write {self.name}(…, buffers=2)",
                field,
            )
        needed: Any = type(there.init(0.0))
        if lost := [name for name in needed._fields if name not in type(self.init(0.0))._fields]:  # pyright: ignore
            raise FieldError(
                f"{self.name}: {field} begins at a value without the buffers {', '.join(lost)}, which it needs later; "
                "let it begin above 0",
                field,
            )

    @property
    def constant(self) -> tuple[str, ...]:
        """Live fields that make the recurrence inexact if they change while training."""
        return ()

    def init(self, zero: Value) -> NamedTuple:
        """The memory before the first step, all zeros.

        Every entry is a buffer in the shape of the parameter, but for those in `buffer_shapes` and `scalars`.
        """
        return NoMemory()

    def buffer_shapes(self, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
        """The buffers of a matrix stage that do not have the parameter's shape, with theirs."""
        return {}

    def structures(self) -> dict[str, str]:
        """What is known of buffers in `buffer_shapes`, by which few bytes can keep them.

        "entries" (each by itself, as moments in a basis are: codes can keep them), "symmetric" or "triangular" (upper,
        or of one column a diagonal: a triangle is kept); of others nothing.
        """
        return {}

    def scalars(self) -> tuple[str, ...]:
        """The buffers that are one number a layer, kept in float32 at least; a step gets and gives them as scalars."""
        return ()

    def draws(self, label: str) -> tuple[tuple[Any, str], ...]:
        """The stages that draw noise in its step, itself first, with labels: on label and seed noise depends."""
        return ((self, label),) if self.needs_noise else ()

    def probes(self, label: str) -> tuple[tuple[Any, str], ...]:
        """The same of noise that a refresh draws."""
        return ((self, label),) if self.needs_probe else ()

    def begin(self, x: Value, memory: Any, at: At) -> NamedTuple:
        """`refresh` at the first step, if that is different."""
        return self.refresh(x, memory, at)

    def refresh(self, x: Value, memory: Any, at: At) -> NamedTuple:
        """The memory with its expensive parts recomputed, before the step.

        Called at a parameter's first step and at all for which `is_due`, uncompiled.
        """
        return memory

    def step(self, x: Value, memory: Any, at: At) -> tuple[Value, NamedTuple]:
        raise NotImplementedError(f"{self.name} has no step")

    def __or__(self, other: Stage | Chain) -> Chain:
        return Stage._join(self, other)


@dataclasses.dataclass(frozen=True)
class Estimator(Stage):
    """First of a pipeline: where the gradient comes from, and what it costs.

    It runs before the compiled step, on all parameters at once; it has no `step`. Its memory, if any,
    is kept with that of the other stages.

    Attributes:
        needs_closure: it evaluates the loss itself, so `step()` must get a closure.
        calls_backward: the closure does a training step's work: it zeroes gradients, computes the loss and
            calls backward(). Otherwise it computes the loss and returns it.
        gives_hessian: it estimates the Hessian's diagonal too.
        draws_directions: each estimate draws new random directions.
        is_linear: on a quadratic its gradient is hθ, apart from noise.
    """

    kind: ClassVar[str] = "estimator"
    place: ClassVar[int] = 0
    is_of_layers: ClassVar[bool] = False
    needs_closure: ClassVar[bool] = False
    calls_backward: ClassVar[bool] = True
    gives_hessian: ClassVar[bool] = False
    draws_directions: ClassVar[bool] = False
    is_linear: ClassVar[bool] = True

    @property
    def forwards(self) -> float:
        """Evaluations of the loss in a step, on average."""
        return 1

    @property
    def backwards(self) -> float:
        """Evaluations of its gradient, or of a Hessian-vector product, in a step, on average."""
        return 1

    @property
    def calls(self) -> int:
        """How many calls of `step()` make one step."""
        return 1

    @property
    def passes_grad(self) -> bool:
        """Whether it only passes on `p.grad`, at every call."""
        return False

    @property
    def copies(self) -> int:
        """Number of values per element that it keeps in addition to the gradient while estimating."""
        return 0

    def looks(self, k: int) -> int:
        """How many estimates of the Hessian were made in the first k steps."""
        return k

    @property
    def gives_difference(self) -> bool:
        """Whether it estimates ∇f(θ_{k−1}) − ∇f(θ_{k−2}) by itself, for the stage behind it to read."""
        return False

    def without_difference(self) -> Estimator:
        """The same gradient, without a difference of its own."""
        return self

    @property
    def equations(self) -> tuple[str, ...]:
        """How the gradient is estimated, a line each, in the letters of `edsl show`."""
        return ("gₖ = ∇f(θₖ₋₁)",)

    @property
    def noise(self) -> str:
        """In words: how the estimate is spread around the gradient of the loss it sees."""
        return "none"

    def evaluate(self, oracle: Oracle) -> Any:
        """Give each of the oracle's slots its gradient; returns the loss."""
        raise NotImplementedError(f"{self.name} estimates nothing")


@dataclasses.dataclass(frozen=True)
class Adaptor(Stage):
    """Between gradient and update: `step` maps g to u of the same shape.

    Attributes:
        explores: it is E or a variant of it, so that races run the same pipeline without it beside.
    """

    kind: ClassVar[str] = "adaptor"
    place: ClassVar[int] = 1
    explores: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class BaseUpdate(Stage):
    """What turns u into a step: `step` maps u to Δθ, what is added to the parameter.

    Attributes:
        has_moments: m and v are EMAs of u and u² with decays beta2 and beta3, and the step is along
            m̂/(√v̂ + ε₁): what the paper's theorems are about.
        betas: the names that `betas` sets, in the order of the update's paper.
    """

    kind: ClassVar[str] = "base update"
    place: ClassVar[int] = 2
    has_moments: ClassVar[bool] = False
    betas: ClassVar[tuple[str, ...]] = ("beta2", "beta3")

    @property
    def averages(self) -> str:
        """How u is averaged before the step: "ema", "sum", or "" for neither of the two momentums."""
        return ""

    def defaults(self) -> dict[str, Any]:
        """What the param groups hold of an update that moves the weights itself; nothing for others."""
        return {}

    @property
    def routes(self) -> dict[str, tuple[Stage, ...]]:
        """The stages of each route that it leads to, by name; none for an update that takes every parameter."""
        return {}

    @property
    def betas_by_prefix(self) -> dict[str, tuple[str, ...]]:
        """What `betas` stands for, by the prefix of the arguments."""
        return {"": self.betas}

    def owner_of(self, argument: str) -> tuple[str, int, str]:
        """Whose an argument is: the route, the place of the stage in that route's pipeline, the stage's field."""
        raise NotImplementedError(f"{self.name} leads to no routes")

    @property
    def stands_alone(self) -> bool:
        """Whether it can't be combined with other stages."""
        return False

    @property
    def estimator(self) -> str:
        """The estimator that is implied where none is written."""
        return "hutchinson" if self.needs_hessian else "grad"


@dataclasses.dataclass(frozen=True)
class Wrapper(Stage):
    """Behind the base update: `step` maps Δθ to another Δθ."""

    kind: ClassVar[str] = "wrapper"
    place: ClassVar[int] = 3


def with_routes(stages: Iterable[Stage]) -> Iterator[Stage]:
    """The stages, and those of their routes behind each."""
    for stage in stages:
        yield stage
        if isinstance(stage, BaseUpdate):
            for route in stage.routes.values():
                yield from with_routes(route)


def check_authored(kind: type[Stage]) -> None:
    """Raises EdslError for a class of somebody else's that can't be a stage."""
    Stage._check(kind)
