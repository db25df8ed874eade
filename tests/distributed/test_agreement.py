"""Processes that train the same parameters by different specs are told so at the first step, by both texts."""

import pytest
from workers import alone, in_processes, in_turn, said_of_another

import edsl

PAIRS = {  # how parameters are shared: the specs of two processes
    "ddp": ("grad | e | adamw", "grad | e | lion"),
    "fsdp": ("alto", "grad | clip(norm=1) | alto"),
    "matrices": ("grad | e | route(matrix=muon, other=adamw)", "grad | e | route(matrix=shampoo, other=adamw)"),
    "closures": ("spsa(seed=1) | sgd", "spsa(seed=2) | sgd"),
    "rates": ("eadamw", "eadamw"),
    "weights": ("eadamw", "eadamw"),
    "bare": ("alto", "eadamw"),
    "same": ("alto", "alto"),
}
HOW = {"closures": "bare", "matrices": "fsdp", "same": "fsdp"}


@pytest.fixture(scope="module")
def two():
    runs = {name: (said_of_another, HOW.get(name, name), specs) for name, specs in PAIRS.items()}
    return in_processes(2, in_turn, {**runs, "alone": (alone,)})


@pytest.mark.parametrize("name", ["ddp", "fsdp", "matrices", "closures"])
def test_every_process_is_told_both_specs_before_anything_moves(two, name):
    first, second = two[name]
    assert first == second
    for rank, spec in enumerate(PAIRS[name]):
        assert f"rank {rank} has {edsl.parse(spec)}" in first


def test_values_that_a_group_has_must_agree_too(two):
    assert two["rates"][0] == two["rates"][1]
    assert "differ in lr of param group 0: rank 0 has 0.1, rank 1 has 0.2" in two["rates"][0]
    assert "differ in weights of param group 0: rank 0 has kahan, rank 1 has split" in two["weights"][0]


@pytest.mark.parametrize("name", ["bare", "same"])
def test_models_of_their_own_and_equal_specs_are_no_mistake(two, name):
    assert two[name] == ["", ""]


def test_what_one_process_has_alone_waits_for_nobody(two):
    assert two["alone"] < 20
