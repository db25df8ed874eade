"""Sharpness and trace of the Hessian, by curvlinops' linear operators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from edsl.errors import EdslError
from edsl.lab.measures.measure import Measure, Run

TOLERANCE = 1e-3  # relative, of the eigenvalue
PROBES = 30  # of Hutchinson's estimate


def check_installed() -> None:
    """Raises EdslError without curvlinops."""
    try:
        import curvlinops  # noqa: F401
    except ImportError:
        raise EdslError("measures of curvature need curvlinops: pip install 'edsl-optim[measures]'") from None


class Sharpness(Measure):
    """λ_max of the mean loss's Hessian on 1,024 training examples, by Lanczos (scipy's eigsh) to 0.1 %."""

    def read(self) -> dict[str, float]:
        return {"sharpness": top_eigenvalue(self.run)}


class Trace(Measure):
    """tr H by Hutchinson's estimate with 30 random signs, and its standard error."""

    def read(self) -> dict[str, float]:
        operator = hessian(self.run)
        n = operator.shape[0]
        generator = torch.Generator().manual_seed(self.run.seed)
        found = []
        for _ in range(PROBES):
            v = (2.0 * torch.randint(0, 2, (n,), generator=generator) - 1).to(operator.device, operator.dtype)
            found.append((v @ (operator @ v)).item())
        values = torch.tensor(found, dtype=torch.float64)
        return {"trace": values.mean().item(), "trace_se": (values.std() / PROBES**0.5).item()}


def top_eigenvalue(run: Run, inputs: Tensor | None = None, targets: Tensor | None = None) -> float:
    """The largest eigenvalue of the Hessian at the run's weights; NaN where the loss or it is not finite.

    Args:
        inputs, targets: the examples; those of `run.rows()` by default.
    """
    return top_eigenpair(run, inputs, targets)[0]


def top_eigenpair(run: Run, inputs: Tensor | None = None, targets: Tensor | None = None) -> tuple[float, Tensor]:
    """The largest eigenvalue of the Hessian, as `top_eigenvalue`, and its unit eigenvector over all parameters."""
    from scipy.sparse import linalg

    eigsh: Any = linalg.eigsh

    operator = hessian(run, inputs, targets)
    nothing = torch.full((operator.shape[0],), float("nan"), dtype=operator.dtype)
    generator = torch.Generator().manual_seed(run.seed)
    start = torch.randn(operator.shape[0], generator=generator, dtype=torch.float64).numpy()
    if not all(torch.isfinite(parameter).all() for parameter in run.parameters):
        return float("nan"), nothing
    try:
        values, vectors = eigsh(operator.to_scipy(), k=1, which="LA", tol=TOLERANCE, v0=start)
    except linalg.ArpackError:
        return float("nan"), nothing
    return float(values[0]), torch.as_tensor(vectors[:, 0], dtype=operator.dtype)


def curvatures_along(run: Run, vector: Tensor, inputs: Tensor, targets: Tensor, size: int) -> Tensor:
    """vᵀ H v for each part of `size` examples, H the Hessian of their mean loss; in float64."""
    found = []
    for first in range(0, len(inputs) - size + 1, size):
        operator = hessian(run, inputs[first : first + size], targets[first : first + size])
        v = vector.to(operator.device, operator.dtype)
        found.append((v @ (operator @ v)).item())
    return torch.tensor(found, dtype=torch.float64)


def hessian(run: Run, inputs: Tensor | None = None, targets: Tensor | None = None) -> Any:
    """The Hessian of the mean loss as a linear operator over all parameters, in evaluation mode."""
    from curvlinops import HessianLinearOperator

    if inputs is None or targets is None:
        inputs, targets = run.rows()
    model, loss = run.model, _Loss(run.task.loss)
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):  # curvlinops takes tensors: row numbers
        model, loss = _OfRows(run.model, inputs), _Loss(partial(_loss_of_rows, run.task.loss, targets))
        inputs = targets = torch.arange(len(inputs))
    parameters: Any = run.parameters
    operator = HessianLinearOperator(model, loss, parameters, [(inputs, targets)], check_deterministic=False)
    return _Quiet(operator, run)


class _OfRows(nn.Module):
    """A model of rows that are no tensor, as one of their numbers."""

    def __init__(self, model: nn.Module, rows: Any) -> None:
        super().__init__()
        self.model, self.rows = model, rows

    def forward(self, numbers: Tensor) -> Any:
        return self.model(self.rows[numbers])


def _loss_of_rows(loss: Any, rows: Any, outputs: Any, numbers: Tensor) -> Tensor:
    return loss(outputs, rows[numbers])


class _Loss(nn.Module):
    """A task's mean loss, as curvlinops asks for one."""

    reduction = "mean"

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs, targets)


class _Quiet:
    """An operator whose products leave the training as it is."""

    def __init__(self, operator: Any, run: Run) -> None:
        self.operator, self.run = operator, run
        self.shape, self.dtype, self.device = operator.shape, operator.dtype, operator.device

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Quietly, with attention by its formula: the fused kernels have no second derivative."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with self.run.looking(), sdpa_kernel(SDPBackend.MATH):
            yield

    def __matmul__(self, vector: Any) -> Any:
        with self._looking():
            return self.operator @ vector

    def to_scipy(self) -> Any:
        from scipy.sparse import linalg

        inner = self.operator.to_scipy()

        def product(vector: Any) -> Any:
            with self._looking():
                return inner @ vector

        build: Any = linalg.LinearOperator
        return build(self.shape, matvec=product, dtype=inner.dtype)
