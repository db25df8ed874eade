"""What rules keep in other shapes, and what stages within them keep, resumes bit for bit."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from problem import gradients, parameters, walk, worst

import edsl
from tests.rules import test_nested as nested
from tests.rules import test_shaped_buffers as shaped

CASES = {
    **{name: (spec, shaped.SHAPES) for name, (spec, _) in shaped.CASES.items()},
    **{name: (spec, nested.SHAPES) for name, (spec, _) in nested.CASES.items()},
}


@pytest.mark.parametrize("name", CASES)
def test_state_of_shaped_buffers_and_stages_within_resumes_bit_for_bit(name: str) -> None:
    spec, shapes = CASES[name]
    rows = gradients(13, shapes)
    params = parameters(shapes)
    optimizer: Any = edsl.compile(spec, params, mode="eager")
    walk(optimizer, params, rows[:6])
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    others = [torch.nn.Parameter(param.detach().clone()) for param in params]
    resumed: Any = edsl.compile(spec, others, mode="eager")
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert worst(walk(resumed, others, rows[6:]), walk(optimizer, params, rows[6:])) == 0
