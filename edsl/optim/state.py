"""All tensors that an optimizer keeps between steps, edsl's or another package's, wherever they lie.

torch's own keep one tensor under each name of a parameter's state. Others keep lists of factors there,
dictionaries by block, objects, or tensors in attributes of the optimizer. Memory is counted once, however
many tensors share it, and what belongs to the parameters and their gradients is not counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Set
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from edsl.distributed.sharding import is_sharded
from edsl.errors import EdslError, shown
from edsl.optim.optimizer import PipelineOptimizer
from edsl.step.buffers import factor_values
from edsl.step.state_dtype import opened

_COUNTS = ("step", "steps")  # of steps, which no table counts
_WITHOUT_STATE = (str, bytes, int, float, type, nn.Module, ModuleType, FunctionType, MethodType, BuiltinFunctionType)


def state_bytes(optimizer: Any) -> int:
    """Bytes of all tensors that an optimizer keeps, step counts left out."""
    return sum(size for _, _, size in state_tensors(optimizer))


def decoded_state(optimizer: PipelineOptimizer, parameter: Any) -> dict[str, Any]:
    """A parameter's state with the values of each buffer, in the shape that they have in float32, whatever keeps them.

    Codes of state_dtype="int8" and its like are decoded to the dtype of arithmetic, triangles become whole matrices;
    all else is the state itself.

    Raises:
        EdslError: for another package's optimizer, and for what is none of the optimizer's parameters.

    Example:
        >>> import torch, edsl
        >>> weight = torch.nn.Parameter(torch.ones(30, 40))
        >>> optimizer = edsl.compile("sgd(lr=0.1, momentum=0.9)", [weight], state_dtype="int8", mode="eager")
        >>> weight.grad = torch.ones(30, 40)
        >>> optimizer.step()
        >>> {name: tuple(value.shape) for name, value in edsl.decoded_state(optimizer, weight).items()}
        {'step': (), 'sgd.m': (30, 40)}
    """
    if not isinstance(optimizer, PipelineOptimizer):
        raise EdslError(f"decoded_state needs an optimizer of edsl's, got {shown(optimizer)}")
    if not any(parameter is own for group in optimizer.param_groups for own in group["params"]):
        raise EdslError(f"decoded_state needs one of the optimizer's parameters, got {shown(parameter)}")
    optimizer.engine.settle(optimizer.param_groups, optimizer.state)
    state = optimizer.state.get(parameter, {})
    found = optimizer.engine.plan_for(optimizer.param_groups, optimizer.state, parameter)
    if found is None:
        return dict(state)
    plan, matrices = found
    return {
        name: value
        if not isinstance(value, Tensor) or name not in plan.buffers
        else factor_values(plan, name, value, parameter, matrices)
        if name in plan.factor_buffers
        else opened(value, plan.form_of(name, parameter), parameter)
        for name, value in state.items()
    }


def state_tensors(optimizer: Any) -> Iterator[tuple[str, Tensor, int]]:
    """Each tensor with memory of its own: the name of what holds it, and its bytes.

    The name is the key in a parameter's state, or that of the optimizer's attribute.

    Example:
        >>> import torch
        >>> from edsl.optim.state import state_tensors
        >>> weight = torch.nn.Parameter(torch.ones(3, 2))
        >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        >>> weight.grad = torch.ones(3, 2)
        >>> optimizer.step()
        >>> [(name, size) for name, _, size in state_tensors(optimizer)]
        [('momentum_buffer', 24)]
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    counted = {_memory(part) for tensor in (*parameters, *gradients) for part in _parts(tensor)}
    for name, tensor in _named(optimizer, set()):
        for part in _parts(tensor):
            memory = _memory(part)
            if memory not in counted:
                counted.add(memory)
                yield name, part, _bytes(part)


def _named(optimizer: Any, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """All tensors within reach of an optimizer, with their names; some perhaps several times."""
    seen.add(id(optimizer))
    for state in optimizer.state.values():
        for name, value in _entries(state):
            if name not in _COUNTS:
                yield from ((str(name), tensor) for tensor in _within(value, seen))
    for group in optimizer.param_groups:
        for name, value in group.items():
            if name not in ("params", *_COUNTS):  # single numbers are hyper-parameters
                yield from ((str(name), tensor) for tensor in _within(value, seen) if tensor.numel() > 1)
    attributes = vars(optimizer).items()
    if isinstance(optimizer, PipelineOptimizer):  # whose other attributes only point into its state
        attributes = [(name, value) for name, value in attributes if isinstance(value, torch.optim.Optimizer)]
    for name, value in attributes:
        if name not in ("state", "param_groups", "defaults"):
            yield from ((name, tensor) for tensor in _within(value, seen))


def _entries(state: Any) -> Iterator[tuple[Any, Any]]:
    """The entries of a parameter's state, where some number the parts of the parameter those of each part."""
    for name, value in state.items() if isinstance(state, Mapping) else [("state", state)]:
        if isinstance(value, Mapping) and not isinstance(name, str):
            yield from value.items()
        else:
            yield name, value


def _within(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """The tensors in a value of any make."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Tensor):
            yield found
            continue
        if id(found) in seen or isinstance(found, _WITHOUT_STATE):
            continue
        seen.add(id(found))
        if isinstance(found, torch.optim.Optimizer):
            yield from (tensor for _, tensor in _named(found, seen))
        elif isinstance(found, Mapping):
            waiting.extend(part for key, part in found.items() if key not in _COUNTS)
        elif isinstance(found, (list, tuple, Set, deque)):
            waiting.extend(found)
        else:
            waiting.extend(part for name, part in _attributes(found) if name not in _COUNTS)


def _attributes(value: Any) -> list[tuple[str, Any]]:
    """What an object holds in its dictionary and its slots."""
    slots = [name for kind in type(value).__mro__ for name in _slots(kind) if name in dir(value)]
    held = [(name, getattr(value, name, None)) for name in slots if not name.startswith("__")]
    return [*held, *getattr(value, "__dict__", {}).items()]


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """The plain tensors that a tensor is made of: of a quantised one its codes and its scales."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None or is_sharded(tensor):
        yield tensor
        return
    for name in flatten()[0]:
        yield from _parts(getattr(tensor, name))


def _memory(tensor: Tensor) -> Any:
    """What tensors that share memory have in common."""
    if is_sharded(tensor) or tensor.layout is not torch.strided:
        return id(tensor)
    return tensor.untyped_storage()._cdata


def _bytes(tensor: Tensor) -> int:
    """Of a sharded tensor the whole's, as of its parameter."""
    if is_sharded(tensor) or tensor.layout is not torch.strided:
        return tensor.numel() * tensor.element_size()
    return tensor.untyped_storage().nbytes()
