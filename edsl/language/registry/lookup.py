"""Every stage of the language, by the name it has in a spec.

One line registers a stage; its module is imported when the name is first used. The form is that of
an entry point, `module:Class`. Plugins add theirs behind.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from edsl.errors import EdslError, nearest

STAGES = {
    "grad": "edsl.estimators.backprop:Backprop",
    "spsa": "edsl.estimators.spsa:Spsa",
    "hutchinson": "edsl.estimators.hutchinson:Hutchinson",
    "sam": "edsl.estimators.sam:Sam",
    "e": "edsl.adapters.exploration:Exploration",
    "clip": "edsl.adapters.clip:Clip",
    "guard": "edsl.adapters.guard:Guard",
    "noise": "edsl.adapters.noise:Noise",
    "sgd": "edsl.updates.sgd:Sgd",
    "qhm": "edsl.updates.qhm:Qhm",
    "adam": "edsl.updates.adam:Adam",
    "adamw": "edsl.updates.adamw:AdamW",
    "lamb": "edsl.updates.lamb:Lamb",
    "lars": "edsl.updates.lars:Lars",
    "lion": "edsl.updates.lion:Lion",
    "adabelief": "edsl.updates.adabelief:AdaBelief",
    "adan": "edsl.updates.adan:Adan",
    "rmsprop": "edsl.updates.rmsprop:RMSprop",
    "adahessian": "edsl.updates.adahessian:AdaHessian",
    "sophia": "edsl.updates.sophia:Sophia",
    "muon": "edsl.updates.muon:Muon",
    "shampoo": "edsl.updates.shampoo:Shampoo",
    "soap": "edsl.updates.soap:Soap",
    "route": "edsl.updates.route:Route",
    "caution": "edsl.wrappers.caution:Caution",
    "decay": "edsl.wrappers.decay:Decay",
    "lookahead": "edsl.wrappers.lookahead:Lookahead",
    "ema_weights": "edsl.wrappers.ema_weights:EmaWeights",
}


def load(place: str) -> Any:
    """The object at `module:name`."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def stage_names() -> list[str]:
    """The names of all stages, plugins' last."""
    from edsl.language.registry.plugins import installed, loaded

    return list(dict.fromkeys([*STAGES, *loaded(), *installed()]))


def is_stage(name: str) -> bool:
    return name in STAGES or name in stage_names()


def stage_class(name: str) -> Any:
    """The class of a registered stage.

    Raises:
        EdslError: for an unknown name, with the nearest known one, or a plugin that can't be loaded.
    """
    if name in STAGES:
        return load(STAGES[name])
    from edsl.language.registry.plugins import checked, installed, loaded

    if name in loaded():
        return loaded()[name]
    if name in installed():
        return checked(name, installed()[name])
    from edsl.language.registry.recipes import RECIPES

    raise EdslError(f"unknown stage {name!r}; {nearest(name, [*stage_names(), *RECIPES], 'stages and recipes')}")


def constructor(name: str) -> Any:
    """A function that builds the stage or recipe of this name from keyword arguments, or None."""
    from edsl.language.caller import warn_user
    from edsl.language.doubts import outside_bounds
    from edsl.language.registry.recipes import RECIPES, expand

    if name in RECIPES:

        def build_recipe(**arguments: Any) -> Any:
            pipeline = expand(name, arguments)
            warn_user(outside_bounds(pipeline.stages), (__name__,))
            return pipeline

        build_recipe.__doc__ = f"{RECIPES[name].about}: {RECIPES[name].text}, with any argument of its stages."
        build_recipe.__name__ = build_recipe.__qualname__ = name
        return build_recipe
    if not name.startswith("_") and is_stage(name):
        from edsl.language.arguments import build

        cls = stage_class(name)
        if cls.takes_stages:
            return cls.called

        def build_stage(**arguments: Any) -> Any:
            stage = build(name, arguments)
            warn_user(outside_bounds([stage]), (__name__,))
            return stage

        build_stage.__doc__ = cls.__doc__
        build_stage.__name__ = build_stage.__qualname__ = name
        build_stage.__signature__ = inspect.signature(cls)  # pyright: ignore[reportFunctionMemberAccess]
        return build_stage
    return None
