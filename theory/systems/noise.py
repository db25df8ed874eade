"""What gradient noise and curvature noise do to a pipeline on f = hθ²/2."""

from __future__ import annotations

from typing import Any

import numpy as np

from edsl.errors import EdslError
from edsl.theory.systems.linearise import CURVATURE, LinearSystem


def steady_variance(system: LinearSystem, h: float, sigma: float = 1.0) -> float:
    """Var θ in the steady state under white gradient noise of standard deviation σ.

    P = A P Aᵀ + σ² B Bᵀ, a discrete Lyapunov equation; the answer is P₀₀.

    Args:
        system: with its numbers in it, as `linearise(pipeline).at()` gives.

    Raises:
        EdslError: where the recurrence is not stable, and the variance infinite.
    """
    from scipy.linalg import solve_discrete_lyapunov

    A, B = _numbers(system.A.subs(CURVATURE, h)), _numbers(system.B.subs(CURVATURE, h))
    if np.abs(np.linalg.eigvals(A)).max() >= 1:
        raise EdslError(f"the recurrence diverges at curvature {h:g}: its variance grows without bound")
    return float(solve_discrete_lyapunov(A, sigma**2 * B @ B.T)[0, 0])


def mean_square_radius(system: LinearSystem, h: float, deviation: float) -> float:
    """The growth of E‖x‖² a step when the curvature is drawn anew each step: mean h, this deviation.

    A = A₀ + hA₁ is affine in h, so E[x xᵀ] is mapped by A(h)⊗A(h) + deviation² A₁⊗A₁, whose spectral
    radius this is: below 1 the iterates converge in mean square.
    """
    A = _numbers(system.A.subs(CURVATURE, h))
    slope = _numbers(system.A.diff(CURVATURE))
    return float(np.abs(np.linalg.eigvals(np.kron(A, A) + deviation**2 * np.kron(slope, slope))).max())


def implicit_regulariser(lr: float, alpha: float, beta2: float) -> float:
    """c of the loss that small steps descend, f + c‖∇f‖²: c = (η/4)[(1+β₂)/(1−β₂) − 2α], EMA momentum."""
    return lr / 4 * ((1 + beta2) / (1 - beta2) - 2 * alpha)


def _numbers(matrix: Any) -> np.ndarray:
    return np.array(matrix.tolist(), dtype=float)
