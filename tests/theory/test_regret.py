"""The theorems' conditions, and what they do not promise."""

import math

import numpy as np
import pytest
import torch
from problem import gradients, parameters, walk

import edsl
from edsl.theory import RegretMonitor
from edsl.theory.regret.conditions import (
    FAILS,
    HOLDS,
    conditions,
    moment_bound,
    nonconvex_rate,
    readings,
    schedule_condition,
)
from edsl.theory.regret.schedule import read_schedule


def verdicts(*values, **options):
    return [condition.verdict for condition in conditions(*values, **options)]


def test_conditions_on_hyper_parameters():
    assert verdicts(0.9, 0.99)[0] == HOLDS
    assert verdicts(0.9, 0.8)[0] == FAILS
    assert conditions(0.9, 0.99)[0].value == pytest.approx(0.81 / 0.99)
    for beta1, verdict in ((0.999, FAILS), (0.9, HOLDS)):
        reads = readings(edsl.parse(f"grad | e(alpha=-5, beta1={beta1}) | lamb(v_reads='g')"))
        assert verdicts(0.9, 0.99, reads=reads)[1] == verdict


def test_bound_of_the_moments_ratio_is_attained():
    beta2, beta3, length = 0.9, 0.99, 400
    ages = np.arange(length)
    worst = (beta2 / beta3) ** ages  # Cauchy–Schwarz with equality
    m = ((1 - beta2) * beta2**ages * worst).sum()
    v = ((1 - beta3) * beta3**ages * worst**2).sum()
    assert abs(m) / math.sqrt(v) == pytest.approx(moment_bound(beta2, beta3), rel=1e-9)
    assert moment_bound(beta2, beta3) == pytest.approx(2.345, abs=5e-4)
    assert moment_bound(0.9, 0.5) == math.inf


@pytest.mark.parametrize(
    ("text", "two_sided", "verdict"),
    [
        ("1/sqrt(k)", True, HOLDS),
        ("3/sqrt(k + 10)", True, HOLDS),
        ("1/sqrt(k)*(1 + 1/k)", True, HOLDS),
        ("1", True, FAILS),
        ("1/k", True, FAILS),
        ("1/k", False, HOLDS),
        ("0.99**k", True, FAILS),
        ("exp(-k)", False, HOLDS),
        ("log(k)/sqrt(k)", False, FAILS),
        ("0", False, HOLDS),
        ("-5/sqrt(k)", False, HOLDS),
        ("-1/sqrt(k)", True, FAILS),  # climbs
        ("1/(k-5)", False, FAILS),  # no number at step 5
        ("1/(k-5)", True, FAILS),
        ("1/(k-10000000)", False, FAILS),
        ("sqrt(k-5)/k", False, FAILS),  # imaginary before step 5
        ("1/(k-4.5)", False, HOLDS),
        ("(k-10)/k**1.5", True, FAILS),  # climbs before step 10
        ("(1-1/k)/sqrt(k)", True, FAILS),  # 0 at step 1
        ("1/log(k)", False, FAILS),
        ("0.99**k", False, HOLDS),  # though a float falls to 0
        ("k**k", False, FAILS),
    ],
)
def test_schedules_are_judged_by_their_limit(text, two_sided, verdict):
    assert schedule_condition("", text, two_sided).verdict == verdict


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "k +",
            "x",
            "__import__('os')",
            "k.real",
            "1/0",
            "sqrt(k, 2)",
            "lambda: k",
            "9**9**9**9",
            "k" * 300,
            "'k'",
        ),
        *("1e400", "(1+(-1)**k)/sqrt(k)", "(k-5)**k", "exp(exp(k))", "2**(2**k)", "exp(10**99)", "((k**99)**99)**99"),
        *("1j*k", "1/(k-k)", "log(0)", "inf", "nan"),
    ],
)
def test_bad_schedule_is_a_spec_error(text):
    with pytest.raises(edsl.EdslError):
        read_schedule(text)


@pytest.mark.parametrize(
    ("spec", "beta3", "bound"),
    [
        ("grad | e(alpha=-90) | lamb(m_reads='g')", 0.99, 17.39),
        ("grad | e(alpha=-5) | lamb(m_reads='g')", 0.975, math.inf),
        ("grad | e(alpha=-5) | lamb(v_reads='g')", 0.99, 2.239),
        ("grad | e(alpha=-5) | lamb(m_reads='g', v_reads='g')", 0.99, 2.345),
        ("lamb(m_reads='g')", 0.99, 2.345),
        ("grad | noise | lamb(v_reads='g')", 0.99, math.inf),
    ],
)
def test_bound_of_moments_that_read_different_things(spec, beta3, bound):
    reads = readings(edsl.parse(spec))
    assert moment_bound(0.9, beta3, reads) == pytest.approx(bound, abs=5e-3)
    assert (FAILS in verdicts(0.9, beta3, reads=reads)) == math.isinf(bound)


@pytest.mark.parametrize("reading", ["m_reads", "v_reads"])
def test_bound_of_moments_that_read_different_things_is_attained_by_no_less_than_cauchy_and_schwarz(reading):
    """The weights of m on what v reads, by two loops over E and a deconvolution, and their worst gradients."""
    alpha, beta1, beta2, beta3, length = -90, 0.99, 0.9, 0.99, 3000
    impulse, mean = np.zeros(length), 0.0
    for n in range(length):
        g = float(n == 0)
        impulse[n] = g + alpha * (1 - beta1) * (g - mean)
        mean = beta1 * mean + (1 - beta1) * g
    inverse = np.zeros(length)
    for n in range(length):  # of E: Σ impulseᵢ inverseₙ₋ᵢ is 1 at 0 and 0 after
        inverse[n] = (float(n == 0) - impulse[1 : n + 1] @ inverse[:n][::-1]) / impulse[0]
    ages = np.arange(length)
    weights = np.convolve((1 - beta2) * beta2**ages, inverse if reading == "m_reads" else impulse)[:length]
    worst = math.sqrt((weights**2 / ((1 - beta3) * beta3**ages)).sum())
    reads = readings(edsl.parse(f"grad | e(alpha={alpha}, beta1={beta1}) | lamb({reading}='g')"))
    assert moment_bound(beta2, beta3, reads) == pytest.approx(worst, rel=1e-6)


def test_what_is_0_meets_any_bound_from_above():
    found = conditions(0.9, 0.99, lr_schedule="1/sqrt(k)", alpha_schedule="1", decay_schedule="1", alpha=0, decay=0)
    assert [condition.verdict for condition in found[1:4]] == [HOLDS, HOLDS, HOLDS]
    assert "weight decay is 0" in found[3].reason
    assert conditions(0.9, 0.99, lr=0)[1].verdict == FAILS


def test_nonconvex_rate_is_vacuous_at_the_papers_defaults():
    found = nonconvex_rate(0.99, 1e-6)
    assert found.value == pytest.approx(1e5)
    assert "vacuous" in found.reason
    assert nonconvex_rate(0.99, 0.2).verdict == HOLDS


def reddi(spec, rounds):
    """Reddi et al. 2018: slopes 4, −1, −1, … on [−1, 1], best −1; average regret, and what the monitor saw."""
    theta = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = edsl.compile(spec, [theta], mode="eager")
    monitor = RegretMonitor(optimizer)
    regret = 0.0
    for k in range(1, rounds + 1):
        slope = 4.0 if k % 3 == 1 else -1.0
        regret += slope * (theta.item() + 1)
        optimizer.param_groups[0].update(lr=0.5 / math.sqrt(k), alpha=-5 / math.sqrt(k))
        walk(optimizer, [theta], [[torch.tensor([slope], dtype=torch.float64)]])
        with torch.no_grad():
            theta.clamp_(-1, 1)
    return regret / rounds, monitor.report()


def test_reddis_problem_meets_all_hyper_parameter_conditions_and_has_linear_regret():
    assert FAILS not in verdicts(0.0, 1 / 17, alpha_schedule="-5/sqrt(k)")
    assert conditions(0.0, 1 / 17)[0].value == 0
    spec = "grad | e(alpha=-5, beta1=0.99) | adam(lr=0.5, beta2=0, beta3=0.0588235)"
    early, _ = reddi(spec, 500)
    late, seen = reddi(spec, 2000)
    assert early == pytest.approx(4 / 3, abs=0.05)
    assert late == pytest.approx(4 / 3, abs=0.02)  # R/T does not fall
    assert seen.fired == pytest.approx(2 / 3, abs=0.01)
    assert seen.per_root > 100  # NV is far from O(√T)


def test_monitor_sees_q_as_a_naive_loop_computes_it():
    rows = gradients(6)
    params = parameters()
    optimizer = edsl.compile("alto(lr=0.05, weight_decay=0.1)", params, mode="eager")
    monitor = RegretMonitor(optimizer)
    mean = [np.zeros(p.shape) for p in params]
    m, v = [np.zeros(p.shape) for p in params], [np.zeros(p.shape) for p in params]
    before, variation, fell, seen = None, 0.0, 0, 0
    for k, row in enumerate(rows, start=1):
        q = []
        for i, (p, g) in enumerate(zip(params, row, strict=True)):
            theta, g = p.detach().numpy().copy(), g.numpy()
            u = g - 5 * 0.01 * (g - mean[i])
            mean[i] = 0.99 * mean[i] + 0.01 * g
            m[i], v[i] = 0.9 * m[i] + 0.1 * u, 0.99 * v[i] + 0.01 * u**2
            root = np.sqrt(v[i] / (1 - 0.99**k))
            r = m[i] / (1 - 0.9**k) / (root + 1e-6) + 0.1 * theta
            phi = np.linalg.norm(theta) + 1e-10
            q.append(math.sqrt(k) * (root + 1e-6) * (np.linalg.norm(r) + 1e-6 * phi) / phi)
        if before is not None:
            falls = [np.maximum(b - a, 0) for a, b in zip(q, before, strict=True)]
            variation += sum(f.sum() for f in falls)
            fell += sum((f > 0).sum() for f in falls)
            seen += sum(f.size for f in falls)
        before = q
        walk(optimizer, params, [row])
    report = monitor.report()
    assert report.steps == 6
    assert report.variation == pytest.approx(variation, rel=1e-9)
    assert report.share == pytest.approx(fell / seen)
    assert variation > 0


def test_monitor_changes_nothing_and_can_be_removed():
    rows = gradients(5)
    plain, watched = parameters(), parameters()
    first, second = (edsl.compile("alto", p, mode="eager") for p in (plain, watched))
    monitor = RegretMonitor(second)
    a, b = walk(first, plain, rows), walk(second, watched, rows)
    assert all(torch.equal(x, y) for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True))
    monitor.remove()
    walk(second, watched, rows)
    assert monitor.report().steps == 5


def test_monitor_sees_the_gradient_of_the_step_itself_when_a_closure_makes_it():
    rows = gradients(6)
    reports = []
    for by_closure in (False, True):
        params = parameters()
        optimizer = edsl.compile("alto", params, mode="eager")
        monitor = RegretMonitor(optimizer)
        for row in rows:

            def give(params=params, row=row):
                for parameter, gradient in zip(params, row, strict=True):
                    parameter.grad = gradient.clone()

            if by_closure:
                optimizer.step(give)
            else:
                give()
                optimizer.step()
        reports.append(monitor.report())
    assert reports[0] == reports[1]
    assert reports[0].variation > 0


def test_watching_does_not_count_as_a_step_even_of_an_empty_parameter():
    params = [torch.nn.Parameter(torch.zeros(0)), torch.nn.Parameter(torch.ones(2))]
    optimizer = edsl.compile("alto", params, mode="eager")
    RegretMonitor(optimizer)
    walk(optimizer, params, [[torch.zeros(0), torch.ones(2)]] * 3)
    assert [int(optimizer.state[p]["step"]) for p in params] == [3, 3]


@pytest.mark.parametrize("spec", ["sgd", "grad | e | torch.Adam()"])
def test_monitor_refuses_what_the_theorem_is_not_about(spec):
    with pytest.raises(edsl.EdslError, match="regret monitor"):
        RegretMonitor(edsl.compile(spec, parameters(), mode="eager"))


def test_monitor_refuses_a_foreign_optimizer():
    with pytest.raises(edsl.EdslError, match="got Adam"):
        RegretMonitor(torch.optim.Adam(parameters()))
