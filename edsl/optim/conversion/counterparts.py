"""Which of torch's optimizers steps as which update: the names of their numbers, buffers and options, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_ANY: Mapping[Any, Any] = MappingProxyType({})  # each value means itself
SWITCH: Mapping[Any, Any] = MappingProxyType({False: False, True: True})
_SCALES = MappingProxyType({None: "original", "original": "original", "match_rms_adamw": "match_rms_adamw"})

HOW = ("foreach", "fused", "capturable")  # a step is computed; what it computes is the same
EXTRAS = ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr", "name", "param_names")


@dataclass(frozen=True)
class Counterpart:
    """One of torch's optimizers under some options, and the update that then takes the same steps.

    Attributes:
        torch, update: their names.
        numbers: torch's hyper-parameters, and the update's fields.
        betas: the fields of torch's betas, if it has some.
        buffers: torch's, and the update's.
        options: torch's, each with the update's field and the values that mean each other.
        required: torch's options that must be so, a tuple of values where any will do.
        tied: torch's numbers that must equal another one of its own.
        arguments: of the update that make it torch's.
        counts: torch counts its steps.
    """

    torch: str
    update: str
    numbers: Mapping[str, str]
    buffers: Mapping[str, str]
    betas: tuple[str, str] | None = None
    options: Mapping[str, tuple[str, Mapping[Any, Any]]] = field(default_factory=dict)
    required: Mapping[str, Any] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    counts: bool = True


def _numbers(eps: str = "eps1") -> dict[str, str]:
    return {"lr": "lr", "weight_decay": "weight_decay", "eps": eps}


_MOMENTS = {"exp_avg": "m", "exp_avg_sq": "v"}
_DECOUPLED = {"decoupled_weight_decay": True}
_SGD = {"lr": "lr", "momentum": "momentum", "weight_decay": "weight_decay"}
_RMSPROP = {"square_avg": "v", "grad_avg": "mean", "momentum_buffer": "m"}
_BETA1 = ("beta1", "beta2")  # of the zoo's rules, whose betas have their papers' numbers
_MUON = {
    "ns_steps": ("steps", _ANY),
    "nesterov": ("nesterov", SWITCH),
    "adjust_lr_fn": ("scale", _SCALES),
}

COUNTERPARTS = (
    Counterpart(
        *("AdamW", "adamw", _numbers(), _MOMENTS, ("beta2", "beta3")),
        required={"amsgrad": False, **_DECOUPLED},
    ),
    Counterpart(
        *("Adam", "adam", _numbers(), _MOMENTS, ("beta2", "beta3")),
        required={"amsgrad": False, "decoupled_weight_decay": False},
    ),
    Counterpart(
        *("AdamW", "amsgrad", _numbers("eps"), {**_MOMENTS, "max_exp_avg_sq": "peak"}, _BETA1),
        required={"amsgrad": True, **_DECOUPLED},
        arguments={"bias_correction": True},
    ),
    Counterpart(
        *("SGD", "sgd", _SGD, {"momentum_buffer": "m"}),
        options={"nesterov": ("nesterov", SWITCH)},
        required={"dampening": 0},
        arguments={"average": "sum"},
        counts=False,
    ),
    Counterpart(
        *("SGD", "sgd", _SGD, {"momentum_buffer": "m"}),
        required={"nesterov": False},
        tied={"dampening": "momentum"},
        arguments={"average": "ema", "nesterov": False},
        counts=False,
    ),
    Counterpart(
        *("RMSprop", "rmsprop", {**_numbers(), "alpha": "beta3", "momentum": "momentum"}, _RMSPROP),
        options={"centered": ("centered", SWITCH)},
    ),
    Counterpart(
        *("Muon", "muon", _SGD, {"momentum_buffer": "m"}),
        options=_MUON,
        required={"ns_coefficients": (3.4445, -4.775, 2.0315), "eps": 1e-7},
        arguments={"polynomials": "jordan", "precision": "bfloat16", "heads": 1, "split": "none"},
        counts=False,
    ),
    Counterpart(
        *("NAdam", "nadam", {**_numbers("eps"), "momentum_decay": "momentum_decay"}),
        *({**_MOMENTS, "mu_product": "product"}, _BETA1),
        required=_DECOUPLED,
    ),
    Counterpart(
        *("RAdam", "radam", _numbers("eps"), _MOMENTS, _BETA1),
        required=_DECOUPLED,
        arguments={"threshold": 5},
    ),
    Counterpart(
        *("Adamax", "adamax", {"lr": "lr", "eps": "eps"}, {"exp_avg": "m", "exp_inf": "peak"}, _BETA1),
        required={"weight_decay": 0},
        arguments={"weight_decay": 0},
    ),
)
NAMES = tuple(dict.fromkeys(one.torch for one in COUNTERPARTS))

# What tells one of torch's optimizers by its param groups: the first whose keys are all there, and none of the others.
TELLING: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "SGD": (("momentum", "dampening", "nesterov"), ()),
    "RMSprop": (("alpha", "centered", "momentum"), ()),
    "Muon": (("ns_coefficients", "ns_steps"), ()),
    "NAdam": (("betas", "momentum_decay"), ()),
    "Adam": (("betas", "eps", "amsgrad"), ()),
    "RAdam": (("betas", "eps", "decoupled_weight_decay"), ("amsgrad",)),
    "Adamax": (("betas", "eps", "weight_decay"), ("amsgrad", "decoupled_weight_decay")),
}
# Those that no update steps as, by a key that only they have.
WITHOUT: Mapping[str, str] = {
    "lr_decay": "Adagrad",
    "rho": "Adadelta",
    "beta2_decay": "Adafactor",
    "lambd": "ASGD",
    "etas": "Rprop",
    "history_size": "LBFGS",
}
