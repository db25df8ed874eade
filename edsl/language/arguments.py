"""Arguments by name: synonyms, and one message for an unknown one.

`betas` are the update's decays in its paper's order, Adam's (β₁, β₂): they are read as beta2 and beta3, since β₁ is
E's, and print so. `eps=x` is read as eps1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from edsl.errors import FieldError, nearest, shown

_BETAS = {"": ("beta2", "beta3")}
SYNONYMS = ("betas", "eps")
_HOW = "leave it out: it says how torch computes a step, and edsl compiles its own"
_OF_TORCH = {  # options of torch.optim that no stage has by these names, and what to write
    **dict.fromkeys(("foreach", "fused", "capturable"), _HOW),
    "amsgrad": "it is an update of its own here: amsgrad(lr=0.001)",
    "dampening": "average='ema' is dampening=momentum",
    "decoupled_weight_decay": "adam couples weight decay to the gradient, adamw decouples it",
}


@dataclass(frozen=True)
class Arguments:
    """Values by their canonical names, and the name under which each was given."""

    values: dict[str, Any]
    given_as: dict[str, str]


def read_arguments(
    owner: str, given: Mapping[str, Any], known: Collection[str], betas: Mapping[str, tuple[str, ...]] = _BETAS
) -> Arguments:
    """Canonical names for what was given to `owner`, which knows the arguments `known`.

    Args:
        betas: what `betas` stands for; behind routes what each route's does, by the prefix of its arguments.

    Raises:
        FieldError: for an unknown argument, one given twice under two names, or betas that aren't as many.
    """
    values: dict[str, Any] = {}
    given_as: dict[str, str] = {}
    for name, value in given.items():
        for canonical, part in _canonical(owner, name, value, given, known, betas):
            if canonical in values:
                raise FieldError(f"{owner}: {canonical} is given twice, as {given_as[canonical]} and as {name}", name)
            values[canonical] = part
            given_as[canonical] = name
    return Arguments(values, given_as)


def stands_for(name: str, betas: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The names that a synonym stands for, such as betas, or other_betas of a route; () for what is none."""
    prefix, underscore, last = name.rpartition("_")
    meant = {"betas": betas.get(prefix + underscore, ()), "eps": ("eps1",)}.get(last, ())
    return tuple(f"{prefix}{underscore}{target}" for target in meant)


def _canonical(
    owner: str,
    name: str,
    value: Any,
    given: Mapping[str, Any],
    known: Collection[str],
    betas: Mapping[str, tuple[str, ...]],
) -> list[tuple[str, Any]]:
    if name in known:
        return [(name, value)]
    prefix, underscore, last = name.rpartition("_")  # a route's, as in other_betas
    own, targets = betas.get(prefix + underscore, ()), stands_for(name, betas)
    if not targets or not all(target in known for target in targets):
        if last == "beta1" and own and all(f"{prefix}{underscore}{target}" in known for target in own):
            raise FieldError(f"{owner}: {_by_adams_letters(owner, prefix + underscore, own, given)}", name)
        hint = _OF_TORCH.get(name) or nearest(name, known, "it has")
        raise FieldError(f"{owner}: unknown argument {shown(name)}; {hint}", name)
    if len(targets) == 1:
        return [(targets[0], value)]
    if not isinstance(value, (tuple, list)) or len(value) != len(targets):
        count = {2: "a pair", 3: "three"}.get(len(targets), str(len(targets)))
        raise FieldError(f"{owner}: {name} must be {count} ({', '.join(targets)}), got {shown(value)}", name)
    return list(zip(targets, value))


def _by_adams_letters(owner: str, prefix: str, betas: tuple[str, ...], given: Mapping[str, Any]) -> str:
    """What to write for beta1 and perhaps beta2, by the letters of the update's own paper."""
    theirs = [given.get(f"{prefix}beta{place}") for place in range(1, len(betas) + 1)]
    usual = {"beta2": 0.9, "beta3": 0.999} | _defaults_of(owner)
    values = [usual.get(name, 0.9) if value is None else value for value, name in zip(theirs, betas)]
    ours = ", ".join(prefix + name for name in betas)
    written = ", ".join(shown(value) for value in values)
    letters = ", ".join("β" + "₁₂₃"[place] for place in range(len(betas)))
    return f"{_whose(owner)}'s ({letters}) are {ours} here: write {prefix}betas=({written})"


def _whose(owner: str) -> str:
    from edsl.language.registry.lookup import is_stage, stage_class

    return stage_class(owner).__name__ if is_stage(owner) and owner != "route" else "Adam"


def _defaults_of(owner: str) -> dict[str, Any]:
    from edsl.language.registry.lookup import is_stage, stage_class

    return {field.name: field.default for field in fields(stage_class(owner))} if is_stage(owner) else {}
