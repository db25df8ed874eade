"""Two processes are one with the joint batch."""

import pytest
import torch
from workers import ddp, in_processes, in_turn, single, zero

from edsl.recipes import RECIPES

SPECS = [*(name for name in RECIPES if name != "esoap"), "grad | clip(norm=0.1) | alto"]
CLASSES = {"ALTO": "alto", "EAdamW": "eadamw", "ESGD": "esgd", "ELion": "elion"}


@pytest.fixture(scope="module")
def two():
    return in_processes(2, in_turn, {name: (ddp, name) for name in SPECS} | {name: (zero, name) for name in CLASSES})


@pytest.mark.parametrize("spec", SPECS)
def test_ddp_on_two_processes_is_one_process_with_the_joint_batch(two, spec):
    assert close(two[spec], single(spec))


@pytest.mark.parametrize("name", CLASSES)
def test_zero_redundancy_shards_the_state_and_steps_alike(two, name):
    assert close(two[name], single(CLASSES[name], exclude=()))


def close(found, expected):
    return all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found, expected, strict=True))
