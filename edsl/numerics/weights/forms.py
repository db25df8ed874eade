"""All forms of weights, by their names: a new one is a class in a file of its own, and joins here."""

from __future__ import annotations

from typing import Any

import torch

from edsl.errors import EdslError, either, shown
from edsl.numerics.dtypes import HALF
from edsl.numerics.weights.form import WeightForm
from edsl.numerics.weights.kahan import Kahan
from edsl.numerics.weights.nearest import Nearest
from edsl.numerics.weights.split import Split
from edsl.numerics.weights.stochastic import Stochastic

NEAREST = Nearest()
FORMS: dict[str, WeightForm] = {form.name: form for form in (Stochastic(), Kahan(), Split(), NEAREST)}
DEFAULT = "stochastic"
RESTS = frozenset(form.buffer for form in FORMS.values() if form.buffer)  # the names of all rests


def read_weights(value: Any) -> str:
    """The name of a form, the default for None; raises EdslError for anything else."""
    if value is None:
        return DEFAULT
    if not isinstance(value, str) or value not in FORMS:
        raise EdslError(f"weights must be {either(FORMS)}, got {shown(value)}")
    return value


def form_of(name: str, dtype: torch.dtype) -> WeightForm:
    """How weights of a dtype are kept: by the form of this name in half precision, others as they are."""
    return FORMS[name] if dtype in HALF else NEAREST
