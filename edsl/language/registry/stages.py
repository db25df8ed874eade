"""Every stage of the language, by the name it has in a spec.

One line registers a stage; its module is imported when the name is first used. The form is that of
an entry point, `module:Class`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

STAGES = {
    "grad": "edsl.estimators.backprop:Backprop",
    "spsa": "edsl.estimators.spsa:Spsa",
    "hutchinson": "edsl.estimators.hutchinson:Hutchinson",
    "grad_pair": "edsl.estimators.grad_pair:GradPair",
    "repel": "edsl.estimators.repel:Repel",
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
    "galore": "edsl.updates.galore:Galore",
    "psgd_kron": "edsl.updates.psgd_kron:PsgdKron",
    "route": "edsl.updates.route:Route",
    "caution": "edsl.wrappers.caution:Caution",
    "decay": "edsl.wrappers.decay:Decay",
    "lookahead": "edsl.wrappers.lookahead:Lookahead",
    "ema_weights": "edsl.wrappers.ema_weights:EmaWeights",
}

PACKAGES = {  # whose optimizers a spec may name: where those are, and what pip calls the package
    "torch": ("torch.optim", "torch"),
    "torch_optimizer": ("torch_optimizer", "torch-optimizer"),
    "pytorch_optimizer": ("pytorch_optimizer", "pytorch-optimizer"),
    "heavyball": ("heavyball", "heavyball"),
    "schedulefree": ("schedulefree", "schedulefree"),
    "bitsandbytes": ("bitsandbytes.optim", "bitsandbytes"),
    "torchao": ("torchao.optim", "torchao"),
}
FOREIGN = "edsl.updates.foreign:foreign"  # what makes a stage of torch.AdamW(lr=0.01)
ENTRY = "edsl.language.rules.zoo:zoo_class"  # what reads an entry of the zoo


def load(place: str) -> Any:
    """The object at `module:name`."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
