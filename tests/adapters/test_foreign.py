"""Other packages' optimizers, alone and behind E."""

import copy
import io

import pytest
import torch
import torch_optimizer
from naive import adapted_gradients
from problem import as_numpy, gradients, parameters, walk, worst

import edsl

BEHIND = [
    ("torch.AdamW(lr=0.01)", torch.optim.AdamW, {"lr": 0.01}),
    ("torch.SGD(lr=0.1, momentum=0.9)", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    ("torch.RMSprop(lr=0.01, alpha=0.9)", torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.9}),
    ("torch_optimizer.Lamb(lr=0.01)", torch_optimizer.Lamb, {"lr": 0.01}),
    ("torch_optimizer.Yogi(lr=0.01)", torch_optimizer.Yogi, {"lr": 0.01}),
]


def test_alone_it_is_that_optimizer_itself():
    optimizer = edsl.compile("torch.AdamW(lr=0.1, betas=(0.8, 0.9))", torch.nn.Linear(2, 1))
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(("spec", "cls", "options"), BEHIND)
def test_behind_e_it_steps_on_the_adapted_gradient(spec, cls, options):
    params, twins = parameters(), parameters()
    history = walk(edsl.compile(f"grad | e | {spec}", params, mode="eager"), params, gradients(20))
    adapted = [[torch.tensor(u) for u in row] for row in adapted_gradients(as_numpy(gradients(20)), -5, 0.99)]
    assert worst(history, walk(cls(twins, **options), twins, adapted)) < 1e-12


@pytest.mark.parametrize("spec", ["torch.AdamW(lr=0.01)", "torch_optimizer.Lamb(lr=0.01)"])
def test_behind_e_gradients_are_put_back(spec):
    params = parameters()
    optimizer = edsl.compile(f"grad | e | {spec}", params, mode="eager")
    row = gradients(1)[0]
    for p, g in zip(params, row, strict=True):
        p.grad = g
    values = [g.clone() for g in row]
    optimizer.step()
    assert all(p.grad is g and torch.equal(g, v) for p, g, v in zip(params, row, values, strict=True))


@pytest.mark.parametrize(("spec", "cls", "options"), BEHIND)
def test_behind_e_all_state_resumes_bit_for_bit(spec, cls, options):
    rows = gradients(8)
    params = parameters()
    optimizer = edsl.compile(f"grad | e | {spec}", params, mode="eager")
    walk(optimizer, params, rows[:4])
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    twins = [torch.nn.Parameter(p.detach().clone()) for p in params]
    undisturbed = walk(optimizer, params, rows[4:])
    file.seek(0)
    twin = edsl.compile(f"grad | e | {spec}", twins, mode="eager")
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert "e.mean" in twin.state[twins[0]]
    assert worst(walk(twin, twins, rows[4:]), undisturbed) == 0


def test_behind_e_schedulers_and_copies_reach_it():
    params = parameters()
    optimizer = edsl.compile("grad | e | torch.RMSprop(lr=0.1)", params, mode="eager")
    assert {"lr", "alpha", "e.alpha", "beta1"} <= set(optimizer.param_groups[0])
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0)
    walk(optimizer, params, gradients(1))
    schedule.step()
    twin_params, twin = copy.deepcopy((params, optimizer))
    before = [p.detach().clone() for p in params]
    assert worst(walk(optimizer, params, gradients(1)), [before]) == 0  # lr is 0 now
    assert worst(walk(twin, twin_params, gradients(1)), [before]) == 0


def test_missing_package_is_an_error_that_says_what_to_install(monkeypatch):
    import sys

    from edsl.optim.foreign import packages

    packages.optimizers_of.cache_clear()
    packages.optimizer_class.cache_clear()
    monkeypatch.setitem(sys.modules, "torch_optimizer", None)
    with pytest.raises(edsl.EdslError, match="pip install torch-optimizer"):
        edsl.parse("torch_optimizer.Lamb()")
    packages.optimizers_of.cache_clear()
