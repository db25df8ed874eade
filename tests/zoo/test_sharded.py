"""Every entry of the zoo steps on two processes' shards (FSDP2) as on one; a sample is among tests/distributed."""

import pytest
from workers import distance_of_halving, fsdp, in_processes, in_turn, single
from zoo_pipelines import TRAINS

RUNS = {
    **TRAINS,
    "galore": "route(matrix=galore(rank=2, every=3), other=adamw)",
    "psgd_kron": "psgd_kron(lr=0.02, every=2)",
    "grad_pair": "grad_pair | e(buffers=2) | adam",
}


def distance(found, expected):
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


@pytest.mark.slow
def test_every_entry_on_shards_is_as_on_one_process():
    found = in_processes(2, in_turn, {name: (fsdp, spec) for name, spec in RUNS.items()})
    bounds = {"soap_then_muon": distance_of_halving(TRAINS["soap_then_muon"])}  # whose bases rounding may choose
    apart = {name: distance(found[name], single(spec)) for name, spec in RUNS.items()}
    assert not {name: by for name, by in apart.items() if by > bounds.get(name, 1e-12)}
