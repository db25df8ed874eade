"""Two processes are one with the joint batch."""

import pytest
import torch
from workers import ddp, in_processes, sharded, single, zero


def close(found, expected):
    return all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("spec", ["grad | clip(norm=0.1) | alto", "emuon"])
def test_ddp_on_two_processes_is_one_process_with_the_joint_batch(spec):
    assert close(in_processes(2, ddp, spec), single(spec))


def test_zero_redundancy_shards_the_state_and_steps_alike():
    assert close(in_processes(2, zero, "ALTO"), single("alto(lr=0.01)", exclude=()))


def test_sharded_parameters_are_one_clear_error():
    assert "is sharded (a DTensor), which is not supported" in in_processes(2, sharded)
