"""`direction(soap(beta2=0.9))`: an update as an adaptor, so that one preconditioner can stand before another."""

from __future__ import annotations

import dataclasses
from typing import Any

from edsl.errors import EdslError
from edsl.language.domain import plain
from edsl.language.rules.calls import DIRECTION_SETS
from edsl.language.rules.classes import class_with, why_not_within
from edsl.language.rules.stage import RuleAdaptor, RuleStage
from edsl.language.rules.syntax.source import Source
from edsl.language.rules.syntax.tree import Definition, Name, Return, StageCall
from edsl.language.rules.syntax.words import DIRECTION
from edsl.language.stage import BaseUpdate, Stage


class Direction(RuleAdaptor):
    """u is −Δθ of an update at lr 1, without decay: what it would step along. Its arguments are the update's others."""

    def __str__(self) -> str:
        arguments = ", ".join(f"{key}={plain(value)}" for key, value in self.arguments().items())
        inner = self.rule.body[0].value.name  # pyright: ignore[reportAttributeAccessIssue]
        return f"{DIRECTION}({inner}({arguments}))" if arguments else f"{DIRECTION}({inner})"

    def __reduce__(self) -> Any:
        return _again, (self._nested[0], self._spared)


def direction(update: Any) -> Any:
    """The adaptor that gives the direction of an update: −Δθ at lr 1, without decay.

    Raises:
        EdslError: for what is no update, or one that can't run within another stage.

    Example:
        >>> import edsl
        >>> str(edsl.direction(edsl.soap(beta2=0.9)) | edsl.muon(lr=0.02)).partition(" | ")[0][:27]
        'direction(soap(beta2=0.9, b'
    """
    if not isinstance(update, Stage):
        raise EdslError(f"direction is of an update such as edsl.soap(), got {type(update).__name__}")
    kind = direction_of(type(update))
    return kind(**{name: getattr(update, name) for name in kind.field_names()})


def direction_of(kind: type[Stage]) -> Any:
    """The class of directions of an update; raises EdslError where there is none."""
    if not issubclass(kind, BaseUpdate):
        raise EdslError(f"direction is of an update, and {kind.name} is of kind {kind.kind}")
    reason = why_not_within(kind)
    if reason:
        raise EdslError(f"{kind.name} has no direction: {reason}")
    own: dict[str, Any] = {field.name: field for field in dataclasses.fields(kind) if field.name not in DIRECTION_SETS}
    call = StageCall(kind.name, Name("u"), tuple((name, Name(name)) for name in own), is_direction=True)
    definition = Definition("adaptor", DIRECTION, "u", (), (Return(call),))
    betas = [name for name in kind.betas if name in own]
    return class_with(
        definition,
        definitions=getattr(kind, "definitions", ()),
        text=f"{DIRECTION}({kind.name})\n{getattr(kind, 'text', '')}",
        source=Source(""),
        within={kind.name: kind},
        domains={name: field.metadata["domain"] for name, field in own.items()},
        hyperparameters=[
            (name, field.type, dataclasses.field(default=field.default, metadata=dict(field.metadata)))
            for name, field in own.items()
        ],
        base=Direction,
        extra={"betas": tuple(betas), "__doc__": f"The direction of {kind.name}: −Δθ at lr 1, without decay."},
    )


def _again(update: Any, spared: bool) -> RuleStage:
    made = direction(update)
    return made.without_decay() if spared else made
