"""An operation is one row of a table: in C++, in Triton, on tensors, on paper."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from problem import parameters

import edsl
from edsl.codegen import cpp
from edsl.codegen.signature import KernelSignature
from edsl.codegen.trace import record
from edsl.codegen.triton import PRELUDE
from edsl.errors import EdslError
from edsl.language.operations import OPERATIONS, Operation
from edsl.stage import At, BaseUpdate, NoMemory, Number, Value, field
from edsl.step.plan import GroupPlan
from edsl.theory.equivalence.comparison import compare
from edsl.theory.systems.linearise import NotLinear, linearise
from edsl.theory.text.latex import latex
from edsl.theory.text.notation import recurrences

TANH = Operation(
    "std::tanh({0})", "1 - 2 / (tl.exp(2 * ({0})) + 1)", method="tanh", latex=r"\tanh"
)  # Triton has none of its own


@dataclass(frozen=True)
class Squash(BaseUpdate):
    """Δθ = −η tanh(u)."""

    name: ClassVar[str] = "squash"
    lr: float = field(0.1, Number(0), "η")

    def step(self, x: Value, memory: NoMemory, at: At) -> tuple[Value, NoMemory]:
        return -self.lr * at.elementwise("tanh", x), memory


@pytest.fixture
def pipeline(monkeypatch):
    monkeypatch.setitem(OPERATIONS, "tanh", TANH)
    return edsl.parse("squash", (Squash,))


@pytest.mark.parametrize("mode", ["compiled", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_new_row_is_stepped_natively_as_on_tensors(pipeline, mode, dtype):
    params = parameters([(3, 4), (5,)], dtype)
    expected = []
    for number, parameter in enumerate(params):
        parameter.grad = torch.linspace(-30, 30 + number, parameter.numel(), dtype=dtype).view_as(parameter)
        expected.append(parameter.detach().numpy() - 0.1 * np.tanh(parameter.grad.numpy()))
    optimizer = edsl.compile(pipeline, params, mode=mode)
    optimizer.step()
    assert optimizer.compiled_graphs == (mode == "compiled")
    for parameter, value in zip(params, expected):
        np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-5 if dtype is torch.float32 else 1e-13)


def test_a_new_row_is_in_the_text_of_both_emitters(pipeline):
    pytest.importorskip("triton")
    from edsl.codegen import triton

    (segment,) = GroupPlan(pipeline, False, dict(pipeline.hyperparameters)).segments
    trace = record(segment)
    single = torch.float32
    signature = KernelSignature(single, single, single, (single,) * 3, ())
    assert "std::tanh(" in cpp.source([(trace, signature)], 0)[0]
    assert "1 - 2 / (tl.exp(2 * (" in triton.kernels(trace, signature, 0, 1).text


def test_a_new_row_is_written_on_paper_and_read_by_theory(pipeline):
    (line,) = (line for part in recurrences(pipeline) for line in part.lines if "tanh" in line)
    assert line == "θₖ = θₖ₋₁ − η tanh(gₖ)"
    assert latex(line) == r"\theta_k = \theta_{k-1} - \eta \tanh(g_k)"
    with pytest.raises(NotLinear, match="squash has no linear model: tanh of each element"):
        linearise(pipeline)
    assert compare(pipeline, pipeline).equal


def test_a_function_without_a_row_is_named(pipeline, monkeypatch):
    monkeypatch.delitem(OPERATIONS, "tanh")
    params = parameters([(3,)])
    params[0].grad = torch.ones_like(params[0])
    with pytest.raises(EdslError, match="has no 'tanh'"):
        edsl.compile(pipeline, params, mode="eager").step()


def written_in_triton(row, *parts):
    """What a row's Triton computes, by its text and the prelude, with torch's functions in place of Triton's."""
    names = ("exp", "log", "abs", "sqrt", "where", "float64", "floor", "maximum")
    triton = SimpleNamespace(**{name: getattr(torch, name) for name in names})
    functions = {"tl": triton, "triton": SimpleNamespace(jit=lambda function: function)}
    for text in re.findall(r"^@triton.jit\ndef (?:power|atan2)\b.*?(?=\n\n\n)", PRELUDE, re.M | re.S):
        exec(text, functions)
    letters = dict(zip("xy", parts))
    return eval(row.triton.format(*letters, dtype="tl.float64"), {**functions, **letters})


@pytest.mark.parametrize("name", [name for name, row in OPERATIONS.items() if row.method])
def test_rows_mean_the_same_in_triton_and_on_tensors(name):
    row = OPERATIONS[name]
    parts = [torch.linspace(0.1, 3, 50, dtype=torch.float64)]
    if "{1}" in row.cpp:
        circle = torch.linspace(-3.1, 3.2, 90, dtype=torch.float64)
        parts = [circle.sin() * torch.linspace(0.01, 2, 90, dtype=torch.float64), circle.cos()]
    on_tensors = getattr(parts[0], row.method)(*parts[1:])
    torch.testing.assert_close(written_in_triton(row, *parts), on_tensors, rtol=1e-14, atol=1e-15)
    in_numpy = getattr(np, row.method)(*(part.numpy() for part in parts))
    np.testing.assert_allclose(in_numpy, on_tensors.numpy(), rtol=1e-14)
