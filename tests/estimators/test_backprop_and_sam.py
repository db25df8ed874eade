"""`grad(accumulate=n)` is the exact mean gradient; `sam` is the gradient at the perturbed point."""

import copy
import io

import pytest
import torch
from problem import gradients, parameters, walk, worst

import edsl


def test_accumulated_micro_batches_are_one_step_with_the_mean_gradient():
    rows = gradients(9)
    means = [[sum(parts) / 3 for parts in zip(*rows[i : i + 3], strict=True)] for i in range(0, 9, 3)]
    ours, theirs = parameters(), parameters()
    spec = "e | adam(lr=0.01)"
    small = walk(edsl.compile(f"grad(accumulate=3) | {spec}", ours, mode="eager"), ours, rows)
    large = walk(edsl.compile(f"grad | {spec}", theirs, mode="eager"), theirs, means)
    assert worst(small[2::3], large) <= 1e-15
    assert worst([small[3]], [small[2]]) == 0, "it stepped between"


def test_accumulation_resumes_bit_for_bit_in_the_middle():
    rows = gradients(8)
    params = parameters()
    optimizer = edsl.compile("grad(accumulate=3) | e | adam(lr=0.01)", params, mode="eager")
    walk(optimizer, params, rows[:4])
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    twin_params = copy.deepcopy(params)
    twin = edsl.compile("grad(accumulate=3) | e | adam(lr=0.01)", twin_params, mode="eager")
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert worst(walk(twin, twin_params, rows[4:]), walk(optimizer, params, rows[4:])) == 0


def test_a_gradient_missing_from_some_micro_batches_counts_as_zero_there():
    params = parameters([(3,), (2,)])
    optimizer = edsl.compile("grad(accumulate=2) | sgd(lr=1.0)", params, mode="eager")
    before = [p.detach().clone() for p in params]
    params[0].grad, params[1].grad = torch.ones(3, dtype=torch.float64), None
    optimizer.step()
    params[0].grad, params[1].grad = None, None
    optimizer.step()
    assert torch.allclose(params[0], before[0] - 0.5)
    assert torch.equal(params[1], before[1])
    assert params[1] not in optimizer.state


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_is_the_gradient_at_the_perturbed_point(adaptive):
    generator = torch.Generator().manual_seed(3)
    start = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, 2), (4,))]
    params = [torch.nn.Parameter(t.clone()) for t in start]
    optimizer = edsl.compile(f"sam(rho=0.1, adaptive={adaptive}) | sgd(lr=0.5)", params, mode="eager")

    def loss_of(tensors):
        return sum((t**4).sum() + t.sum() for t in tensors)

    losses = []

    def closure():
        optimizer.zero_grad()
        loss = loss_of(params)
        loss.backward()
        losses.append(loss.item())
        return loss.detach()

    returned = optimizer.step(closure)
    slopes = [4 * t**3 + 1 for t in start]
    weights = [t.abs() if adaptive else torch.ones_like(t) for t in start]
    norm = sum((w * g).square().sum() for w, g in zip(weights, slopes)).sqrt()
    moved = [t + 0.1 * w * w * g / norm for t, w, g in zip(start, weights, slopes)]
    for parameter, before, point in zip(params, start, moved):
        assert torch.allclose(parameter, before - 0.5 * (4 * point**3 + 1), rtol=1e-12)
    assert returned.item() == losses[0]
    assert len(losses) == 2


def test_sam_with_a_zero_gradient_or_a_zero_radius_perturbs_nothing():
    for spec, slope in (("sam(rho=0.1)", 0.0), ("sam(rho=0)", 1.0)):
        theta = torch.nn.Parameter(torch.ones(2))
        optimizer = edsl.compile(f"{spec} | sgd(lr=0.5)", [theta], mode="eager")
        points = []

        def closure(theta=theta, optimizer=optimizer, slope=slope, points=points):
            optimizer.zero_grad()
            points.append(theta.detach().clone())
            loss = slope * theta.sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        assert torch.equal(points[0], points[1])
        assert torch.equal(theta, torch.full((2,), 1 - 0.5 * slope))


@pytest.mark.parametrize(
    "spec",
    [
        "grad | sgd",
        "grad(accumulate=4) | sgd",
        "spsa(samples=3) | sgd",
        "spsa(samples=2, common=True) | e(buffers=2) | sgd",
        "hutchinson | adahessian",
        "sam | sgd",
        "grad_pair | e(buffers=2) | sgd",
    ],
)
def test_evaluations_of_the_loss_are_those_it_states(spec):
    theta = torch.nn.Parameter(torch.ones(3))
    optimizer = edsl.compile(spec, [theta], mode="eager")
    estimator = optimizer.pipeline.estimator
    count = 0

    def closure():
        nonlocal count
        count += 1
        loss = theta.cosh().sum()
        if estimator.calls_backward:
            optimizer.zero_grad()
            loss.backward()
        return loss

    for _ in range(estimator.calls):  # the first step has no past
        optimizer.step(closure)
    count = 0
    for _ in range(5 * estimator.calls):
        optimizer.step(closure)
    assert count == 5 * estimator.forwards


@pytest.mark.parametrize("name", ["spsa", "hutchinson", "sam"])
def test_a_step_without_the_needed_closure_is_one_clear_error(name):
    params = parameters()
    optimizer = edsl.compile(f"{name} | sgd", params, mode="eager")
    with pytest.raises(edsl.EdslError, match=rf"^{name} evaluates the loss itself: call step\(closure\)"):
        optimizer.step()


@pytest.mark.parametrize("name", ["spsa", "hutchinson"])
def test_a_closure_that_calls_backward_where_the_loss_alone_is_wanted_is_one_clear_error(name):
    theta = torch.nn.Parameter(torch.ones(3))
    optimizer = edsl.compile(f"{name} | sgd", [theta], mode="eager")

    def closure():
        loss = theta.cosh().sum()
        loss.backward()
        return loss

    with pytest.raises(edsl.EdslError, match=r"without backward\(\)"):
        optimizer.step(closure)
    assert torch.equal(theta, torch.ones(3))


@pytest.mark.parametrize("value", [None, 1.0, torch.ones(2)])
@pytest.mark.parametrize("name", ["spsa", "hutchinson"])
def test_a_closure_must_return_the_loss(name, value):
    theta = torch.nn.Parameter(torch.ones(3))
    optimizer = edsl.compile(f"{name} | sgd", [theta], mode="eager")
    with pytest.raises(edsl.EdslError, match="must return the loss"):
        optimizer.step(lambda: value)


def test_groups_must_agree_on_the_estimator():
    a, b = parameters([(2,), (3,)])
    optimizer = edsl.compile("sam | sgd", [{"params": [a]}, {"params": [b], "rho": 0.5}], mode="eager")
    with pytest.raises(edsl.EdslError, match="must agree on the estimator"):
        optimizer.step(lambda: a.sum())


def test_a_schedule_reaches_the_estimator():
    theta = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = edsl.compile("sam(rho=0.1) | sgd(lr=0)", [theta], mode="eager")
    points = []

    def closure():
        optimizer.zero_grad()
        points.append(theta.item())
        loss = theta.sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    optimizer.param_groups[0]["rho"] = 0.4
    optimizer.step(closure)
    assert points == pytest.approx([1, 1.1, 1, 1.4])


def test_estimators_feed_another_packages_optimizer():
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64)) for _ in range(2))
    mine = edsl.compile("spsa(samples=2) | adam(lr=0.01)", [ours], mode="eager")
    around = edsl.compile("spsa(samples=2) | torch.Adam(lr=0.01)", [theirs])
    for _ in range(5):
        mine.step(lambda: ours.cosh().sum())
        around.step(lambda: theirs.cosh().sum())
    assert torch.allclose(ours, theirs, rtol=1e-12)
    assert theirs.grad is None


def test_a_closure_of_sam_without_backward_is_one_clear_error():
    theta = torch.nn.Parameter(torch.ones(3))
    optimizer = edsl.compile("sam | sgd", [theta], mode="eager")
    with pytest.raises(edsl.EdslError, match="the closure left no gradient; call step"):
        optimizer.step(lambda: theta.square().sum())


def test_the_two_gradients_of_sam_are_not_added_when_a_closure_does_not_zero_them():
    theta = torch.nn.Parameter(torch.ones(3))
    optimizer = edsl.compile("sam(rho=0) | sgd(lr=0.5)", [theta], mode="eager")

    def closure():
        loss = theta.sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.equal(theta, torch.full((3,), 0.5))


def test_a_parameter_without_any_gradient_in_an_accumulation_is_left_alone():
    used, idle = (torch.nn.Parameter(torch.ones(1, dtype=torch.float64)) for _ in range(2))
    optimizer = edsl.compile("grad(accumulate=2) | adam(lr=0.1)", [used, idle], mode="eager")
    for k in range(6):
        for _ in range(2):
            used.grad = torch.ones_like(used)
            idle.grad = torch.ones_like(idle) if k == 0 else None
            optimizer.step()
    assert idle.item() == pytest.approx(0.9)
    assert int(optimizer.state[idle]["step"]) == 1


def test_a_sparse_gradient_of_sam_is_one_clear_error():
    table = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = edsl.compile("sam | sgd", table, mode="eager")

    def closure():
        optimizer.zero_grad()
        loss = table(torch.tensor([1])).sum()
        loss.backward()
        return loss

    with pytest.raises(edsl.EdslError, match="dense gradients"):
        optimizer.step(closure)
