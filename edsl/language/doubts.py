"""What runs, but perhaps not as its writer means: values outside a paper's bound, and betas in the wrong order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields

from edsl.language.domain import plain
from edsl.language.stage import BaseUpdate, Stage, with_routes


def outside_bounds(stages: Iterable[Stage]) -> list[str]:
    """A line for each stage whose values are outside a bound that its writer lifted."""
    return [stage.doubt for stage in with_routes(stages) if stage.doubt]


def disordered(stages: Iterable[Stage]) -> list[str]:
    """A line for each update of two moments whose first decays no faster than its second.

    Adam's (β₁, β₂) are beta2, beta3 here, since β₁ is E's: adam(beta2=0.999) sets the first moment's decay. Where
    they were written as `betas` nothing is said; where both decays are equal, only if the second is the default.
    """
    return [line for stage in with_routes(stages) if "_settled" not in vars(stage) for line in _about_order(stage)]


def settle(stages: Iterable[Stage]) -> None:
    """Take the order of these stages' betas as meant: they were written as `betas`."""
    for stage in with_routes(stages):
        object.__setattr__(stage, "_settled", True)  # beside the fields, which say what the stage is


def says_betas(given: Iterable[str]) -> bool:
    """Whether arguments of these names give `betas`, or a route's."""
    return any(name.rpartition("_")[2] == "betas" for name in given)


def keep_settled(before: Stage, after: Stage, given: Iterable[str]) -> None:
    """A stage that replaces another, with arguments of these names: is the order of its betas settled?"""
    if says_betas(given):
        settle([after])
    elif "_settled" in vars(before) and all(
        getattr(before, name, None) == getattr(after, name, None) for name in getattr(after, "betas", ())
    ):
        object.__setattr__(after, "_settled", True)


def _about_order(stage: Stage) -> Iterator[str]:
    usual = {field.name: field.default for field in fields(stage)}
    if not isinstance(stage, BaseUpdate) or not stage.betas or not set(stage.betas) <= usual.keys():
        return
    if not {"m", "v"} <= set(type(stage.init(0.0))._fields):
        return
    first, last = stage.betas[0], stage.betas[-1]
    earlier, later = getattr(stage, first), getattr(stage, last)
    as_in_adam = usual[first] < earlier == later == usual[last]  # adam(beta2=0.999)
    if earlier > later or as_in_adam:
        yield (
            f"{stage.name}: {first}={plain(earlier)} is not below {last}={plain(later)}: {letters(type(stage))}; "
            f"betas=({plain(earlier)}, {plain(later)}) says that it is meant"
        )


def letters(kind: type[BaseUpdate]) -> str:
    """What the paper's β₁, β₂ are called here."""
    theirs = ", ".join("β" + "₁₂₃"[place] for place in range(len(kind.betas)))
    return f"{kind.__name__}'s ({theirs}) are {', '.join(kind.betas)} here"
