"""Gradients whose covariances, U Uᵀ and Uᵀ U, stay finite in float32."""

from __future__ import annotations

from edsl.language.context import At, Value

LARGEST = 2.0**50  # of a norm; its square leaves a sum of covariances 2²⁷ steps below float32's largest number


def bounded(x: Value, at: At) -> Value:
    """U min(1, 2⁵⁰/‖U‖): a gradient as it is, but for one whose covariances might overflow."""
    return x * at.minimum(1, at.ratio(LARGEST, at.norm(x)))
