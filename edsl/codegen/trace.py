"""A segment's step as expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edsl.codegen.expression import (
    ALONE,
    Conditions,
    Expression,
    TracingContext,
    apply,
    interned,
    live_value,
    load,
    scalar,
)
from edsl.codegen.matrices import MatrixCall, MatrixTracingContext, Shapes, shapes_of
from edsl.language.context import NotElementwise
from edsl.numerics.weights.form import WeightForm
from edsl.numerics.weights.forms import NEAREST
from edsl.step.segment import Segment


@dataclass(frozen=True)
class Trace:
    """A segment's step as expressions, or a part of one.

    Attributes:
        made: the next θ, or what flows out; None for a part that makes neither.
        buffers, after: its memory before and after.
        updates: `made` is the next θ.
        scalars: the places of buffers that are one number a layer.
        places: for each buffer its number in the segment, by which it is rounded.
        calls: the operations on matrices, whose results are read as elements.
        shapes: of its values; None for a part.
        addends: of what it asks for totals over all layers, which are live values to it.
        sums: the sums over the layer that it is taken for, where it adds to totals and writes nothing else.
        weights: how θ keeps its value.
        rest: the place of the rest of θ among the buffers, None where there is none.
    """

    made: Expression | None
    buffers: list[Expression]
    after: list[Expression]
    updates: bool
    places: tuple[int, ...]
    calls: tuple[MatrixCall, ...] = ()
    shapes: Shapes | None = None
    addends: tuple[Expression, ...] = ()
    sums: tuple[Expression, ...] = ()
    scalars: frozenset[int] = frozenset()
    weights: WeightForm = NEAREST
    rest: int | None = None

    def adding(self, chosen: Sequence[int]) -> Trace:
        """The same up to some of its totals, to each of which a layer adds; nothing else is written.

        Raises:
            NotElementwise: for a step of matrices.
        """
        if self.calls or (self.shapes is not None and self.shapes.own):
            raise NotElementwise("a step of matrices asks for a total")
        found = [self.addends[i] for i in chosen]
        sums = tuple(interned("total", (x,), False, x.round + 1) for x in found)
        return replace(self, made=None, after=self.buffers, updates=False, addends=(), sums=sums)

    @property
    def moved(self) -> list[Expression]:
        """The next θ, or what flows out, where it is made."""
        return [] if self.made is None else [self.made]

    @property
    def cuts_weights(self) -> bool:
        """Whether the next θ is written otherwise than to the nearest."""
        return self.updates and self.weights is not NEAREST

    @property
    def changed(self) -> list[int]:
        """The places of the buffers that it changes."""
        return [i for i, (old, new) in enumerate(zip(self.buffers, self.after)) if new is not old]

    @property
    def counted(self) -> list[int]:
        """The places of those that are one number a layer, which are written once, behind all loops."""
        return [i for i in self.changed if i in self.scalars]


def record(segment: Segment, conditions: Conditions = ALONE) -> Trace:
    """The step as expressions.

    Raises:
        NotElementwise: for a step that is more than elements, norms, means and, of matrices, their products.
    """
    live, shapes = segment.live_layout, shapes_of(segment)
    if segment.is_matrix:
        at: TracingContext = MatrixTracingContext(live, conditions, shapes)
    elif not segment.serves_all_sizes:  # elements are addressed as those of the parameter
        raise NotElementwise(f"{segment.labels[0]} has a buffer in another shape than its parameter")
    else:
        at = TracingContext(live, conditions)
    count = range(len(segment.buffers))
    buffers = [scalar(place) if place in segment.scalars else load("buffer", place) for place in count]
    rest = len(buffers) - 1 if segment.rests else None
    if rest is not None:
        at.theta = apply("joined", at.theta, buffers[rest])
    normals = [load("normal", place) for place in range(len(segment.noisy))]
    numbers = [live_value(place) for place in range(live.numbers)]
    u, after = segment.flow(segment.bound(numbers), at.x, buffers, normals, at)
    made = at.theta + u if segment.updates else u
    if rest is not None:
        after.append(apply("rest_of", made) if segment.updates else buffers[rest])
    calls = tuple(at.calls) if isinstance(at, MatrixTracingContext) else ()
    places = tuple(range(len(buffers)))
    addends = tuple(at.addends)
    own = {"scalars": segment.scalars, "weights": segment.weights, "rest": rest}
    return Trace(made, buffers, after, segment.updates, places, calls, shapes, addends, **own)
