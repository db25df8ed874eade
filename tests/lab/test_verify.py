"""`verify`: equal, or the first step and tensor where two optimizers part."""

import json

import pytest
from shell import run

import edsl
from edsl.lab.verify import verify


def test_the_same_recurrence_is_equal():
    found = verify("adamw(lr=0.01)", "torch.AdamW(lr=0.01)", steps=20)
    assert found.parted is None
    assert found.steps == 20
    assert found.largest <= 1e-13
    assert {"kernel.weight", "embedding.weight", "norm.bias", "hidden.weight", "head.bias"} <= set(found.tensors)


def test_the_first_step_and_tensor_where_they_part_are_named_with_both_values():
    """Momentum of 0.9 or 0.8 is one and the same at the first step."""
    found = verify("sgd(lr=0.1, momentum=0.9)", "torch.SGD(lr=0.1, momentum=0.8)", steps=20)
    assert found.parted is not None
    assert found.parted.step == found.steps == 2
    assert found.parted.tensor in found.tensors
    assert found.parted.first != found.parted.second
    apart = abs(found.parted.first - found.parted.second) / max(1, abs(found.parted.first))
    assert apart == pytest.approx(found.parted.difference)


def test_a_looser_tolerance_lets_more_pass():
    near = "adamw(lr=0.01, eps1=1.0001e-8)", "adamw(lr=0.01)"
    assert verify(*near, steps=10, tolerance=1e-12).parted is not None
    assert verify(*near, steps=10, tolerance=1e-3).parted is None


def test_an_update_of_matrices_is_compared_on_matrices():
    found = verify("muon(lr=0.02, weight_decay=0.1, polynomials='jordan', precision='bfloat16')", "torch.Muon(lr=0.02)")
    assert found.parted is None
    assert found.notes == ["on 2-dimensional parameters alone"]
    assert found.tensors == ["embedding.weight", "hidden.weight", "head.weight"]


def test_compiled_steps_are_verified_too():
    assert verify("lion(lr=0.01)", "lion(lr=0.01)", steps=3, mode="compiled").parted is None


@pytest.mark.parametrize("spec", ["spsa(samples=2) | e | sgd(lr=0.01)", "eadahessian", "esam_sgd", "emuon"])
def test_every_estimator_gets_the_closure_that_it_needs(spec):
    assert verify(spec, spec, steps=4).largest == 0


def test_directions_are_the_same_in_front_of_another_packages_update():
    assert verify("spsa(samples=2) | adam(lr=0.01)", "spsa(samples=2) | torch.Adam(lr=0.01)", steps=5).parted is None


def test_divergence_of_both_is_said():
    found = verify("sgd(lr=1e200)", "torch.SGD(lr=1e200)", steps=50)
    assert found.parted is None
    assert found.steps < 50
    assert "no finite number" in found.notes[0]


def test_the_command_exits_with_0_or_1_and_prints_json():
    code, out, _ = run("verify", "sgd(lr=0.1)", "--against", "torch.SGD(lr=0.1)", "--steps", "5")
    assert code == 0
    assert "Equal" in out
    code, out, _ = run("verify", "sgd(lr=0.1)", "--against", "torch.SGD(lr=0.2)", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["equal"] is False
    assert found["parted"]["step"] == 1


@pytest.mark.parametrize(
    "words",
    [
        ("sgdd", "--against", "sgd"),
        ("sgd", "--against", "torch.Sgd()"),
        ("sgd", "--against", "sgd", "--steps", "0"),
        ("sgd", "--against", "sgd", "--tolerance", "nan"),
        ("sgd", "--against", "sgd", "--mode", "fast"),
        ("sgd", "--against", "torch.SparseAdam(lr=0.1)"),
        ("sgd",),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words):
    code, out, error = run("verify", *words)
    assert code == 2
    assert out == ""
    assert error.startswith("edsl: ")
    assert "Traceback" not in error


def test_a_bad_number_from_python_is_an_edsl_error():
    with pytest.raises(edsl.EdslError, match="steps"):
        verify("sgd", "sgd", steps=0)


def test_a_mistyped_route_is_refused_and_not_taken_for_equal():
    with pytest.raises(edsl.EdslError, match=r"called 'nosuch\.\*'"):
        verify("route(('nosuch.*', muon), other=sgd)", "sgd", steps=3)


def test_routes_by_module_are_resolved_on_matrices_too():
    assert verify("route(matrix=muon, embedding=adam, other=sgd)", "route(matrix=muon)", steps=3).parted is not None


@pytest.mark.parametrize("seed", [-1, 2**70])
def test_a_seed_out_of_range_is_an_edsl_error(seed):
    with pytest.raises(edsl.EdslError, match="seed must be a whole number"):
        verify("sgd", "sgd", seed=seed)
