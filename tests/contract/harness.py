"""Any recipe on a tiny problem: built, stepped, and all that a step may change."""

from __future__ import annotations

import copy

import pytest
import torch
from problem import bowl, parameters, walk

import edsl
from edsl.lab.closure import closure_for
from edsl.language.registry.recipes import RECIPES

every_recipe = pytest.mark.parametrize("recipe", RECIPES)


def estimator(recipe):
    return edsl.parse(recipe).estimator


NEED_A_CLOSURE = [recipe for recipe in RECIPES if estimator(recipe).needs_closure]
NEED_NONE = [recipe for recipe in RECIPES if not estimator(recipe).needs_closure]
READ_GRAD = [recipe for recipe in RECIPES if estimator(recipe).calls_backward]
IGNORE_GRAD = [recipe for recipe in RECIPES if not estimator(recipe).calls_backward]


def build(recipe, params=None, **options):
    """(parameters, optimizer), eager where nothing else is said."""
    params = parameters() if params is None else params
    return params, edsl.compile(recipe, params, **{"mode": "eager", **options})


def rows_like(params, steps, seed=2, scale=0.1):
    """Gradients in each parameter's shape and dtype, for some steps."""
    generator = torch.Generator().manual_seed(seed)
    return [
        [(scale * torch.randn(p.shape, generator=generator, dtype=torch.float64)).to(p.dtype) for p in params]
        for _ in range(steps)
    ]


def take(optimizer, params, steps=1, seed=2):
    """Take steps on gradients, or losses, that depend on the seed alone; the parameters after each."""
    return walk(optimizer, params, rows_like(params, steps, seed))


def descend(optimizer, params, steps=1, seed=2):
    """The same for every recipe by a closure; the parameters after the last step."""
    for row in rows_like(params, steps, seed):
        optimizer.step(closure_for(optimizer.pipeline, optimizer, lambda row=row: bowl(params, row)))
    return [p.detach().clone() for p in params]


def train(optimizer, model, loss, steps=1):
    """Steps on the loss of a model, each by the closure that the recipe asks for."""
    for _ in range(steps):
        optimizer.step(closure_for(optimizer.pipeline, optimizer, lambda: loss(model)))


def everything(optimizer, params):
    """A copy of parameters, state and groups: all that a step or a load may change."""
    return copy.deepcopy(([p.detach() for p in params], optimizer.state_dict()))


def same(a, b) -> bool:
    """Whether two nested values are equal, tensors bit for bit and in their dtype."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b
