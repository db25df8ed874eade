"""Steps of matrices: kernels for what is element by element, BLAS for the products between, for a stack at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from edsl.codegen.matrices import MatrixCall, Shape
from edsl.codegen.program import Loops, Operand, Operation, Program
from edsl.errors import EdslError
from edsl.kernels.kernel import Kernel, Late, Row
from edsl.kernels.products import NativeProducts
from edsl.numerics import kronecker, matrices
from edsl.numerics.dtypes import working_dtype
from edsl.numerics.formats.form import BufferForm
from edsl.numerics.formats.format import StateFormat
from edsl.numerics.formats.layout import in_rows, width_of
from edsl.numerics.formats.packed import packed, unpacked
from edsl.numerics.newton_schulz import newton_schulz


@dataclass(eq=False)
class MatrixInputs:
    """One matrix before one segment, and all that its step reads and writes.

    Attributes:
        theta, x: the weights, and what flows in: contiguous, of shape (rows, columns).
        gradient, hessian, difference: of the same shape, None where there is none.
        normals: noise, of the same shape.
        buffers: the segment's memory.
        key: of this step's stochastic rounding.
        name: of the parameter.
        shapes: of values that have neither the parameter's shape nor lie as they are, by the numbers of their buffers.
    """

    theta: Tensor
    x: Tensor
    gradient: Tensor | None
    hessian: Tensor | None
    difference: Tensor | None
    normals: Sequence[Tensor]
    buffers: Sequence[Tensor]
    key: int
    name: str
    shapes: Mapping[int, Shape] = field(default_factory=dict)

    def shape_of(self, number: int) -> Shape:
        """The shape of a buffer's elements, or of their triangles."""
        buffer = self.buffers[number]
        return tuple(self.shapes.get(number, self.theta.shape) if buffer.dtype is torch.uint8 else buffer.shape)

    @cached_property
    def addresses(self) -> tuple[list[int], list[int]]:
        """Of θ and of what is read beside it, up to what flows out; of the buffers."""
        x = self.x.data_ptr()
        gradient, hessian, difference = (
            otherwise if tensor is None else tensor.data_ptr()
            for tensor, otherwise in ((self.gradient, x), (self.hessian, 0), (self.difference, 0))
        )
        return [self.theta.data_ptr(), x, gradient, hessian, difference], [*map(Tensor.data_ptr, self.buffers)]


@dataclass(frozen=True, eq=False)
class MatrixSteps:
    """A segment's step of matrices of equal shape, compiled for one device.

    Args:
        kernels: one for each of the program's loops; none where only what is allocated matters.
        formats: of buffers that may not be in a dtype.
        path: what a parameter's paths call it.
    """

    program: Program
    kernels: Sequence[Kernel]
    updates: bool
    formats: tuple[BufferForm | None, ...] = ()
    path: str = ""

    def __call__(
        self, stack: Sequence[MatrixInputs], numbers: Sequence[float], late: Sequence[Late], place: Any
    ) -> Sequence[Tensor]:
        """Step matrices of equal shape.

        Args:
            numbers: the live values that they share, room for the total norm, rows and columns.
            late: what is known only after a look at all layers.
            place: by which the same matrices are known at the next step.

        Returns:
            what flows out of each, θ itself where it was updated.
        """
        theta = stack[0].theta
        work = working_dtype(theta.dtype)
        made = [one.theta if self.updates else torch.empty_like(one.theta, dtype=work) for one in stack]
        held: dict[int, Tensor] = {}
        stacked: dict[int, Tensor] = {}  # buffers that no part changes
        shapes: dict[Shape, Shape] = {self.program.probe: tuple(theta.shape)}
        kernels = iter(self.kernels)
        for number, (part, ends) in enumerate(zip(self.program.parts, self.program.ends)):
            if isinstance(part, Operation):
                operands = [self._operand(operand, stack, held, stacked, work) for operand in part.operands]
                held[part.makes] = operate(part.call, operands, stack[0])
                del operands
            else:
                shape = shapes.get(part.shape) or self._shape(part, stack, held)
                shapes[part.shape] = shape
                for temporary in part.written:
                    held[temporary] = torch.empty((len(stack), *shape), dtype=work, device=theta.device)
                for temporary in part.temporaries:
                    held[temporary] = held[temporary].contiguous()
                self._check(part, shape, stack[0], held)
                if self.kernels:
                    rows = self._rows(part, shape, stack, [held[number] for number in part.temporaries], made)
                    next(kernels).launch(rows, numbers, late, (place, number))
            for temporary in ends:
                del held[temporary]
        return made

    def _operand(
        self,
        operand: Operand,
        stack: Sequence[MatrixInputs],
        held: dict[int, Tensor],
        stacked: dict[int, Tensor],
        work: torch.dtype,
    ) -> Tensor:
        """A matrix of each of a stack, together; one alone as it lies in memory."""
        if operand.kind == "temporary":
            return held[operand.number]
        if len(stack) == 1:
            return self._opened(stack[0], operand.number, work).unsqueeze(0)
        found = stacked.get(operand.number)
        if found is None:
            found = torch.stack([self._opened(one, operand.number, work) for one in stack])
            if operand.stays:
                stacked[operand.number] = found
        return found

    def _opened(self, one: MatrixInputs, number: int, work: torch.dtype) -> Tensor:
        """A buffer in the dtype of arithmetic, triangles as such; codes are decoded."""
        buffer, form = one.buffers[number], self.formats[number] if self.formats else None
        return form.opened(buffer, one.shape_of(number), work) if isinstance(form, StateFormat) else buffer.to(work)

    def _shape(self, part: Loops, stack: Sequence[MatrixInputs], held: dict[int, Tensor]) -> tuple[int, ...]:
        """That of the tensors that a part's loops go over, from one that is there."""
        if part.elements:
            return stack[0].shape_of(part.elements[0])
        return tuple(next(held[number] for number in part.temporaries if number in held).shape[1:])

    def _check(self, part: Loops, shape: Shape, one: MatrixInputs, held: dict[int, Tensor]) -> None:
        """Raises EdslError for tensors that loops would go over together, though their shapes only seemed alike."""
        own = map(one.shape_of, part.elements)
        found = {*own, *(tuple(held[number].shape[1:]) for number in part.temporaries)}
        if not found <= {shape}:
            raise EdslError(
                f"parameter {one.name}: a matrix stage computes element by element with tensors of shapes "
                f"{' and '.join(map(str, sorted({*found, shape})))}: give them one shape, or step with mode='eager'"
            )

    def _rows(
        self,
        part: Loops,
        shape: Shape,
        stack: Sequence[MatrixInputs],
        temporaries: Sequence[Tensor],
        made: Sequence[Tensor],
    ) -> list[Row]:
        count, width = prod(shape), width_of(in_rows(shape))
        begins = [(tensor.data_ptr(), count * tensor.element_size()) for tensor in temporaries]
        rows = []
        for i, one in enumerate(stack):
            own, buffers = one.addresses
            addresses = [*own, made[i].data_ptr(), *map(Tensor.data_ptr, one.normals)]
            addresses += [buffers[place] for place in part.kept]
            addresses += [begin + i * size for begin, size in begins]
            rows.append(Row(count, width, one.key, one.name, addresses))
        return rows


def operate(call: MatrixCall, operands: Sequence[Tensor], one: MatrixInputs) -> Tensor:
    """One operation on matrices that a step asks for, of stacks (k, …, p, q).

    Args:
        one: of the parameters, all of one shape.
    """
    name, arguments = call.name, call.arguments
    if name == "whole":
        return matrices.unblock(operands[0], *one.theta.shape)
    if name == "unpacked":
        structure, place = arguments
        is_diagonal = tuple(operands[0].shape[-2:]) == one.shapes[place][-2:]
        return operands[0] if is_diagonal else unpacked(operands[0], structure)
    if name in _VIEWS:
        return _VIEWS[name](*operands, *arguments)
    alone = [matrices.alone(operand) for operand in operands]
    if name in _OF_SEVERAL:
        made = _OF_SEVERAL[name](*alone)
    else:
        made = _OF_ONE[name](*alone, *arguments, products=NativeProducts)
    return made.view(*operands[0].shape[:-2], *made.shape[-2:])


_VIEWS: dict[str, Callable[..., Tensor]] = {"transpose": lambda x: x.mT, "blocks": matrices.blocks, "packed": packed}
_OF_SEVERAL: dict[str, Callable[..., Tensor]] = {"product": torch.matmul, "preconditioned": kronecker.preconditioned}
_OF_ONE: dict[str, Callable[..., Tensor]] = {"gram": matrices.gram, "orthogonal": newton_schulz}
