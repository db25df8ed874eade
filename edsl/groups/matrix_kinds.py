"""How a parameter is to be taken as matrices, by its module or its name: kernels, experts, fused projections."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from torch import nn
from torch.nn.modules.conv import _ConvNd

from edsl.step.parts.matrices import EXPERTS, FUSED, KERNEL, TRANSPOSED

# Projections to q, k and v, in this order one after another. Not query_key_value, which most models interleave by head.
_FUSED = frozenset({"c_attn", "qkv", "to_qkv", "qkv_proj", "Wqkv", "in_proj"})
_PARAMETRIZED = re.compile(r"\.parametrizations\..*")


def matrix_kinds_in_module(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """By name, for the parameters of a module of which it tells how they are to be taken as matrices.

    1. A convolution's parameters are kernels, under whatever parametrization;
    2. three-dimensional ones are experts if their name, or the class of a module around them, says expert, or the class
       of their owner MoE;
    3. `in_proj_weight`, as of `nn.MultiheadAttention`, and the weight of a layer called c_attn, qkv, to_qkv, qkv_proj,
       Wqkv or in_proj are fused projections if they have three times as many outputs as inputs;
    4. outputs are columns in a layer of the class Conv1D, GPT-2's.
    """
    layers = dict(module.named_modules(remove_duplicate=False))
    found: dict[str, tuple[str, ...]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        owner = _PARAMETRIZED.sub("", name) if ".parametrizations." in name else name.rpartition(".")[0]
        around = [type(layers[prefix]).__name__ for prefix in _prefixes(owner) if prefix in layers]
        transposed = around[-1] == "Conv1D"
        if isinstance(layers.get(owner), _ConvNd):
            kinds = (KERNEL,)
        elif parameter.dim() == 3:
            kinds = (EXPERTS,) if "expert" in " ".join([name, *around]).lower() or "MoE" in around[-1] else ()
        else:
            kinds = (*_fused(name, parameter.shape, transposed), *((TRANSPOSED,) if transposed else ()))
        if kinds:
            found[name] = kinds
    return found


def matrix_kinds_in_name(name: str, shape: Sequence[int]) -> tuple[str, ...]:
    """The same, as far as a name and a shape tell where there is no module."""
    if len(shape) == 3:
        return (EXPERTS,) if "expert" in name.lower() else ()
    transposed = len(shape) == 2 and shape[1] == 3 * shape[0]
    fused = _fused(name, shape, transposed)
    return (*fused, TRANSPOSED) if fused and transposed else fused


def _fused(name: str, shape: Sequence[int], transposed: bool) -> tuple[str, ...]:
    owner, _, own = name.rpartition(".")
    called = own == "in_proj_weight" or (own == "weight" and owner.rpartition(".")[2] in _FUSED)
    if not called or len(shape) != 2:
        return ()
    outputs, inputs = reversed(shape) if transposed else shape
    return (FUSED,) if outputs == 3 * inputs > 0 else ()


def _prefixes(path: str) -> Iterator[str]:
    """The names of the modules around one, from the outermost to itself."""
    parts = path.split(".") if path else []
    for count in range(len(parts) + 1):
        yield ".".join(parts[:count])
