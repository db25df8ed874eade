"""Measures say what naive computations say, and change nothing."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import edsl
from edsl.lab.measures.catalogue import MEASURES, OF_CURVATURE, check_measures, measuring
from edsl.lab.measures.measure import Run
from edsl.lab.measures.movement import copies, distance
from edsl.lab.measures.noise import CurvatureNoise, NoiseScale
from edsl.lab.tasks.catalogue import task
from edsl.lab.tasks.task import Data, Split, Task
from edsl.lab.trials.run import run_trial
from edsl.lab.trials.setting import Setting
from edsl.lab.trials.training import Training
from edsl.language.spec import parse

needs_curvlinops = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("curvlinops") is None, reason="curvlinops is not installed"
)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def small():
    """A task of 60 examples and 27 parameters, with normalisation and dropout."""
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.randn(60, 4, generator=generator), torch.randint(0, 3, (60,), generator=generator))

    def network():
        return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Dropout(0.5), nn.Linear(3, 3))

    return Task(
        name="small",
        data=lambda: Data(split, split, split),
        models={"mlp": network},
        loss=cross_entropy,
        batch=20,
        steps=10,
    )


def training(spec="alto(lr=0.05)", chosen=None, batch=20):
    chosen = chosen or small()
    made = Training(chosen, Setting(chosen.name, next(iter(chosen.models)), batch, 10, "cpu", 1), parse(spec), 0)
    made.compile()
    return made


def run_of(made):
    return Run(made.task, made.model, made.optimizer, made.pipeline, made.data.train, 0)


def dense_hessian(made):
    """Row after row, by differentiating twice."""
    made.model.eval()
    parameters = list(made.model.parameters())
    loss = made.task.loss(made.model(made.data.train.inputs), made.data.train.targets)
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    rows = []
    for element in flat:
        row = torch.autograd.grad(element, parameters, retain_graph=True, allow_unused=True)
        rows.append(torch.cat([(torch.zeros_like(p) if r is None else r).flatten() for r, p in zip(row, parameters)]))
    made.model.train()
    return torch.stack(rows).double().numpy()


@needs_curvlinops
def test_sharpness_is_the_top_eigenvalue_of_the_dense_hessian():
    from edsl.lab.measures.curvature import top_eigenvalue

    made = training()
    expected = np.linalg.eigvalsh(dense_hessian(made))[-1]
    assert top_eigenvalue(run_of(made)) == pytest.approx(expected, rel=2e-3)


@needs_curvlinops
def test_trace_is_the_dense_one_within_its_error():
    from edsl.lab.measures.curvature import Trace

    made = training()
    said = Trace(run_of(made)).read()
    assert abs(said["trace"] - np.trace(dense_hessian(made))) < 4 * said["trace_se"]
    assert said["trace_se"] > 0


@pytest.mark.parametrize("spec", ["alto(lr=0.05)", "torch.SGD(lr=0.1, momentum=0.9)", "sam | e | sgd(lr=0.05)"])
def test_measuring_changes_no_bit_of_the_training(spec):
    names = [name for name in MEASURES if name not in OF_CURVATURE]
    if __import__("importlib.util").util.find_spec("curvlinops"):
        names = list(MEASURES)
    plain, measured = training(spec), training(spec)
    watching = measuring(
        names, measured.task, measured.model, measured.optimizer, measured.pipeline, measured.data.train, 0, 2
    )
    torch.manual_seed(5)
    before = [plain.step(step - 1, step) for step in range(1, 7)]
    torch.manual_seed(5)
    after = []
    for step in range(1, 7):
        watching.before(step)
        after.append(measured.step(step - 1, step))
        watching.after(step)
    assert after == before
    for one, two in zip(plain.model.state_dict().values(), measured.model.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    for one, two in zip(plain.model.parameters(), measured.model.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)


def test_drift_and_path_are_the_norms_of_differences():
    made = training()
    run = run_of(made)
    watching = measuring(["drift", "path", "update"], *_of(made), 0, 5)
    start, past, length, values = copies(run), copies(run), 0.0, None
    for step in range(1, 6):
        watching.before(step)
        made.step(step - 1, step)
        values = watching.after(step)
        length += distance(run, past)
        last, past = past, copies(run)
    assert values is not None
    flat = torch.cat([(p - s).flatten() for p, s in zip(past, start)]).double()
    assert values["drift"] == pytest.approx(flat.norm().item())
    assert values["path"] == pytest.approx(length)
    ratios = [((p - q).norm() / q.norm()).item() for p, q in zip(past, last) if q.norm() > 0]
    assert values["update"] == pytest.approx(float(np.median(ratios)), rel=1e-5)


def _of(made):
    return made.task, made.model, made.optimizer, made.pipeline, made.data.train


def test_noise_scale_of_a_known_covariance_is_found():
    """The gradient of (θ−x)²/2 over examples x has mean θ−mean(x) and variance 1 in each of 8 elements."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1024, 8, generator=generator)

    class Point(nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = nn.Parameter(torch.full((8,), 0.5))

        def forward(self, inputs):
            return self.theta - inputs

    split = Split(x, torch.zeros(1024))

    def loss(outputs, _):
        return outputs.square().sum(1).mean() / 2

    chosen = Task(
        name="known", data=lambda: Data(split, split, split), models={"point": Point}, loss=loss, batch=64, steps=1
    )
    said = NoiseScale(run_of(training("sgd", chosen, 64))).read()
    assert said["gradient_noise"] == pytest.approx(8, rel=0.35)  # 15 × 8 squares: a standard deviation of 13 %
    mean = (0.5 - x.mean(0)).norm().item()
    assert said["gradient_norm"] == pytest.approx(mean, rel=1e-4)
    assert said["noise_scale"] == pytest.approx(said["gradient_noise"] / mean**2, rel=0.05)


@needs_curvlinops
def test_curvature_noise_is_the_spread_of_the_examples_curvatures():
    """The loss (a θ₁² + b θ₂²)/2 over examples (a, b): along θ₁, the sharper, one example's curvature is a."""
    generator = torch.Generator().manual_seed(0)
    curvatures = torch.stack([5 + 3 * torch.randn(1024, generator=generator), torch.rand(1024, generator=generator)], 1)

    class Point(nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = nn.Parameter(torch.tensor([0.3, 2.0]))

        def forward(self, inputs):
            return (inputs * self.theta.square()).sum(1) / 2

    split = Split(curvatures, torch.zeros(1024))
    chosen = Task(
        name="known",
        data=lambda: Data(split, split, split),
        models={"point": Point},
        loss=lambda outputs, _: outputs.mean(),
        batch=64,
        steps=1,
    )
    said = CurvatureNoise(run_of(training("sgd", chosen, 64))).read()
    a = curvatures[:, 0]
    assert said["curvature_noise_scale"] == pytest.approx((a.var() / a.mean() ** 2).item(), rel=0.4)


def test_norms_and_trust_are_those_of_the_recurrence_by_hand():
    made = training("grad | e(alpha=-5, beta1=0.9) | lamb(lr=0.05)")
    watching = measuring(["norms", "trust"], *_of(made), 0, 1)
    theta = [parameter.detach().clone() for parameter in made.model.parameters()]
    watching.before(1)
    made.step(0, 1)
    values = watching.after(1)
    assert values is not None
    gradients = [parameter.grad for parameter in made.model.parameters()]
    into = math.sqrt(sum(gradient.double().square().sum().item() for gradient in gradients))
    assert values["norm.e.in"] == pytest.approx(into, rel=1e-5)
    assert values["norm.e.out"] == pytest.approx(into * abs(1 - 5 * 0.1), rel=1e-5)  # the first step: 1 + α(1−β₁)
    assert values["norm.lamb.in"] == values["norm.e.out"]
    steps = [p.detach() - old for p, old in zip(made.model.parameters(), theta)]
    out = math.sqrt(sum(step.double().square().sum().item() for step in steps))
    assert values["norm.lamb.out"] == pytest.approx(out, rel=1e-4)
    factors = []
    for old, gradient in zip(theta, gradients):
        if old.dim() == 2:  # biases and norms have no factor
            u = 0.5 * gradient
            r = u / (u.abs() + 1e-6) + 1e-4 * old
            factors.append((old.norm() / r.norm()).item())
    assert values["trust.min"] == pytest.approx(min(factors), rel=1e-3)
    assert values["trust.max"] == pytest.approx(max(factors), rel=1e-3)


def test_what_an_optimizer_has_not_is_absent():
    made = training("torch.SGD(lr=0.1)")
    watching = measuring(["norms", "trust", "drift"], *_of(made), 0, 1)
    watching.before(1)
    made.step(0, 1)
    assert set(watching.after(1)) == {"drift", "drift_relative"}


def test_measures_are_recorded_in_a_trial_at_its_checkpoints():
    setting = Setting("digits", "linear", 64, 40, "cpu", 1, measures=("drift", "path"))
    trial = run_trial(task("digits"), setting, "sgd(lr=0.1)", 0)
    assert [point["step"] for point in trial.measured] == [1, *range(2, 41, 2)]
    drifts = [point["path"] for point in trial.measured]
    assert drifts == sorted(drifts)


def test_unknown_measure_is_one_line():
    with pytest.raises(edsl.EdslError, match="unknown measure 'drft'; did you mean 'drift'"):
        check_measures(["drft"])
