"""The hyper-parameters of a rule: how their domains are written, and what a name alone says."""

from __future__ import annotations

import re
from typing import Any

from edsl.errors import nearest, shown
from edsl.language.domain import DECAY, Choice, Domain, Number, Switch, Whole, field
from edsl.language.rules.syntax.source import Source
from edsl.language.rules.syntax.tree import Parameter

DOMAINS: dict[str, Domain] = {
    "decay": DECAY,
    "nonnegative": Number(0),
    "positive": Number(0, open_low=True),
    "number": Number(),
    "whole": Whole(),
    "switch": Switch(),
}
CALLED = ("choice", "within")  # domains with arguments
_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eps": "ε", "zeta": "ζ", "eta": "η",
    "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ",
    "chi": "χ", "psi": "ψ", "omega": "ω", "lr": "η", "weight_decay": "λ", "momentum": "μ",
}  # fmt: skip
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def domain_of(parameter: Parameter) -> Domain:
    """The values that a hyper-parameter may take; raises ValueError for a domain that can't be."""
    name = parameter.domain
    if name in DOMAINS:
        return DOMAINS[name]
    if name == "choice":
        return Choice(parameter.arguments)
    if name == "within":
        return Number(*parameter.arguments)
    if isinstance(parameter.default, bool):
        return DOMAINS["switch"]
    if parameter.name in ("lr", "weight_decay") or re.fullmatch(r"eps\d*", parameter.name):
        return DOMAINS["nonnegative"]
    return DOMAINS["number"]


def checked(parameter: Parameter, source: Source) -> Parameter:
    """The same with its default as its domain reads it; raises SpecError where domain or default is none."""
    name, arguments, default = parameter.domain, parameter.arguments, parameter.default
    if name and name not in DOMAINS and name not in CALLED:
        hint = nearest(name, [*DOMAINS, *CALLED], "domains")
        source.refuse(f"{parameter.name} has the unknown domain {shown(name)}; {hint}", parameter)
    if name == "choice" and (not arguments or not all(isinstance(option, str) for option in arguments)):
        source.refuse(f'{parameter.name}: write its options as texts, as in choice("a", "b")', parameter)
    if name == "choice" and len({*arguments}) < len(arguments):
        source.refuse(f"{parameter.name}: an option stands there twice", parameter)
    numbers = [isinstance(one, float) for one in arguments]
    if name == "within" and not (len(numbers) == 2 and all(numbers) and arguments[0] < arguments[1]):
        source.refuse(f"{parameter.name}: write two numbers, the smaller first, as in within(0, 1)", parameter)
    if not name and isinstance(default, str):
        source.refuse(
            f'{parameter.name}: a text needs its options, as in {parameter.name}: choice("a", "b")', parameter
        )
    try:
        domain = domain_of(parameter)
        value = int(default) if name == "whole" and isinstance(default, float) and default == int(default) else default
        read = domain.read(value)
    except ValueError as reason:
        source.refuse(f"the default of {parameter.name} {reason}", parameter)
    return Parameter(parameter.name, name, arguments, read, place=parameter.place)


def field_of(parameter: Parameter) -> tuple[str, type, Any]:
    """A dataclass's field: name, type, and the field."""
    spared = {"weight_decay": {"spared": 0.0}}.get(parameter.name, {})
    if parameter.name == "layerwise" and isinstance(parameter.default, bool):
        spared = {"spared": False}
    made = field(parameter.default, domain_of(parameter), letter(parameter.name), **spared)
    return parameter.name, type(parameter.default), made


def letter(name: str) -> str:
    """The letter of a hyper-parameter on paper: beta2 is β₂, lr is η; any other name is its own."""
    base, digits = re.fullmatch(r"(.*?)(\d*)", name).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return _GREEK.get(base, base) + digits.translate(_SUBSCRIPTS) if base in _GREEK else name
