"""Two processes are one with the joint batch."""

import pytest
from compatibility import refused, works
from workers import ddp, distance_of_halving, in_processes, in_turn, single, zero

SPECS = [*works("DDP"), "grad | clip(norm=0.1) | alto"]


@pytest.fixture(scope="module")
def two():
    runs = {f"ddp {spec}": (ddp, spec) for spec in SPECS}
    runs |= {f"zero {spec}": (zero, spec) for spec in (*works("ZeRO"), *refused("ZeRO"))}
    return in_processes(2, in_turn, runs)


@pytest.mark.parametrize("spec", SPECS)
def test_ddp_on_two_processes_is_one_process_with_the_joint_batch(two, spec):
    assert near(two[f"ddp {spec}"], spec)


@pytest.mark.parametrize("spec", works("ZeRO"))
def test_zero_redundancy_shards_the_state_and_steps_alike(two, spec):
    assert near(two[f"zero {spec}"], spec, bare=True)


@pytest.mark.parametrize("spec", refused("ZeRO"))
def test_what_must_move_all_parameters_refuses_zero_redundancy(two, spec):
    assert refused("ZeRO")[spec] in two[f"zero {spec}"]


def near(found, spec, bare=False):
    """Whether it ends where one process does, or as near as halving the batch there does."""
    expected = single(spec, bare=bare)
    apart = max((a - b).abs().max() for a, b in zip(found, expected, strict=True))
    return apart <= 1e-12 or (spec == "esoap" and apart <= distance_of_halving(spec, bare=bare))
