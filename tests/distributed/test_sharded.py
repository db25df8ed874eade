"""Parameters cut over processes (FSDP2, HSDP, tensor parallel) step as whole ones do."""

import re

import pytest
import torch
from compatibility import refused, works
from workers import (
    averaged_weights,
    begun_alone,
    distance_of_halving,
    flattened,
    fsdp,
    guarded,
    half_precision,
    in_parts,
    in_processes,
    in_turn,
    network,
    numbers_of_layers,
    partly_sharded,
    perceptron,
    refusal,
    single,
    tensor_parallel,
    tensor_parallel_refusal,
    train,
)
from zoo_pipelines import TRAINS

import edsl

STEPPED = [recipe for recipe in works("FSDP2") if recipe != "esoap"]
RULED = """
@update
def factored(u, *, lr=0.01, beta: decay = 0.9):
    squares = u * u + 0.01
    r = ema(r, row_mean(squares), beta)
    c = ema(c, column_mean(squares), beta)
    return -lr * u / sqrt(r * c / column_mean(r))

@update
def normed(u, *, lr=0.1):
    length = length + norm(u)
    return -lr * direction(lamb(u)) / length

@wrapper
def row_normed(delta):
    return delta / (row_norm(delta) + 1)

grad | e | route(matrix=factored | row_normed, other=normed)
"""
TOTALS = """
@adaptor
def shared(u):
    return u / (1 + total(abs(u)) / norm(u))

@update
def counted(u, *, lr=0.1, beta: decay = 0.9):
    length = length + norm(u)
    r = ema(r, row_mean(u * u), beta)
    return -lr * u / (sqrt(r) + length)

@update
def prodigy(u, *, lr=1.0, d0: positive = 0.01, beta: decay = 0.9):
    start, old = first(theta, start), first(d0, d)
    r = ema(r, old * old * total(u * (start - theta)), beta)
    s = ema(s, old * old * u, beta)
    v = ema(v, old * old * u * u, beta)
    d = maximum(old, r / total(abs(s)))
    return -lr * old * old * clip(u, norm=0.1) / (sqrt(v) + old)

grad | shared | route(matrix=counted, other=prodigy)
"""
SCHEDULED = RULED.replace(
    "grad | e | route(matrix=factored | row_normed, other=normed)",
    "grad | e(alpha=linear(-5, to=0, steps=5)) | route("
    "matrix=factored(lr=depth(cosine(0.02, warmup=2, steps=5), by=0.7)) | row_normed, "
    "other=normed(lr=width(linear(0.1, steps=9), base=4)))",
)
OTHERS = [
    RULED,
    TOTALS,
    TOTALS.replace("route(matrix=counted, other=prodigy)", "prodigy"),
    SCHEDULED,
    "grad | clip(norm=0.1) | alto",
    "grad | noise(std=0.1) | e | lars",
    "grad(accumulate=2) | guard | alto",
    "lamb(lr=0.1) | caution",
    "grad | e | clip(norm=0.1) | route(matrix=muon | caution, other=lamb | lookahead)",
    "grad | e | torch.AdamW(lr=0.1)",
    "grad | route(matrix=shampoo(every=2, block=3), other=sgd)",
    *(TRAINS[name] for name in ("nadam", "normuon", "prodigy")),
    "grad | e | psgd_kron(lr=0.02, every=2)",
]


FLATTENED = {"eadamw": None, "alto": "parameter .*weight", "emuon": "FSDP1", "grad | clip(norm=1) | adamw": "FSDP1"}

PARTS = [
    "grad | clip(norm=1) | e | route(matrix=muon(weight_decay=0.1), other=sgd) | caution",
    "grad | noise(std=0.1) | e | route(matrix=shampoo(every=2, block=5), other=sgd)",
]


def distance(found, expected):
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


@pytest.fixture(scope="module")
def two():
    runs = {spec: (fsdp, spec) for spec in [*STEPPED, *OTHERS, "esoap"]}
    runs |= {f"compiled {spec}": (fsdp, spec, "compiled") for spec in ("alto", "emuon", "eshampoo")}
    runs |= {f"refusal {spec}": (refusal, spec) for spec in refused("FSDP2")}
    runs |= {f"flattened {spec}": (flattened, spec) for spec in FLATTENED}
    runs |= {"weights": (averaged_weights, "alto | ema_weights(decay=0.9)"), "guard": (guarded, "grad | guard | alto")}
    runs |= {f"parts {how} {spec}": (in_parts, spec, how) for how in ("fsdp", "tp") for spec in PARTS}
    runs |= {"half": (half_precision, "emuon"), "numbers": (numbers_of_layers, TOTALS)}
    runs |= {"partly": (partly_sharded, "grad | clip(norm=0.1) | alto")}
    runs |= {f"alone {spec}": (begun_alone, spec) for spec in ("alto", "emuon", "eshampoo")}
    return in_processes(2, in_turn, runs)


@pytest.fixture(scope="module")
def three():
    """More processes than the last layer has rows: one has none of it."""
    return in_processes(
        3,
        in_turn,
        {spec: (fsdp, spec) for spec in ("grad | clip(norm=0.1) | alto", "emuon", "eshampoo", TOTALS)}
        | {"numbers": (numbers_of_layers, TOTALS)},
    )


@pytest.fixture(scope="module")
def four():
    runs = {f"hsdp {spec}": (fsdp, spec, "eager", 5, (2, 2)) for spec in ("alto", "emuon", "eshampoo", TOTALS)}
    runs |= {f"tp {spec}": (tensor_parallel, spec) for spec in ("eadamw", "grad | clip(norm=0.1) | alto", "elars")}
    runs |= {"cut twice": (tensor_parallel_refusal, "emuon")}
    return in_processes(4, in_turn, runs)


@pytest.mark.parametrize("spec", [*STEPPED, *OTHERS])
def test_two_processes_with_shards_are_one_process_with_the_whole(two, spec):
    assert distance(two[spec], single(spec)) <= 1e-12


def test_soap_is_as_near_as_its_free_choice_of_a_basis_allows(two):
    assert distance(two["esoap"], single("esoap")) <= distance_of_halving("esoap")


@pytest.mark.parametrize("how", ["fsdp", "tp"])
@pytest.mark.parametrize("spec", PARTS)
def test_parameters_that_are_several_matrices_are_cut_after_they_are_gathered(two, spec, how):
    assert distance(two[f"parts {how} {spec}"], in_parts(0, spec)) <= 1e-12


@pytest.mark.parametrize("spec", ["alto", "emuon", "eshampoo"])
def test_compiled_steps_on_shards_are_eager_ones_without_a_fallback(two, spec):
    assert distance(two[f"compiled {spec}"], single(spec)) <= 1e-12


@pytest.mark.parametrize("spec", ["grad | clip(norm=0.1) | alto", "emuon", "eshampoo", TOTALS])
def test_a_process_without_a_shard_of_a_layer_takes_part(three, spec):
    assert distance(three[spec], single(spec)) <= 1e-12


@pytest.mark.parametrize("spec", FLATTENED)
def test_what_fsdp1_flattened_steps_by_elements_and_is_refused_where_layers_are_asked_about(two, spec):
    if FLATTENED[spec] is None:
        assert distance(two[f"flattened {spec}"], single(spec, steps=3)) <= 1e-12
    else:
        assert re.search(FLATTENED[spec], two[f"flattened {spec}"])


@pytest.mark.parametrize("count", ["two", "three"])
def test_numbers_of_a_layer_are_the_same_on_every_process(request, count):
    found = request.getfixturevalue(count)["numbers"]
    alone = numbers_of_layers(0, TOTALS, mesh=False)
    assert len({tuple(map(tuple, own)) for own in found}) == 1  # even where a process has nothing else of the layer
    torch.testing.assert_close(torch.tensor(found[0]), torch.tensor(alone[0]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", ["alto", "emuon", "eshampoo", TOTALS])
def test_copies_of_shards_step_alike(four, spec):
    assert distance(four[f"hsdp {spec}"], single(spec)) <= 1e-12


@pytest.mark.parametrize("spec", ["eadamw", "grad | clip(norm=0.1) | alto", "elars"])
def test_norms_are_of_layers_that_are_cut_over_two_mesh_dimensions(four, spec):
    model = perceptron()
    assert distance(four[f"tp {spec}"], train(model, edsl.compile(spec, model, mode="eager"))) <= 1e-12


def test_a_matrix_that_is_cut_twice_is_refused_before_training(four):
    assert "muon needs whole matrices; parameter 0.weight is cut over 2 mesh dimensions" in four["cut twice"]


@pytest.mark.parametrize("spec", refused("FSDP2"))
def test_what_can_not_work_on_shards_says_so(two, spec):
    assert refused("FSDP2")[spec] in two[f"refusal {spec}"]


def test_a_norm_over_shards_and_whole_parameters_is_of_all(two):
    assert distance(two["partly"], single("grad | clip(norm=0.1) | alto")) <= 1e-12


@pytest.mark.parametrize("spec", ["alto", "emuon", "eshampoo"])
def test_one_process_checkpoint_goes_on_in_shards_and_not_back_without_being_joined(two, spec):
    model = network()
    optimizer = edsl.compile(spec, model, mode="eager")
    train(model, optimizer, steps=4)
    found, refused_back = two[f"alone {spec}"]
    assert distance(found, train(model, optimizer, steps=3)) <= 1e-12
    assert "this checkpoint is sharded" in refused_back


def test_evaluation_weights_are_the_whole_ones_average(two):
    model = network()
    optimizer = edsl.compile("alto | ema_weights(decay=0.9)", model, mode="eager")
    after = train(model, optimizer, steps=3)
    with optimizer.evaluation_weights():
        inside = [p.detach().clone() for p in model.parameters()]
    assert distance(two["weights"][0], inside) <= 1e-12
    assert distance(two["weights"][1], after) <= 1e-12


def test_a_gradient_that_is_not_finite_on_one_process_stops_all(two):
    before, after, found = two["guard"]
    assert all(map(torch.equal, before, after))
    assert found == 1


def test_state_of_half_precision_shards_is_in_float32(two):
    assert two["half"] == {torch.float32}
