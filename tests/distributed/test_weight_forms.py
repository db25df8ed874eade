"""Weights in half precision on shards: what they hold, and how their checkpoints travel."""

import pytest
import torch
from torch.distributed.checkpoint.state_dict import set_state_dict
from workers import in_processes, in_turn, kept_weights, model_of_ones, on_ones, value_held

import edsl

SPEC = (
    "grad | route(('0.weight', shampoo(lr=1e-4)), other=sgd(lr=1e-4))"  # gathered matrices, and shards that step apart
)
FORMS = ("stochastic", "kahan", "split")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    runs = {form: (kept_weights, SPEC, form, str(folder / form)) for form in FORMS}
    return folder, in_processes(2, in_turn, runs)


@pytest.mark.parametrize("form", FORMS)
def test_shards_do_not_stall_and_resume_bit_for_bit_from_sharded_and_whole_checkpoints(two, form):
    held, *resumed = two[1][form]
    assert all(abs(value.mean() - 0.990) <= 0.001 for value in held)
    for again in resumed:
        assert all(map(torch.equal, held, again))


def test_a_whole_checkpoint_of_split_weights_goes_on_alike_without_processes(two):
    folder, found = two
    model = model_of_ones()
    optimizer = edsl.compile(SPEC, model, mode="eager", weights="split")
    weights, state = torch.load(folder / "split.pt", weights_only=True)
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=state)
    on_ones(model, optimizer, 50)
    for ours, theirs in zip(value_held(model, optimizer), found["split"][0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
