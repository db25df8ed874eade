"""The language of rules is enough: each of edsl's stages without matrices, written as a rule, is the same stage."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

import edsl
from edsl.codegen import cpp
from edsl.codegen.expression import Conditions
from edsl.codegen.signature import KernelSignature
from edsl.codegen.trace import record
from edsl.language.rules.stage import RuleStage
from edsl.step.plan import GroupPlan
from tests.rules.builtins import AGAIN, Again

COMPILED = ("rmsprop, centered", "e", "lookahead")


def both(again: Again) -> tuple[Any, Any]:
    own, ruled = edsl.parse(again.own), edsl.parse(f"{again.text}\n{again.ruled or again.own}")
    assert any(isinstance(stage, RuleStage) for stage in ruled.stages)
    return own, ruled


def kernels(pipeline: Any, dtype: torch.dtype) -> list[str]:
    plan = GroupPlan(pipeline, False, dict(pipeline.hyperparameters))
    needs = any(stage.needs_hessian for stage in pipeline.stages)
    texts = []
    for looked in (True, False) if needs else (False,):
        for segment in plan.segments:
            recording = record(segment, Conditions(looked, False, False))
            signature = KernelSignature(dtype, dtype, dtype, (dtype,) * 3, (dtype,) * len(segment.buffers))
            texts.append(cpp.source([(recording, signature)], len(segment.noisy))[0])
    return texts


@pytest.mark.parametrize("name", AGAIN)
def test_rule_makes_the_kernel_of_the_class(name):
    own, ruled = both(AGAIN[name])
    for dtype in (torch.float32, torch.float64):
        assert kernels(own, dtype) == kernels(ruled, dtype)


def trained(pipeline: Any, dtype: torch.dtype, mode: str, steps: int = 50) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    made = partial(torch.randn, generator=generator, dtype=dtype)
    layers = [torch.nn.Parameter(made(5, 4)), torch.nn.Parameter(made(7))]
    optimizer: Any = edsl.compile(pipeline, layers, mode=mode)
    weights = [made(4), made(7)]
    calls = pipeline.estimator.calls_backward

    def closure() -> torch.Tensor:
        loss = (layers[0] @ weights[0]).square().sum() + (layers[1] * weights[1]).tanh().square().sum()
        if calls:
            optimizer.zero_grad()
            loss.backward()
        return loss

    torch.manual_seed(7)
    for _ in range(steps):
        optimizer.step(closure)
    state = [value for layer in layers for value in optimizer.state[layer].values()]
    return [*(layer.detach() for layer in layers), *state]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", AGAIN)
def test_rule_has_the_bits_of_the_class_over_50_steps(name, dtype):
    own, ruled = both(AGAIN[name])
    for mode in ("eager", "compiled") if name in COMPILED else ("eager",):  # elsewhere the kernel's text has shown it
        for mine, theirs in zip(trained(own, dtype, mode), trained(ruled, dtype, mode), strict=True):
            assert torch.equal(mine, theirs), mode


@pytest.mark.parametrize("name", AGAIN)
def test_text_of_a_pipeline_with_rules_reads_back_as_the_same(name):
    _, ruled = both(AGAIN[name])
    again = edsl.parse(str(ruled))
    assert again == ruled
    assert str(again) == str(ruled)
    assert again.fingerprint == ruled.fingerprint
    assert [type(stage) for stage in again.stages] == [type(stage) for stage in ruled.stages]
