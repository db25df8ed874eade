"""A small network at a minimum that all its examples share, and what batches know of the curvature there.

At such a minimum every example's gradient is 0, so that the step of any batch keeps it, and one question is left:
does a small distance from it decay or grow? Near it a step is linear, θ ← θ − lr P(H_B θ), with H_B the Hessian of
the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from edsl.errors import EdslError
from edsl.lab.measures.curvature import curvatures_along, top_eigenpair
from edsl.lab.measures.measure import Run
from edsl.lab.tasks.task import Split, Task
from edsl.optim.compile import compile as compile_spec

_INPUTS = 30  # measurements of a patient
_WARM_UP, _SOLVING = 300, 200  # steps of Adam, then of Levenberg and Marquardt
_REST = 1e-11  # the largest residual at the minimum


@dataclass(frozen=True)
class Minimum:
    """A network in float64 at θ*, and the Hessian there.

    Attributes:
        inputs, targets: its N examples, (N, 30) and (N, 1).
        curvature: h, the Hessian's largest eigenvalue; direction: its unit eigenvector, flat.
        jacobian: the gradient of each example's output, (N, parameters); the Hessian is JᵀJ/N.
        examples: each example's own curvature along that vector; h is their mean.
    """

    network: nn.Module
    inputs: Tensor
    targets: Tensor
    curvature: float
    direction: Tensor
    jacobian: Tensor
    examples: Tensor

    @property
    def trace(self) -> float:
        """The Hessian's trace over h."""
        return self.jacobian.square().sum().item() / len(self.jacobian) / self.curvature

    def noise(self, batch: int) -> float:
        """c = σ_h/h of batches that are drawn without replacement."""
        count = len(self.examples)
        spread = self.examples.var(unbiased=False).item() / batch * (count - batch) / (count - 1)
        return spread**0.5 / self.curvature


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """½ · the mean of squared residuals."""
    return (outputs - targets).square().mean() / 2


def minimum(examples: int, width: int, seed: int = 0) -> Minimum:
    """Train 30 → width → 1 with ReLU on the cancer task's two classes as ±1, until no residual is left.

    Raises:
        EdslError: where the network can't learn all its examples.
    """
    inputs, targets = _examples(examples)
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(_INPUTS, width), nn.ReLU(), nn.Linear(width, 1)).double()
    optimizer = compile_spec("adam(lr=0.01)", network, mode="eager")
    for _ in range(_WARM_UP):
        optimizer.zero_grad()
        half_squared_error(network(inputs), targets).backward()
        optimizer.step()
    _solve(network, inputs, targets)
    task = Task(
        name="cancer, least squares", data=lambda: None, models={"mlp": lambda: network}, loss=half_squared_error
    )
    run = Run(task, network, None, None, Split(inputs, targets), seed)
    curvature, direction = top_eigenpair(run, inputs, targets)
    return Minimum(
        network,
        inputs,
        targets,
        curvature,
        direction,
        _jacobian(network, inputs),
        curvatures_along(run, direction, inputs, targets, 1),
    )


def _examples(count: int) -> tuple[Tensor, Tensor]:
    from edsl.lab.tasks.cancer import data

    train = data().train
    return train.inputs[:count].double(), (2.0 * train.targets[:count] - 1).double()[:, None]


def _solve(network: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    """Levenberg and Marquardt's steps until all residuals are 0 to rounding."""
    parameters = list(network.parameters())
    damping, identity = 1.0, torch.eye(len(inputs), dtype=torch.float64)
    with torch.no_grad():
        residual = (network(inputs) - targets)[:, 0]
        for _ in range(_SOLVING):
            if residual.abs().max() < _REST:
                return
            jacobian = _jacobian(network, inputs)
            before = nn.utils.parameters_to_vector(parameters)
            move = jacobian.T @ torch.linalg.solve(jacobian @ jacobian.T + damping * identity, residual)
            nn.utils.vector_to_parameters(before - move, parameters)
            after = (network(inputs) - targets)[:, 0]
            if after.norm() < residual.norm():
                residual, damping = after, max(damping / 5, 1e-12)
            else:
                nn.utils.vector_to_parameters(before, parameters)
                damping *= 4
    raise EdslError(f"the network does not learn its {len(inputs)} examples: give it more width")


def _jacobian(network: nn.Module, inputs: Tensor) -> Tensor:
    """The gradient of each output, (N, parameters)."""
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}

    def output(values: Any, x: Tensor) -> Tensor:
        return functional_call(network, values, (x[None],)).squeeze()

    rows: Any = vmap(grad(output), in_dims=(None, 0))(parameters, inputs)
    return torch.cat([row.flatten(1) for row in rows.values()], dim=1)
