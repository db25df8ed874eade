"""Parameters without dimensions, whose buffers have none either: right in every mode.

(torch.compile 2.13 drops writes to float64 tensors on a CPU that have no dimension: none may reach it.)
"""

import pytest
import torch
from torch.nn import Parameter

import edsl

TORCHS = {
    "adamw(lr=0.1)": lambda params: torch.optim.AdamW(params, lr=0.1),
    "sgd(lr=0.1, momentum=0.9)": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
}


def walked(optimizer, params):
    for k in range(5):
        for p in params:
            p.grad = torch.full_like(p, 0.3 + k)
        optimizer.step()
    return [p.detach() for p in params]


@pytest.mark.parametrize("mode", ["compiled", "inductor", "eager"])
@pytest.mark.parametrize("spec", TORCHS)
def test_float64_parameters_without_dimensions_step_as_torchs_do_in_every_mode(spec, mode):
    def made():
        return [Parameter(torch.tensor(1.5, dtype=torch.float64)), Parameter(torch.ones(3, dtype=torch.float64))]

    ours, theirs = made(), made()
    found = walked(edsl.compile(spec, ours, mode=mode), ours)
    expected = walked(TORCHS[spec](theirs), theirs)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-15)
