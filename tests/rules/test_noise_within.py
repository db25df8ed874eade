"""Noise within a rule: each stage that draws has noise of its own, which resumes and depends on no mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from problem import SHAPES, gradients, parameters, walk, worst

import edsl
from edsl.theory.text.notation import recurrences

TWICE = """
@adaptor
def twice(u, *, std: nonnegative = 0.1, own: nonnegative = 0.1):
    return noise(noise(u, std=std), std=std, seed=3) + own * normal - own * normal + own * normal

grad | twice | sgd(lr=1)
"""


LARGE = [(100, 50)]


def stepped(spec: str, mode: str, steps: int = 3, shapes: Any = SHAPES) -> Any:
    params = parameters(shapes)
    return walk(edsl.compile(spec, params, mode=mode), params, gradients(steps, shapes))


def drawn(spec: str) -> Any:
    """What a rule adds to one step along the gradient."""
    silent, found = (stepped(one, "eager", 1, LARGE)[0][0] for one in ("grad | sgd(lr=1)", spec))
    return (silent - found).flatten()


def test_noises_of_a_rule_are_independent_of_each_other_and_its_own_is_one():
    whole, own, within = (drawn(TWICE.replace("| twice", f"| twice({how})")) for how in ("", "std=0", "own=0"))
    torch.testing.assert_close(whole, own + within)
    assert own.std() == pytest.approx(0.1, rel=0.05)  # the same draw, however often it is read
    assert within.std() == pytest.approx(0.1 * 2**0.5, rel=0.05)  # two of them
    assert abs(torch.corrcoef(torch.stack([own, within]))[0, 1]) < 0.06  # four deviations of 5,000 elements


def test_noise_within_is_the_same_in_native_steps():
    assert worst(stepped(TWICE, "compiled"), stepped(TWICE, "eager")) <= 1e-12


def test_noise_before_a_refresh_is_that_of_the_step():
    rule = "@update\ndef shaken(u, *, lr=0.1):\n    return -lr * direction(shampoo(noise(u, std=0.1), every=2))\n"
    chain = rule + "route(matrix=shaken, other=sgd)"
    assert worst(stepped(chain, "compiled"), stepped(chain, "eager")) <= 1e-12


def test_show_gives_each_noise_a_letter():
    (_, part, _) = recurrences(edsl.parse(TWICE))
    assert all(f"{one}ₖ" in part.lines[-1] for one in ("ξ", "ξ⁽²⁾", "ξ⁽³⁾"))


@pytest.mark.parametrize("spec", [TWICE, TWICE.replace("twice | sgd(lr=1)", "direction(sgd) | twice | sgd")])
def test_texts_with_noise_within_read_back(spec):
    assert edsl.parse(str(edsl.parse(spec))) == edsl.parse(spec)
