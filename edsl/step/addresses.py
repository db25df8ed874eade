"""Which memory a compiled step may access: every tensor is checked here before its address is used.

torch's operations respect a tensor's metadata; a compiled step dereferences raw addresses. So each tensor of a step is
checked here first. Either it is plain, with elements of its own in strided memory, or it is rejected with a one-line
error. What is remembered of a step is addresses and metadata, never tensors, so that nothing keeps alive a tensor that
was replaced, moved or dropped.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, repeat
from operator import and_
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from edsl.distributed.sharding import is_sharded
from edsl.errors import EdslError, either, shown
from edsl.numerics.dtypes import DTYPES, FLOATING
from edsl.numerics.formats.form import BufferForm
from edsl.numerics.weights.form import WeightForm
from edsl.step.layout import overlaps

PLAIN = frozenset({Tensor, nn.Parameter})


def flaw(tensor: Tensor) -> str | None:
    """Why a tensor can't be stepped by its address, or None where it can."""
    own, plain = (getattr(kind, "__torch_dispatch__", None) for kind in (type(tensor), Tensor))
    if own is not plain:
        name = type(tensor).__name__
        return f"is a {name}, a subclass with operations of its own; expected a plain tensor or a DTensor"
    if tensor.layout is not torch.strided:
        return f"is {tensor.layout}; expected a dense tensor"
    if tensor.device.type == "meta":
        return "is on the meta device, which holds no values: materialize it (to_empty) before the step"
    if is_zero_tensor(tensor):
        return "is a ZeroTensor, zeros that have no memory: clone() it first"
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        return "was made in torch.inference_mode(), where nothing can be trained: clone() it outside"
    if (tensor.storage_offset() + elements_spanned(tensor)) * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"has shape {tuple(tensor.shape)}, but its storage was made smaller, or freed"
    if tensor.numel() > 0 and tensor.data_ptr() == 0:
        return "has no memory: clone() it first"
    return None


def check_parameter_memory(local: Tensor, which: str) -> None:
    """Raises EdslError for a parameter, or this process's part of one, that has no plain memory."""
    found = flaw(local)
    if found:
        raise EdslError(f"{which} {found}")


def check_gradient(gradient: Any, parameter: Tensor, which: str) -> None:
    """Raises EdslError for a gradient that doesn't fit its parameter, or has no plain memory."""
    if gradient.is_sparse:
        raise EdslError(f"{which} has a sparse gradient; edsl needs dense ones (sparse=False)")
    if gradient.shape != parameter.shape:
        raise EdslError(
            f"{which} has shape {tuple(parameter.shape)}, its gradient {tuple(gradient.shape)}: "
            "zero_grad() after changing a parameter's shape"
        )
    if gradient.device != parameter.device:
        raise EdslError(
            f"{which} is on {parameter.device}, its gradient on {gradient.device}: zero_grad() after moving a parameter"
        )
    if not is_sharded(gradient):
        found = flaw(gradient)
        if found and not is_zero_tensor(gradient):
            raise EdslError(f"the gradient of {which} {found}")


def check_no_state(state: dict[str, Any], buffers: Iterable[str], which: str) -> None:
    """Raises EdslError for state that has buffers, but no step count."""
    found = next((name for name in buffers if name in state), None)
    if found:
        raise EdslError(f"{which}: its state has {found}, but no step; delete its state to start over")


def check_state(
    state: dict[str, Any],
    shapes: dict[str, tuple[int, ...]],
    parameter: Tensor,
    which: str,
    forms: Mapping[str, BufferForm],
    weights: WeightForm,
) -> None:
    """Raises EdslError for state that a step can't go on with.

    Args:
        shapes: of each buffer that the step reads.
        forms: of those that aren't kept in a dtype.
        weights: how the parameter keeps its value.
    """
    fixed = weights.rest_dtypes(parameter.dtype)
    for name, shape in shapes.items():
        buffer = state.get(name)
        if not isinstance(buffer, Tensor):
            what = f"no {name}" if name not in state else f"{shown(buffer)} as {name}"
            raise EdslError(f"{which}: its state has {what}; delete the state of this parameter to start over")
        if name in forms and buffer.dtype is not forms[name].dtype:
            raise EdslError(
                f"{which}: its state {name} is {buffer.dtype}, expected {forms[name].name}: build the optimizer with "
                "the state_dtype that it has, or load the checkpoint with reformat=True"
            )
        if tuple(buffer.shape) != shape:
            raise EdslError(
                f"{which} has shape {tuple(parameter.shape)}, its state {name} {tuple(buffer.shape)}: "
                "build a new optimizer after changing shapes"
            )
        found = _flaw_of_buffer(buffer, parameter, forms[name].dtype if name in forms else fixed.get(name))
        if found:
            raise EdslError(f"{which}: its state {name} {found}")


def _flaw_of_buffer(buffer: Tensor, parameter: Tensor, dtype: torch.dtype | None) -> str | None:
    if dtype is not None and buffer.dtype is not dtype:
        return f"is {buffer.dtype}; expected {dtype}"
    if dtype is None and buffer.dtype not in FLOATING:
        return f"is {buffer.dtype}; expected {either(DTYPES)}"
    if buffer.device != parameter.device:
        return f"is on {buffer.device}, the parameter on {parameter.device}: bring it back before the step"
    if is_sharded(buffer):
        return None if is_sharded(parameter) else "is a DTensor, the parameter is not"
    if overlaps(buffer):
        return "has elements that share memory (expanded or overlapping strides): clone() it first"
    return flaw(buffer)


def steps_taken(state: dict[str, Any] | None, name: str) -> int | None:
    """How many steps a parameter has taken by its state, None where it has none.

    Raises:
        EdslError: for anything but a whole number ≥ 0.
    """
    step = None if state is None else state.get("step")
    if step is None:
        return None
    try:
        number = step.item() if isinstance(step, Tensor) else step
        taken = int(number)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number, taken = step, -1
    if taken < 0 or taken != number:
        raise EdslError(f"parameter {name}: its state's step must be a whole number ≥ 0, got {shown(step)}")
    return taken


def is_zero_tensor(tensor: Tensor) -> bool:
    """Whether it is torch's stand-in for zeros that nobody allocated, as autograd makes them."""
    return torch._is_zerotensor(tensor)  # pyright: ignore[reportPrivateImportUsage]


def check_no_fakes() -> None:
    """Raises EdslError where tensors that are made now would have no memory."""
    if _fake_mode() is not None:
        raise EdslError(
            "step() under FakeTensorMode, where tensors have no memory: call step() outside "
            "of it; to estimate memory, use edsl plan or edsl.costs.memory"
        )


def _fake_mode() -> Any:
    modes: Any = torch._C
    return modes._get_dispatch_mode(modes._TorchDispatchModeKey.FAKE)


def recognizer(tensors: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], bool]:
    """A function that checks whether other tensors have the same forms; it keeps no reference to these.

    A form is the metadata that determines, with the address, what a kernel reads: class, keys of dispatch (lazily
    negated, zero, fake, wrapped), dtype, device, sizes, strides.
    """
    guards = getattr(getattr(torch._C, "_dynamo", None), "guards", None)  # one call of C++ for all of them
    try:
        known: Any = guards.TensorGuards(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)  # pyright: ignore
    except (AttributeError, TypeError):  # it is private to torch, and may become another
        forms = [*map(_form, tensors)]
        return lambda found: len(found) == len(forms) and [*map(_form, found)] == forms
    count = len(tensors)
    return lambda found: len(found) == count and PLAIN.issuperset(map(type, found)) and known.check(*found)


def _form(tensor: Any) -> tuple[Any, ...]:
    if type(tensor) not in PLAIN:
        return (type(tensor),)
    lazily = tensor.is_neg(), tensor.is_conj(), is_zero_tensor(tensor)
    return (type(tensor), tensor.layout, tensor.dtype, tensor.device, tensor.shape, tensor.stride(), *lazily)


def addresses(tensors: Iterable[Tensor]) -> array[int]:
    """Where each of them begins."""
    return array("q", map(Tensor.data_ptr, tensors))


def storage_bytes(tensor: Tensor) -> int:
    """The size of the storage that it is a view of."""
    return tensor.untyped_storage().nbytes()


class Recognition:
    """Recognizes the tensors of the last step by addresses and forms, without keeping a reference to any.

    Args:
        staying: those whose addresses must not change: parameters and their state.
        gradients: those whose addresses may change, but not their forms.
    """

    def __init__(self, staying: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        self._has_forms = recognizer([*staying, *gradients])
        self._places = addresses(staying)
        self._gradient_bytes = tuple(map(storage_bytes, gradients))

    def fits(self, staying: Sequence[Tensor], gradients: Sequence[Tensor]) -> bool:
        """Whether these have the forms of those before, and `staying` their addresses."""
        return self._has_forms((*staying, *gradients)) and addresses(staying) == self._places

    def fits_storage(self, gradients: Iterable[Tensor]) -> bool:
        """Whether gradients at other addresses are views of storages of the same sizes."""
        return tuple(map(storage_bytes, gradients)) == self._gradient_bytes


class Extent(NamedTuple):
    """The memory of one tensor of a step: its first address, the one behind its last, and the tensor's name."""

    begin: int
    end: int
    name: str


def extent(tensor: Tensor, name: str) -> Extent:
    """The memory of a plain tensor."""
    begin = tensor.data_ptr()
    return Extent(begin, begin + elements_spanned(tensor) * tensor.element_size(), name)


class MemoryMap:
    """Which memory the parameters of a step and their state take, and which of them share some.

    Args:
        extents: for each parameter its own, "", then those of its state by their names.
        names: of the parameters.

    Attributes:
        shared: the places of parameters that share memory with others. torch steps one after another, so
            each reads what the one before has written; so do we.

    Raises:
        EdslError: where a parameter and its own state share memory, or two share a count of steps.
    """

    def __init__(self, extents: Sequence[Sequence[Extent]], names: Sequence[str]) -> None:
        self.extents = extents
        found = sorted((one, place) for place, own in enumerate(extents) for one in own if one.end > one.begin)
        shared: set[int] = set()
        reach: list[tuple[Extent, int]] = []  # what has not ended yet
        for one, place in found:
            reach = [(other, there) for other, there in reach if other.end > one.begin]
            for other, there in reach:
                if there == place or one.name == "step" or other.name == "step":
                    raise EdslError(
                        f"{_called(other, names[there])} and {_called(one, names[place])} share memory: "
                        "give each its own (clone())"
                    )
                shared |= {place, there}
            reach.append((one, place))
        self.shared = frozenset(shared)
        self._bounds = _bounds(one for one, _ in found)

    def first_inside(self, firsts: Sequence[int], lasts: Sequence[int]) -> int | None:
        """The index of a span, from its first to its last byte, that overlaps the memory of this step.

        Bounds alternate between the begin and the end of occupied memory: an odd number of them precedes an
        occupied byte.
        """
        before = [*map(bisect_right, repeat(self._bounds), firsts)]
        after = [*map(bisect_right, repeat(self._bounds), lasts)]
        if before == after and 1 not in map(and_, before, repeat(1)):
            return None
        return next(place for place, (a, b) in enumerate(zip(before, after)) if a != b or a & 1)


def _bounds(spans: Iterable[Extent]) -> list[int]:
    """The begins and ends of occupied memory, alternating, of sorted spans."""
    merged: list[list[int]] = []
    for span in spans:
        if merged and span.begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], span.end)
        else:
            merged.append([span.begin, span.end])
    return [*chain.from_iterable(merged)]


def _called(one: Extent, name: str) -> str:
    return f"the state {one.name} of {name}" if one.name else name


def elements_spanned(tensor: Tensor) -> int:
    """How many elements of memory it spans, from its first to its last, both included."""
    if tensor.numel() == 0:
        return 0
    return 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride()))
