"""Which path each parameter steps by, as `optimizer.paths()` and `edsl show --params` say."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from shell import run

import edsl
from edsl.errors import EdslError
from edsl.lab.benchmarks.paths import paths_on
from edsl.stage import Adaptor, NoMemory


@dataclass(frozen=True)
class SpeaksTorch(Adaptor):
    """u = x sorted, which no kernel can follow."""

    name: ClassVar[str] = "speaks_torch"

    def init(self, zero):
        return NoMemory()

    def step(self, x, memory, at):
        return x.flatten().sort().values.view_as(x), memory


def stepped(pipeline, mode="compiled"):
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 3))
    optimizer = edsl.compile(pipeline, model, mode=mode)
    assert optimizer.paths() == {}
    for _ in range(3):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    return {name: [(path.stages, path.taken) for path in paths] for name, paths in optimizer.paths().items()}, optimizer


def test_elements_step_in_cpp_and_matrices_in_cpp_with_blas():
    paths, optimizer = stepped("emuon")
    assert paths["0.weight"] == paths["1.weight"] == [("e | muon", "C++ and BLAS")]
    assert paths["0.bias"] == paths["2.weight"] == [("e | adamw", "C++")]
    assert optimizer.paths()["0.bias"][0].reason == ""
    assert optimizer.compiled_graphs == optimizer.engine.native.kernels == 2


def test_parts_of_a_parameter_have_paths_of_their_own():
    parameter = torch.nn.Parameter(torch.randn(6, 4))
    optimizer = edsl.compile("muon(split=('q', 'k', 'v'))", [("attention", parameter)])
    parameter.grad = torch.randn(6, 4)
    optimizer.step()
    assert len(optimizer.paths()) == 3
    assert {path.taken for (path,) in optimizer.paths().values()} == {"C++ and BLAS"}


@pytest.mark.parametrize(("mode", "taken"), [("eager", "eager"), ("inductor", "torch.compile")])
def test_other_modes_are_the_reason_for_other_paths(mode, taken):
    paths, optimizer = stepped("grad | e | sgd", mode)
    assert {tuple(own) for own in paths.values()} == {(("e | sgd", taken),)}
    assert optimizer.paths()["0.weight"][0].reason == f'mode="{mode}"'


def test_a_stage_that_no_kernel_can_follow_says_so():
    paths, optimizer = stepped(edsl.grad() | SpeaksTorch() | edsl.sgd(lr=0.1))
    assert paths["0.weight"] == [("speaks_torch | sgd", "torch.compile")]
    assert optimizer.paths()["0.weight"][0].reason == optimizer.engine.native.reasons[0]


def test_show_prints_the_paths_of_a_models_parameters():
    status, printed, _ = run("show", "emuon", "--params", "gpt2", "--json")
    assert status == 0
    kinds = {kind["paths"][0]["taken"]: kind["parameters"] for kind in json.loads(printed)["paths"]}
    assert kinds.keys() == {"C++", "C++ and BLAS"}
    assert "transformer.h.0.ln_1.weight" in kinds["C++"]
    assert "transformer.h.3.mlp.c_fc.weight" in kinds["C++ and BLAS"]
    assert "C++ and BLAS" in run("show", "emuon", "--params", "gpt2")[1]


def test_another_packages_optimizer_has_no_paths_to_show():
    with pytest.raises(EdslError, match="another package's optimizer"):
        paths_on("torch.AdamW", {"weight": (3, 4)})
