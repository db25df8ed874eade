"""Entries of the zoo step as independent implementations do: float64, 50 steps."""

import re
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from zoo_references import REFERENCES, Reference, schedule_free

import edsl
from edsl.language.registry.zoo import zoo_names

STEPS = 50
SHAPES = {
    "weight": (6, 4),
    "wide": (3, 7),
    "still rows": (8, 3),  # whose first rows never have a gradient other than 0
    "late": (4, 4),  # which has no gradient at some steps, or where all are read together at none
    "bias": (5,),
    "still": (2,),
}
MISSING = (1, 2, 7, 8, 30)
ORTHOGONAL = "zero_power_via_newton_schulz_5"
LONE = {"soap_then_muon": "tests/zoo/test_chains.py"}  # compared elsewhere


@pytest.fixture
def exact_packages(monkeypatch):
    """Packages as their papers say, in float64: without what they round, or add to what they divide by."""
    if find_spec("pytorch_optimizer") is not None:
        _make_exact(monkeypatch)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _make_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytorch_optimizer import optimizer
    from pytorch_optimizer.base.optimizer import BaseOptimizer
    from pytorch_optimizer.optimizer.utils.galore import GaLoreProjector

    for place in (optimizer.muon.base, optimizer.muon.normuon, optimizer.scion):
        if hasattr(place, ORTHOGONAL):
            monkeypatch.setattr(place, ORTHOGONAL, partial(getattr(place, ORTHOGONAL), dtype=torch.float64))
    for function in (BaseOptimizer.apply_ams_bound, BaseOptimizer.apply_ams_bound_foreach):
        monkeypatch.setattr(function, "__defaults__", (0.0,))
    for ball in (optimizer.scion.Row, optimizer.scion.Col, optimizer.scion.BiasRMS):
        monkeypatch.setattr(ball.lmo, "__defaults__", (1e-30,))
    monkeypatch.setattr(optimizer.psgd, "solve_triangular_right", exact_solve)
    monkeypatch.setattr(GaLoreProjector, "get_orthogonal_matrix", exact_projection)


def exact_projection(
    self: Any, weights: torch.Tensor, projection_type: str, from_random_matrix: bool = False
) -> torch.Tensor:
    """GaLore's, in float64, where the package takes the singular vectors in float32."""
    left, _, right = torch.linalg.svd(weights, full_matrices=False)
    return left[:, : self.rank] if projection_type == "left" else right[: self.rank]


def exact_solve(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """X A⁻¹ in float64, where the package solves in float32."""
    return torch.linalg.solve_triangular(a, x.reshape(-1, x.size(-1)), upper=True, left=False).reshape_as(x)


def shapes_of(reference: Reference) -> dict[str, tuple[int, ...]]:
    ranks = {"all": (1, 2), "matrices": (2,), "vectors": (1,)}[reference.shapes]
    return {name: shape for name, shape in SHAPES.items() if len(shape) in ranks}


def gradient(name: str, theta: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Of both signs; it follows θ, so that errors feed back."""
    made = 0.5 * theta.detach() + noise
    if name == "still rows":
        made[:3] = 0
    return torch.zeros_like(made) if name == "still" else made


def largest_difference(reference: Reference) -> float:
    """Over 50 steps, |a − b| / max(1, |b|)."""
    noise = torch.Generator().manual_seed(3)
    start = {name: torch.randn(shape, generator=noise) for name, shape in shapes_of(reference).items()}
    ours = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    theirs: dict[str, Any] = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    for place, one in enumerate(theirs.values()):
        one.drawn_as = f"0.{place}"  # by which a package finds the noise that ours draws
    optimizer = edsl.compile(reference.spec, list(ours.values()), mode="eager")
    others = [[*theirs.values()]] if reference.together else [[one] for one in theirs.values()]
    others = [(group, reference.build(group)) for group in others]
    largest = 0.0
    for step in range(STEPS):
        for name in start:
            drawn = torch.randn(start[name].shape, generator=noise)
            for parameter in (ours[name], theirs[name]):
                missing = name == "late" and (reference.together or step in MISSING)
                parameter.grad = None if missing else gradient(name, parameter, drawn)
        optimizer.step()
        for group, other in others:
            if any(parameter.grad is not None for parameter in group):
                other.step()
        for name in start:
            a, b = ours[name].detach(), theirs[name].detach()
            assert a.isfinite().all(), f"{name} at step {step + 1}"
            largest = max(largest, float(((a - b).abs() / b.abs().clamp(min=1)).max()))
    return largest


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda one: f"{one.spec[:40]} {one.package}".strip())
def test_an_entry_steps_as_its_reference(reference, exact_packages):
    assert largest_difference(reference) <= reference.bound


def test_every_entry_has_a_reference():
    compared = {name for one in REFERENCES for name in re.findall(r"\w+", one.spec)}
    assert {*zoo_names()} <= compared | LONE.keys()


def test_at_most_six_references_are_loops():
    assert len({one.build.keywords["change"] for one in REFERENCES if not one.package}) <= 6  # pyright: ignore


def test_schedule_free_is_evaluated_at_the_average_that_the_package_evaluates():
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(4, 3, dtype=torch.float64))
    theirs = torch.nn.Parameter(ours.detach().clone())
    spec = "schedule_free(lr=0.01, warmup=10, weight_decay=0.1, weigh_corrected=False)"
    optimizer, other = edsl.compile(spec, [ours], mode="eager"), schedule_free([theirs])
    for _ in range(20):
        drawn = torch.randn(4, 3, dtype=torch.float64)
        ours.grad, theirs.grad = ours.detach() + drawn, theirs.detach() + drawn
        optimizer.step()
        other.step()
    other.eval()
    trained = ours.detach().clone()
    with optimizer.evaluation_weights():
        assert float((ours - theirs).detach().abs().max()) <= 1e-12
        assert float((ours - trained).detach().abs().max()) > 0.001


def batch_gradient(theta: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Of a batch's loss, whose curvature is the batch's own."""
    return 0.5 * theta + 0.1 * (1 + noise) * theta**3 + noise


def batch_loss(theta: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    return (0.25 * theta**2 + 0.025 * (1 + noise) * theta**4 + noise * theta).sum()


def test_mars_behind_grad_pair_is_the_package_that_is_given_the_last_weights_gradients(exact_packages):
    """The package's approximation with ∇f_k(θ_{k−2}) in the place of the last gradient is MARS, exact."""
    package = pytest.importorskip("pytorch_optimizer")
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in ((6, 4), (5,))]
    theirs = [torch.nn.Parameter(one.detach().clone()) for one in ours]
    optimizer = edsl.compile("grad_pair | mars(lr=0.01, eps=1e-30, weight_decay=0.1)", ours, mode="eager")
    options = {"betas": (0.95, 0.99), "weight_decay": 0.1, "optimize_1d": True, "foreach": False, "eps": 1e-30}
    others = [package.MARS([one], lr=0.01, **options) for one in theirs]
    past = [one.detach().clone() for one in theirs]
    for _ in range(STEPS):
        drawn = [torch.randn(one.shape) for one in ours]

        def closure(drawn: list[torch.Tensor] = drawn) -> torch.Tensor:
            optimizer.zero_grad()
            loss = torch.stack([batch_loss(one, noise) for one, noise in zip(ours, drawn)]).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        for place, (other, one, noise) in enumerate(zip(others, theirs, drawn)):
            one.grad = batch_gradient(one.detach(), noise)
            other.init_group(other.param_groups[0])
            other.state[one]["last_grad"] = batch_gradient(past[place], noise)
            past[place] = one.detach().clone()
            other.step()
    assert max(float((a - b).detach().abs().max()) for a, b in zip(ours, theirs)) <= 1e-10
