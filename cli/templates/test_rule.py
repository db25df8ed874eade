"""my_rule does what its recurrence says, in a loop written apart from it."""

from pathlib import Path

import torch

import edsl

edsl.load_rules(Path(__file__).with_name("my_rule.edsl"))
SPEC = "grad | my_rule(lr=0.1, beta=0.8)"


def naive(theta, gradients, lr, beta):
    """The recurrence with plain names: change it with the rule."""
    m = torch.zeros_like(theta)
    for k, g in enumerate(gradients, start=1):
        m = beta * m + (1 - beta) * g
        theta = theta - lr * m / (1 - beta**k)
    return theta


def stepped(mode):
    start = torch.linspace(-1, 1, 6, dtype=torch.float64)
    gradients = torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.nn.Parameter(start.clone())
    optimizer = edsl.compile(SPEC, [weights], mode=mode)
    for gradient in gradients:
        weights.grad = gradient
        optimizer.step()
    return weights.detach(), naive(start, gradients, lr=0.1, beta=0.8)


def test_steps_are_those_of_the_recurrence():
    torch.testing.assert_close(*stepped("eager"), rtol=1e-12, atol=1e-12)


def test_native_steps_are_those_of_the_recurrence():
    torch.testing.assert_close(*stepped("compiled"), rtol=1e-12, atol=1e-12)


def test_its_text_is_read_as_it_is_printed():
    assert edsl.parse(str(edsl.parse(SPEC))) == edsl.parse(SPEC)
