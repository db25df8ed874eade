"""What a stage is written with: its kinds, `At`, and the domains of its hyper-parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edsl.language.context import LEAST, At, Value
from edsl.language.domain import DECAY, Choice, Domain, Number, Switch, Whole, field, plain
from edsl.language.stage import Adaptor, BaseUpdate, Estimator, NoMemory, Stage, Wrapper

if TYPE_CHECKING:
    from edsl.step.oracle import Oracle

__all__ = [
    "DECAY",
    "LEAST",
    "Adaptor",
    "At",
    "BaseUpdate",
    "Choice",
    "Domain",
    "Estimator",
    "NoMemory",
    "Number",
    "Oracle",
    "Stage",
    "Switch",
    "Value",
    "Whole",
    "Wrapper",
    "field",
    "plain",
]


def __getattr__(name: str) -> Any:
    if name == "Oracle":  # whose file imports torch
        from edsl.step.oracle import Oracle

        return Oracle
    raise AttributeError(f"module 'edsl.stage' has no attribute {name!r}")
