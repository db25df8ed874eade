"""The worst case of a linear model over all smooth strongly convex functions, by PEPit's semidefinite programs."""

from __future__ import annotations

from linear_models import Model


def worst_case(model: Model, condition: float, L: float, steps: int) -> float:
    """max ‖θ_k − θ*‖² / ‖θ₀ − θ*‖² after some steps from an empty memory, over f with curvatures in [L/κ, L]."""
    from PEPit import PEP
    from PEPit.functions import SmoothStronglyConvexFunction

    problem = PEP()
    f = problem.declare_function(SmoothStronglyConvexFunction, mu=L / condition, L=L)
    rest = f.stationary_point()
    start = problem.set_initial_point()
    problem.set_initial_condition((start - rest) ** 2 <= 1)
    zero = start * 0
    state = [start, *[zero] * (model.states - 1)]
    for k in range(1, steps + 1):
        state = model.step(state, f.gradient(state[0]), k)
    problem.set_performance_metric((state[0] - rest) ** 2)
    return float(problem.solve(verbose=0))
