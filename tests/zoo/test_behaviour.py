"""Every entry of the zoo trains, resumes bit for bit, runs in every mode, behind E, and on shards."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn
from zoo_pipelines import TRAINS, behind_e

import edsl
from edsl.language.registry.zoo import zoo_names

COMPILED = ("nadam", "prodigy")  # by default; all of them with the slow tests


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)).to(dtype)


def classes(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Four noisy clusters in eight dimensions."""
    drawn = torch.Generator().manual_seed(1)
    labels = torch.arange(128) % 4
    centres = torch.randn(4, 8, generator=drawn, dtype=dtype)
    return centres[labels] + 0.5 * torch.randn(128, 8, generator=drawn, dtype=dtype), labels


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    dtype = next(model.parameters()).dtype
    inputs, labels = classes(dtype)
    losses = []
    for step in range(steps):
        part = slice(32 * (step % 4), 32 * (step % 4) + 32)

        def closure(part: slice = part) -> torch.Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[part]), labels[part])
            loss.backward()
            return loss

        losses.append(float(optimizer.step(closure).detach()))
    return losses


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def ended(spec: str, steps: int, mode: str, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    model = network(dtype)
    train(model, edsl.compile(spec, model, mode=mode), steps)
    return weights(model)


def distance(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


def test_every_entry_is_here():
    assert TRAINS.keys() == {*zoo_names()}


@pytest.mark.parametrize("name", TRAINS)
def test_an_entry_trains(name):
    model = network(torch.float32)
    losses = train(model, edsl.compile(TRAINS[name], model, mode="eager"), 60)
    assert losses[-1] < losses[0] / 3, (losses[0], losses[-1])


@pytest.mark.parametrize("name", TRAINS)
def test_an_entry_resumes_bit_for_bit(name):
    model, again = network(torch.float32), network(torch.float32)
    optimizer = edsl.compile(TRAINS[name], model, mode="eager")
    train(model, optimizer, 6)
    file = io.BytesIO()
    torch.save((model.state_dict(), optimizer.state_dict()), file)
    file.seek(0)
    held, state = torch.load(file, weights_only=True)
    again.load_state_dict(held)
    other = edsl.compile(str(optimizer.pipeline), again, mode="eager")
    other.load_state_dict(state)
    for one, its in ((model, optimizer), (again, other)):
        train(one, its, 6)
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(again)))


@pytest.mark.parametrize("name", TRAINS)
def test_an_entry_runs_behind_e(name):
    spec = behind_e(TRAINS[name])
    with_e = ended(spec, 8, "eager")
    assert all(one.isfinite().all() for one in with_e)
    assert distance(with_e, ended(TRAINS[name], 8, "eager")) > 0


def compiles(name: str, mode: str) -> None:
    assert distance(ended(TRAINS[name], 12, mode), ended(TRAINS[name], 12, "eager")) <= 1e-10


@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_entry_is_the_eager_one(name):
    compiles(name, "compiled")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["compiled", "inductor"])
@pytest.mark.parametrize("name", TRAINS)
def test_every_compiled_entry_is_the_eager_one(name, mode):
    compiles(name, mode)
