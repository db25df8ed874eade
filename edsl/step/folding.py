"""Which parameters a matrix update takes as a matrix: its first dimension × all others."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from math import prod

from torch import nn
from torch.nn.modules.conv import _ConvNd

from edsl.errors import ShapeError

KERNEL = "convolution"  # the kind of a parameter that a convolution owns
_FOLDED = (2, 4, 5)  # dimensions of matrices, and of kernels of convolutions over planes and volumes
_PARAMETRIZED = re.compile(r"\.parametrizations\..*")


def kernels_in_module(module: nn.Module) -> set[str]:
    """The names of the parameters that convolutions own, under whatever parametrization."""
    layers = dict(module.named_modules(remove_duplicate=False))
    found = set()
    for name, _ in module.named_parameters(remove_duplicate=False):
        owner = _PARAMETRIZED.sub("", name) if ".parametrizations." in name else name.rpartition(".")[0]
        if isinstance(layers.get(owner), _ConvNd):
            found.add(name)
    return found


def check_foldable(stage: str, shape: Sequence[int], name: str, kinds: Collection[str] | None) -> None:
    """Raises ShapeError for a parameter that can't be taken as one matrix, or may be several.

    Args:
        stage: the matrix update's name.
        name: the parameter's, "" if it has none.
        kinds: those of the module that owns it, or None where that is not known.
    """
    shape = tuple(shape)
    which = f"parameter {name}" if name else "a parameter"
    if len(shape) < 2:
        raise ShapeError(
            f"{stage} takes matrices (2 dimensions or more); {which} has shape {shape}: "
            f"write route(matrix={stage}, other=adamw)"
        )
    if len(shape) in _FOLDED or KERNEL in (kinds or ()):
        return
    pattern = re.sub(r"(?<![^.])\d+(?![^.])", "*", name) or "experts.*"
    known = (
        ""
        if kinds is not None
        else "; pass the module to have convolution kernels recognised: edsl.compile(spec, model)"
    )
    choice = f"route(({pattern!r}, adamw), matrix={stage}, other=adamw)"
    raise ShapeError(
        f"{stage} takes matrices and convolution kernels; {which} has shape {shape} and would be "
        f"treated as one matrix of {shape[0]} × {prod(shape[1:])}, even if it is a stack of experts: route it to "
        f"another update, {choice}, or make each matrix its own parameter{known}"
    )
