"""edsl: one line designs an optimizer; the same line is compiled, analysed, costed and raced.

    optimizer = edsl.compile("grad | e(alpha=-5, beta1=0.99) | lamb(lr=0.01)", model)
    pipeline  = edsl.grad() | edsl.e(alpha=-5, beta1=0.99) | edsl.lamb(lr=0.01)
    optimizer = edsl.ALTO(model.parameters(), lr=0.01)

Stages and recipes are called by their names in a spec; torch is imported with the first optimizer.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edsl.errors import EdslError, EdslWarning
    from edsl.lab.compare import compare
    from edsl.lab.data.rows import Rows
    from edsl.lab.tasks.task import Task
    from edsl.language.pipeline import Pipeline
    from edsl.language.registry.plugins import load_plugin
    from edsl.language.rules.direction import direction
    from edsl.language.rules.texts import load_rules
    from edsl.language.spec import parse
    from edsl.optim.attached.attach import attach
    from edsl.optim.classes import (
        ALTO,
        ESGD,
        ESOAP,
        SGD,
        Adam,
        AdamW,
        ALTOVanilla,
        EAdam,
        EAdamW,
        ELion,
        EMuon,
        EShampoo,
        Lamb,
        Lion,
        Muon,
    )
    from edsl.optim.compile import compile
    from edsl.optim.conversion.convert import convert
    from edsl.optim.evaluation import evaluation_weights
    from edsl.optim.optimizer import PipelineOptimizer
    from edsl.optim.state import decoded_state

_PLACES = {
    "EdslError": "edsl.errors:EdslError",
    "EdslWarning": "edsl.errors:EdslWarning",
    "Pipeline": "edsl.language.pipeline:Pipeline",
    "PipelineOptimizer": "edsl.optim.optimizer:PipelineOptimizer",
    "Rows": "edsl.lab.data.rows:Rows",
    "Task": "edsl.lab.tasks.task:Task",
    "attach": "edsl.optim.attached.attach:attach",
    "compare": "edsl.lab.compare:compare",
    "compile": "edsl.optim.compile:compile",
    "convert": "edsl.optim.conversion.convert:convert",
    "direction": "edsl.language.rules.direction:direction",
    "decoded_state": "edsl.optim.state:decoded_state",
    "evaluation_weights": "edsl.optim.evaluation:evaluation_weights",
    "load_plugin": "edsl.language.registry.plugins:load_plugin",
    "load_rules": "edsl.language.rules.texts:load_rules",
    "parse": "edsl.language.spec:parse",
}
_CLASSES = (
    *("ALTO", "ALTOVanilla", "EAdam", "EAdamW", "ELion", "EMuon", "ESGD", "ESOAP", "EShampoo"),
    *("Adam", "AdamW", "Lamb", "Lion", "Muon", "SGD"),
)
_PLACES.update({name: f"edsl.optim.classes:{name}" for name in _CLASSES})

__all__ = [
    "ALTO",
    "ESGD",
    "ESOAP",
    "SGD",
    "ALTOVanilla",
    "Adam",
    "AdamW",
    "EAdam",
    "EAdamW",
    "ELion",
    "EMuon",
    "EShampoo",
    "EdslError",
    "EdslWarning",
    "Lamb",
    "Lion",
    "Muon",
    "Pipeline",
    "PipelineOptimizer",
    "Rows",
    "Task",
    "attach",
    "compare",
    "compile",
    "convert",
    "decoded_state",
    "direction",
    "evaluation_weights",
    "load_plugin",
    "load_rules",
    "parse",
]


def __getattr__(name: str) -> Any:
    from edsl.language.registry.constructors import constructor
    from edsl.language.registry.stages import load

    if name in _PLACES:
        return load(_PLACES[name])
    made = constructor(name)
    if made is None:
        raise AttributeError(f"module 'edsl' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    return made


def __dir__() -> list[str]:
    from edsl.language.registry.lookup import stage_names
    from edsl.language.registry.recipes import RECIPES

    return sorted({*globals(), *__all__, *stage_names(), *RECIPES})
