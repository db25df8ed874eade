"""By which path each parameter stepped, and why by no faster one.

Whatever takes a parameter through a segment notes so in `ParameterStep.paths`, in the words below.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edsl.kernels.kernel import KernelCache, NoKernels
from edsl.step.parameter import ParameterStep

TORCH, EAGER = "torch.compile", "eager"


@dataclass(frozen=True)
class StepPath:
    """How some stages of a pipeline took one parameter, or one matrix of it, in its last step.

    Attributes:
        stages: their labels, such as "e | lamb".
        taken: "C++" or "Triton": a kernel over all layers; "C++ and BLAS" or "Triton and BLAS": such kernels, and
            products of matrices between them; "torch.compile" or "eager"; "" for what has not stepped.
        reason: why no faster path took them, "" where none is faster.
    """

    stages: str
    taken: str
    reason: str


def paths_of(
    items: Iterable[ParameterStep], caches: Sequence[KernelCache | NoKernels], mode: str
) -> dict[str, tuple[StepPath, ...]]:
    """By the name of each parameter, or of each of its parts, its paths in the order of the stages."""
    return {part.name: tuple(_paths(part, caches, mode)) for item in items for part in item.parts or (item,)}


def _paths(item: ParameterStep, caches: Sequence[KernelCache | NoKernels], mode: str) -> Iterable[StepPath]:
    for segment in item.plan.segments:
        taken = item.paths.get(segment.begin, "")
        yield StepPath(" | ".join(segment.labels), taken, _reason(item, taken, caches, mode))


def _reason(item: ParameterStep, taken: str, caches: Sequence[KernelCache | NoKernels], mode: str) -> str:
    if taken not in (TORCH, EAGER):
        return "products of matrices are not element by element" if "BLAS" in taken else ""
    if mode != "compiled":
        return f'mode="{mode}"'
    if item.shards is not None:
        return "it is sharded: a process holds a part of it"
    own = [cache for cache in caches if cache.device == item.device]
    if not own:
        return f"there are no kernels for {item.device}"
    said = dict.fromkeys(reason for cache in own for reason in cache.reasons)
    return "; ".join(said) or "its tensors are of a dtype or size that kernels do not take"
