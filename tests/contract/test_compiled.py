"""The contract, compilation: a whole training step, and no recompiling under schedules."""

import pytest
import torch
from harness import build, rows_like, same, take
from problem import parameters, worst
from torch import nn

import edsl

CHOSEN = pytest.mark.parametrize("recipe", ["alto", "emuon"])


@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
@CHOSEN
def test_a_compiled_training_step_may_hold_the_optimizers_step(recipe):
    def run(compiled):
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        optimizer = edsl.compile(recipe, model, mode="compiled" if compiled else "eager")

        def train(batch):
            optimizer.zero_grad()
            loss = model(batch).square().mean()
            loss.backward()
            optimizer.step()
            return loss.detach()

        train = torch.compile(train) if compiled else train
        losses = [float(train(torch.ones(8, 4))) for _ in range(4)]
        assert int(optimizer.state[model.weight]["step"]) == 4
        assert getattr(optimizer, "fallbacks", []) == []
        return losses

    assert run(True) == pytest.approx(run(False), rel=1e-5)


@pytest.mark.parametrize(("recipe", "kind"), [("alto", float), ("alto", torch.tensor), ("elion", torch.tensor)])
def test_no_schedule_recompiles(recipe, kind):
    params, optimizer = build(recipe, parameters(dtype=torch.float32), mode="compiled", lr=kind(0.25))
    twins, eager = build(recipe, parameters(dtype=torch.float32), lr=0.25)
    graphs = []
    for step in range(6):
        lr = 0.25 / (1 + step)
        for group, other in zip(optimizer.param_groups, eager.param_groups, strict=True):
            group["lr"].fill_(lr) if isinstance(group["lr"], torch.Tensor) else group.update(lr=lr)
            other["lr"] = lr
            group["alpha"] = other["alpha"] = -5 + step
        a, b = take(optimizer, params), take(eager, twins)
        assert worst(a, b) <= 1e-4
        graphs.append(optimizer.compiled_graphs)
    assert graphs[0] == graphs[-1] > 0
    assert optimizer.fallbacks == []


def test_a_compiled_step_keeps_gradients_storage_and_versions_as_an_eager_one():
    params, optimizer = build("alto", parameters(dtype=torch.float32), mode="compiled")
    row = rows_like(params, 1)[0]
    for p, g in zip(params, row, strict=True):
        p.grad = g
    values, places, versions = [g.clone() for g in row], [p.data_ptr() for p in params], [p._version for p in params]
    optimizer.step()
    assert all(p.grad is g for p, g in zip(params, row, strict=True))
    assert same(row, values)
    assert [p.data_ptr() for p in params] == places
    assert all(p._version > version for p, version in zip(params, versions, strict=True))


def test_a_compiled_run_gives_the_same_bits_twice():
    runs = []
    for _ in range(2):
        params, optimizer = build("alto", parameters(dtype=torch.float32), mode="compiled")
        runs.append(take(optimizer, params, 4))
    assert worst(*runs) == 0
