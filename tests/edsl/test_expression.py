"""Recorded steps: equal expressions are one object, so that nothing is computed twice."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import edsl
from edsl.codegen import cpp
from edsl.codegen.expression import Expression, apply, live_value, load, postorder
from edsl.codegen.signature import KernelSignature
from edsl.codegen.trace import Trace, record
from edsl.step.plan import GroupPlan

SPECS = ["alto", "eadabelief", "grad | e | adan", "grad | clip(norm=1) | e | lamb | caution | decay", "elars"]
SINGLE = torch.float32


def traces(spec: str) -> list[Trace]:
    pipeline = edsl.parse(spec)
    segments = GroupPlan(pipeline, False, dict(pipeline.hyperparameters)).segments
    return [record(segment) for segment in segments]


def written_out(node: Expression, known: dict[int, str]) -> str:
    """An expression in full, as a text."""
    if id(node) not in known:
        parts = [written_out(part, known) if isinstance(part, Expression) else repr(part) for part in node.parts]
        known[id(node)] = f"{node.op}({', '.join(parts)})"
    return known[id(node)]


@pytest.mark.parametrize("spec", SPECS)
def test_no_two_expressions_of_a_step_compute_the_same(spec):
    for trace in traces(spec):
        known: dict[int, str] = {}
        texts = [written_out(node, known) for node in postorder([trace.made, *trace.after])]
        assert len(texts) == len(set(texts)) > 3


@pytest.mark.parametrize("spec", SPECS)
def test_no_two_scalars_of_a_kernel_are_the_same(spec):
    for trace in traces(spec):
        signature = KernelSignature(SINGLE, SINGLE, SINGLE, (SINGLE, SINGLE, SINGLE), (SINGLE,) * len(trace.buffers))
        text, _ = cpp.source([(trace, signature)], 0)
        layer = text[text.index("static void keeping") :].partition("\n}\n")[0]
        values = re.findall(r"const double s\d+ = (.*);", layer)
        assert len(values) == len(set(values)) > 3


def test_zero_and_minus_zero_are_two_constants_and_no_operand_is_taken_for_another():
    x, y = load("x"), load("buffer", 1)
    different: list[Any] = [
        x * 0.0,
        x * -0.0,
        x * 1,
        x * live_value(0),
        x * live_value(1),
        x - y,
        y - x,
        apply("where", apply(">", x, y), x, y),
        apply("where", apply(">", x, y), y, x),
    ]
    assert len({id(node) for node in different}) == len(different)
    assert load("buffer", 1) is y
    assert load("buffer", 2) is not y
    assert x * 1 is x * 1.0
    assert x - y is load("x") - y


def test_threads_that_trace_at_the_same_time_share_what_is_equal():
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: traces("alto")[0], range(16)))
    assert len({id(trace.made) for trace in found}) == 1
