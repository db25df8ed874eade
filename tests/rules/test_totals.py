"""total(x) is the sum over all layers that step: of the pipeline, or behind a route of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import naive_updates as naive
import numpy as np
import pytest
import torch
from problem import as_numpy, gradients, parameters, walk, worst

import edsl
from edsl.costs.cost import cost
from edsl.language.reductions import segments
from edsl.numerics.newton_schulz import MINIMAX
from edsl.stage import At, BaseUpdate, NoMemory, Number, field
from edsl.theory.text.notation import recurrences

SHAPES = [(4, 3), (7,), (1,)]
PRODIGY = """
@update
def prodigy(u, *, lr=1.0, beta1: decay = 0.9, beta2: decay = 0.999, d0: positive = 0.01, eps=1e-8):
    start, old = first(theta, start), first(d0, d)
    root = sqrt(beta2)
    r = ema(r, lr * old * old * total(u * (start - theta)), root)
    s = ema(s, lr * old * old * u, root)
    m = ema(m, old * u, beta1)
    v = ema(v, old * old * u * u, beta2)
    d = maximum(old, r / maximum(total(abs(s)), 1e-30))
    return -lr * old * m / (sqrt(v) + old * eps)

prodigy
"""
LEVELS = """
@update
def levels(u, *, lr=0.1):
    a = total(u / norm(u))
    b = total(u * (theta + a) / norm(theta))
    return -lr * u * norm(theta) / (1 + abs(a) + abs(b))

grad | levels
"""


def naive_prodigy(begun: Any, rows: Any) -> Any:
    """Mishchenko and Defazio 2023, Algorithm 4; None is a missing gradient, and what it would change stays."""
    theta = [t.copy() for t in begun]
    r, d = [0.0] * len(theta), [0.01] * len(theta)
    s, m, v = ([np.zeros_like(t) for t in theta] for _ in range(3))
    root, history = np.sqrt(0.999), []
    for row in rows:
        stepping = [i for i, g in enumerate(row) if g is not None]
        inner = sum((row[i] * (begun[i] - theta[i])).sum() for i in stepping)
        for i in stepping:
            r[i] = root * r[i] + (1 - root) * d[i] ** 2 * inner
            s[i] = root * s[i] + (1 - root) * d[i] ** 2 * row[i]
        size = sum(abs(s[i]).sum() for i in stepping)
        for i in stepping:
            m[i] = 0.9 * m[i] + 0.1 * d[i] * row[i]
            v[i] = 0.999 * v[i] + 0.001 * d[i] ** 2 * row[i] ** 2
            theta[i] = theta[i] - d[i] * m[i] / (np.sqrt(v[i]) + d[i] * 1e-8)
            d[i] = max(d[i], r[i] / max(size, 1e-30))
        history.append([t.copy() for t in theta])
    return history


def walk_with_gaps(optimizer: Any, params: Any, rows: Any) -> Any:
    history = []
    for row in rows:
        for parameter, gradient in zip(params, row):
            parameter.grad = None if gradient is None else gradient.clone()
        optimizer.step()
        history.append([p.detach().clone() for p in params])
    return history


@pytest.mark.parametrize("mode", ["eager", "compiled", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("gaps", [False, True])
def test_prodigy_is_the_papers_algorithm_within_1e_10_over_50_steps(mode, gaps):
    params = parameters(SHAPES)
    begun: Any = [p.detach().numpy().copy() for p in params]
    rows: Any = [[10 * g for g in row] for row in gradients(50, SHAPES)]
    if gaps:
        rows = [[None if i == 1 and k % 3 == 1 else g for i, g in enumerate(row)] for k, row in enumerate(rows)]
    optimizer: Any = edsl.compile(PRODIGY, params, mode=mode)
    found = walk_with_gaps(optimizer, params, rows)
    expected = naive_prodigy(begun, [[None if g is None else g.numpy() for g in row] for row in rows])
    assert worst(found, expected) <= 1e-10
    assert optimizer.state[params[0]]["prodigy.d"].max() > 0.05  # the estimate has grown
    assert not optimizer.fallbacks


def test_a_rule_with_totals_steps_natively():
    params = parameters(SHAPES)
    optimizer: Any = edsl.compile(PRODIGY, params)
    walk(optimizer, params, gradients(2, SHAPES))
    assert {path.taken for paths in optimizer.paths().values() for path in paths} == {"C++"}


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_totals_of_norms_and_of_totals_are_known_one_behind_another(mode):
    params = parameters(SHAPES)
    theta, rows = [p.detach().numpy().copy() for p in params], gradients(5, SHAPES)
    history = []
    for row in as_numpy(rows):
        a = sum((g / np.linalg.norm(g)).sum() for g in row)
        b = sum((g * (t + a) / np.linalg.norm(t)).sum() for g, t in zip(row, theta))
        theta = [t - 0.1 * g * np.linalg.norm(t) / (1 + abs(a) + abs(b)) for g, t in zip(row, theta)]
        history.append(theta)
    assert worst(walk(edsl.compile(LEVELS, params, mode=mode), params, rows), history) <= 1e-12


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_totals_have_the_same_bits_for_any_number_of_threads(mode):
    def stepped(threads: int) -> Any:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            params = parameters([(300, 301), (7,)], torch.float32)
            optimizer: Any = edsl.compile(PRODIGY, params, mode=mode)
            walk(optimizer, params, gradients(2, [(300, 301), (7,)], torch.float32))
            return [*params, optimizer.state[params[0]]["prodigy.r"]]
        finally:
            torch.set_num_threads(before)

    for one, other in zip(stepped(1), stepped(3)):
        assert torch.equal(one, other)


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_totals_are_right_to_float32s_last_digits(mode):
    rule = "@update\ndef mean_of_all(u, *, lr=1):\n    return 0 * u - lr * total(u)\nmean_of_all"
    parameter = torch.nn.Parameter(torch.zeros(1_000_003))
    parameter.grad = torch.full_like(parameter, 0.1)
    edsl.compile(rule, [parameter], mode=mode).step()
    assert parameter[0].item() == pytest.approx(-float(parameter.grad.double().sum()), rel=1e-7)


SHARE = """
@adaptor
def share(u):
    return u / total(abs(u))

@update
def shared(u, *, lr=1.0):
    return -lr * u / total(abs(u))
"""


def stepped(spec: str, mode: str) -> list[float]:
    params = [torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))]
    optimizer = edsl.compile(SHARE + spec, params, mode=mode)
    for parameter in params:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return [p.flatten()[0].item() for p in params]


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_behind_a_route_a_total_is_over_its_own_parameters(mode):
    assert stepped("grad | share | sgd(lr=1)", mode) == pytest.approx([-1 / 6, -1 / 6])
    assert stepped("grad | share | route(matrix=sgd(lr=1), other=sgd(lr=1))", mode) == pytest.approx([-1 / 6, -1 / 6])
    assert stepped("route(matrix=shared, other=sgd(lr=1))", mode) == pytest.approx([-1 / 4, -1])
    assert stepped("route(matrix=share | sgd(lr=1), other=shared)", mode) == pytest.approx([-1 / 4, -1 / 2])
    assert stepped("grad | share | route(matrix=shared, other=shared)", mode) == pytest.approx([-1 / 4, -1 / 2])


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("within", ["clip(u, norm=c)", "clip(2 * u, norm=2 * c)", "clip(u, norm=c, value=9.0)"])
def test_clip_within_a_rule_bounds_the_norm_of_what_it_is_given(mode, within):
    rule = f"@adaptor\ndef bounded(u, *, c: positive = 0.1):\n    return {within}\ngrad | bounded | sgd(lr=1)"
    factor = 2 if "2 *" in within else 1
    ours, theirs = parameters(SHAPES), parameters(SHAPES)
    rows = gradients(3, SHAPES)
    found = walk(edsl.compile(rule, ours, mode=mode), ours, rows)
    expected = walk(edsl.compile(f"grad | clip(norm=0.1) | sgd(lr={factor})", theirs, mode="eager"), theirs, rows)
    assert worst(found, expected) <= 1e-12


def test_a_total_beside_products_of_matrices_is_added_up_by_torch():
    rule = (
        "@update\ndef turned(u, *, lr=0.1):\n    return -lr * orthogonal(u, 5, 'minimax', 'working') * total(u * u)\n"
    )
    params, theta = parameters([(4, 3), (2, 2)]), []
    rows = gradients(2, [(4, 3), (2, 2)])
    theta = [p.detach().numpy().copy() for p in params]
    history = []
    for row in as_numpy(rows):
        whole = sum((g * g).sum() for g in row)
        theta = [t - 0.1 * whole * naive.newton_schulz(g, MINIMAX[:5]) for t, g in zip(theta, row)]
        history.append(theta)
    optimizer: Any = edsl.compile(rule + "turned", params)
    assert worst(walk(optimizer, params, rows), history) <= 1e-12
    assert all("BLAS" in path.taken for paths in optimizer.paths().values() for path in paths)


def test_a_total_behind_a_refresh_sees_the_refreshed_memory():
    rule = "@wrapper\ndef bounded(delta, *, c=0.1):\n    return delta * minimum(1, c / total(abs(delta)))\n"
    results = []
    for spec, rest in (("shampoo(every=2)", ""), ("shampoo(every=2) | bounded", rule)):
        params = parameters([(4, 3), (2, 2)])
        optimizer = edsl.compile(f"{rest}{spec}", params, mode="eager")
        begun = [p.detach().clone() for p in params]
        walk(optimizer, params, gradients(1, [(4, 3), (2, 2)]))
        results.append([p.detach() - b for p, b in zip(params, begun)])
    free, bounded = results
    size = sum(step.abs().sum() for step in free)
    for one, other in zip(free, bounded):
        torch.testing.assert_close(other, one * min(1, 0.1 / size))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@update\ndef a(u, *, lr=1):\n    return -lr * u * total(norm(u))\na", "over the elements of all layers"),
        (
            "@update\ndef a(u, *, lr=1):\n    return -lr * total(u) * direction(soap(u))\na",
            "a asks for a total and runs soap, which refreshes: write two rules",
        ),
        (
            "@update\ndef a(u, *, lr=1):\n    return -lr * clip(direction(soap(u)), norm=1)\na",
            "a asks for a total and runs soap, which refreshes: write two rules",
        ),
    ],
)
def test_totals_that_can_not_be_are_refused_with_a_caret(text, said):
    with pytest.raises(edsl.EdslError) as caught:
        edsl.parse(text)
    assert said in str(caught.value)
    assert str(caught.value).endswith("^")


def test_totals_that_only_some_parameters_ask_for_are_refused_in_a_line():
    rule = (
        "@update\ndef a(u, *, lr=1, layerwise=True):\n    if layerwise:\n        return -lr * u * total(u)\n"
        "    return -lr * u\na"
    )
    model = torch.nn.Linear(2, 2)
    optimizer = edsl.compile(rule, model, mode="eager")
    model(torch.ones(1, 2)).sum().backward()
    with pytest.raises(edsl.EdslError, match="a: parameters that are spared decay ask for other totals than the rest"):
        optimizer.step()


def test_show_prints_a_total_and_theory_says_why_it_is_not_linear():
    from edsl.theory.systems.linearise import NotLinear, linearise

    pipeline = edsl.parse(SHARE + "shared")
    assert recurrences(pipeline)[-1].lines == ("θₖ = θₖ₋₁ − η gₖ / total(|gₖ|)",)
    with pytest.raises(NotLinear, match="shared has no linear model: "):
        linearise(pipeline)


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_a_class_asks_for_totals_as_a_rule_does(mode):
    @dataclass(frozen=True)
    class Shared(BaseUpdate):
        """A step along the share of all gradients."""

        name: ClassVar[str] = "class_shared"
        lr: float = field(1.0, Number(0))

        def step(self, x: Any, memory: NoMemory, at: At) -> Any:
            return -self.lr * x / at.total(at.elementwise("abs", x)), memory

    params = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))]
    for parameter in params:
        parameter.grad = torch.ones_like(parameter)
    edsl.compile(edsl.grad() | Shared(), params, mode=mode).step()
    assert [p[0].item() for p in params] == pytest.approx([-1 / 5, -1 / 5])


def test_a_round_of_totals_is_one_message():
    found = cost(edsl.parse(PRODIGY))
    assert found is not None
    assert found.all_reduces == 1  # both are asked at once
    assert [len(segments(edsl.parse(spec).stages[1:])) for spec in (PRODIGY, LEVELS)] == [1, 1]
