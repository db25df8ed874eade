"""Two processes are one with the joint batch."""

import pytest
from compatibility import refused, works
from workers import accumulated, attached, ddp, distance_of_halving, in_processes, in_turn, single, unattachable, zero

SPECS = [*works("DDP"), "grad | clip(norm=0.1) | alto"]

ATTACHED = [("ddp", "alto"), ("views", "emuon"), ("fsdp", "alto"), ("fsdp", "emuon")]
UNATTACHABLE = {
    "unused": "find_unused_parameters or static_graph knows only after",
    "hooked": "has a communication hook already",
    "inner": "attach to the wrapper itself",
    "flat": "FSDP1",
}


@pytest.fixture(scope="module")
def two():
    runs = {f"ddp {spec}": (ddp, spec) for spec in SPECS}
    runs |= {f"zero {spec}": (zero, spec) for spec in (*works("ZeRO"), *refused("ZeRO"))}
    runs |= {f"attached {how} {spec}": (attached, spec, how) for how, spec in ATTACHED}
    runs |= {f"unattachable {how}": (unattachable, how) for how in UNATTACHABLE}
    runs["accumulated"] = (accumulated, "eadamw")
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


@pytest.mark.parametrize(("how", "spec"), ATTACHED)
def test_steps_inside_backward_are_those_behind_it_on_two_processes_bit_for_bit(two, how, spec):
    assert two[f"attached {how} {spec}"] == [True, True]


def test_attached_steps_wait_for_the_gradients_that_are_added_up_without_communication(two):
    assert two["accumulated"]


@pytest.mark.parametrize("how", UNATTACHABLE)
def test_gradients_that_come_together_otherwise_can_not_be_attached(two, how):
    assert two[f"unattachable {how}"].startswith("attach: ")
    assert UNATTACHABLE[how] in two[f"unattachable {how}"]


def near(found, spec, bare=False):
    """Whether it ends where one process does, or as near as halving the batch there does."""
    expected = single(spec, bare=bare)
    apart = max((a - b).abs().max() for a, b in zip(found, expected, strict=True))
    return apart <= 1e-12 or (spec == "esoap" and apart <= distance_of_halving(spec, bare=bare))
