"""torch.distributed.checkpoint: saved on two processes, loaded on any number."""

import pytest
import torch
from compatibility import works
from torch.distributed.checkpoint.state_dict import set_state_dict
from workers import in_codes, in_processes, network, resumed, saved, train

import edsl

SPECS = [*works("DCP"), "grad | e | torch.AdamW(lr=0.01)", "grad(accumulate=2) | guard | emuon | ema_weights"]
SPECS += [
    """
@update
def own(u, *, lr=0.1, beta: decay = 0.9):
    m = ema(m, u, beta)
    return -lr * direction(lamb(m))

grad | e(alpha=linear(-5, to=0, steps=8)) | route(matrix=own(lr=depth(cosine(0.02, warmup=2, steps=8), by=0.7)), \
other=adamw(lr=width(linear(0.1, steps=9), base=4)))
"""
]
EXACT = [spec for spec in SPECS if spec != "esoap"]  # whose basis may turn with the number of processes


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    return folder, in_processes(2, saved, str(folder), SPECS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("count", "full"), [(1, False), (2, False), (3, False), (2, True)])
def test_training_goes_on_as_if_nothing_had_happened(checkpoint, count, full):
    folder, expected = checkpoint
    found = in_processes(count, resumed, str(folder), SPECS, full)
    for spec in SPECS if count == 2 else EXACT:
        for a, b in zip(found[spec], expected[spec], strict=True):
            assert (a - b).abs().max() <= 1e-12


@pytest.mark.parametrize("spec", EXACT)
def test_a_whole_checkpoint_loads_without_processes(checkpoint, spec):
    folder, expected = checkpoint
    model = network()
    optimizer = edsl.compile(spec, model, mode="eager")
    weights, state = torch.load(folder / f"{SPECS.index(spec)}.pt", weights_only=True)
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=state)
    for a, b in zip(train(model, optimizer, steps=4), expected[spec], strict=True):
        assert (a - b).abs().max() <= 1e-12


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    place = str(tmp_path_factory.mktemp("codes") / "saved")
    return place, in_processes(2, in_codes, place, "int8")


def test_shards_keep_whole_rows_in_codes_and_vectors_in_float32(codes):
    kinds = [kind for kind in codes[1][0] if "int64" not in kind]
    in_rows, together = ["torch.uint8"] * 3, ["torch.float32"] * 3
    assert kinds == [*in_rows, *together, *together, *together, *in_rows, *together]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("count", "full"), [(1, False), (3, False), (2, False), (2, True)])
def test_codes_are_loaded_bit_for_bit_on_any_number_of_processes(codes, count, full):
    place, (kinds, values, weights) = codes
    found = in_processes(count, in_codes, place, "int8", True, full)
    assert found[0] == kinds
    assert all(map(torch.equal, found[1], values))
    for ours, theirs in zip(found[2], weights, strict=True):  # each shard draws noise of its own
        assert torch.equal(ours, theirs) if count == 2 else (ours - theirs).abs().max() < 0.02


@pytest.mark.filterwarnings("ignore")
def test_codes_of_another_format_are_refused_across_processes(codes):
    with pytest.raises(Exception, match=r"keeps e\.mean in int8, this optimizer in int4"):
        in_processes(2, in_codes, codes[0], "int4", True, True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_packed_factors_are_loaded_bit_for_bit_on_any_number_of_processes(tmp_path, count):
    spec = "route(matrix=soap(every=2), other=adamw)"
    place = str(tmp_path / "saved")
    _, values, _ = in_processes(2, in_codes, place, "int8", False, False, spec)
    _, again, _ = in_processes(count, in_codes, place, "int8", True, False, spec)
    assert len(values) == len(again)
    assert all(map(torch.equal, again, values))
