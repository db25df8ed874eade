"""What the choices of Newton–Schulz mean, without torch."""

from __future__ import annotations


def rounds_first(polynomials: str, precision: str) -> bool:
    """Whether Newton–Schulz begins by rounding its argument to bfloat16, as torch.optim.Muon does: no more is read."""
    return (polynomials, precision) == ("jordan", "bfloat16")
