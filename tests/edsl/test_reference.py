"""The authors' published implementation, to 1e-12 in float64."""

import json
from pathlib import Path

import pytest
import torch
from problem import walk, worst

import edsl

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "reference_trajectories.json").read_text())
BASES = {"torch.optim.SGD": "sgd", "torch.optim.Adam": "adam", "torch.optim.AdamW": "adamw"}


def shaped(row):
    return [torch.tensor(x, dtype=torch.float64).view(s) for x, s in zip(row, REFERENCE["shapes"], strict=True)]


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("name", REFERENCE["cases"])
def test_trajectory_of_the_authors_is_reproduced_to_1e_12(name, mode):
    case = REFERENCE["cases"][name]
    config = dict(case["config"])
    base = BASES.get(config.pop("base", ""), "lamb")
    params = [torch.nn.Parameter(tensor) for tensor in shaped(REFERENCE["initial"])]
    optimizer = edsl.compile(f"grad | e | {base}", params, mode=mode, **config)
    history = walk(optimizer, params, [shaped(row) for row in REFERENCE["gradients"]])
    assert len(history) == 25
    assert worst(history, [shaped(row) for row in case["parameters"]]) < 1e-12
