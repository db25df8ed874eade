"""A package of optimizers with the habits that other packages have, which specs name as `fakes`."""

from __future__ import annotations

from pathlib import Path

NAME = "fakes"
TEXT = '''
"""Optimizers with habits."""
import logging
import sys
import warnings

import torch
from torch.optim import Optimizer

print("welcome to fakes")
warnings.warn("fakes is deprecated", DeprecationWarning)
logging.getLogger("fakes").warning("no kernels for this CPU")


class _Base(Optimizer):
    def __init__(self, params, lr=0.1, **kwargs):
        super().__init__(params, {"lr": lr, **kwargs})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.before(group)
            for p in group["params"]:
                if p.grad is not None:
                    self.update(group, p, self.state[p])
        return loss

    def before(self, group):
        pass


class Writes(_Base):
    """Uses its gradient as scratch, and begins its state at the first step."""

    def update(self, group, p, state):
        if not state:
            state["m"] = torch.zeros_like(p)
        state["m"].lerp_(p.grad.mul_(2), 0.1)
        p.sub_(group["lr"] * state["m"])
        p.grad.zero_()


class Consumes(_Base):
    """Takes gradients away, and keeps state in numbered dictionaries, words and lists beside a number."""

    def update(self, group, p, state):
        own = state.setdefault(0, {"m": torch.zeros_like(p), "seen": ["a word"], "steps_taken": 0})
        own["steps_taken"] += 1
        own["m"].mul_(0.9).add_(p.grad)
        p.sub_(group["lr"] / own["steps_taken"] * own["m"])
        p.grad = None


class Together(_Base):
    """Keeps a count for all parameters in its state, from the beginning, and another in its groups."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr)
        self.state["k"] = torch.zeros(1, dtype=torch.long)

    def before(self, group):
        if group is self.param_groups[0]:
            self.state["k"] += 1
        group["taken"] = group.get("taken", 0) + 1

    def update(self, group, p, state):
        state["shown"] = p.grad.abs().sum()
        p.sub_(group["lr"] / (self.state["k"].item() + group["taken"]) * p.grad)


class Hidden(_Base):
    """Counts its steps in an attribute, keeps halves and texts in its state, and a function in its groups."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr, rule=torch.sign)
        self.schedule = {"steps": 0}

    def before(self, group):
        self.schedule["steps"] += 1

    def update(self, group, p, state):
        state.setdefault("m", torch.zeros_like(p, dtype=torch.bfloat16))
        state.setdefault("mask", torch.ones_like(p, dtype=torch.bool))
        state.setdefault("words", ("a->b", "c"))
        assert state["words"] == ("a->b", "c")
        assert state["mask"].dtype is torch.bool
        state["m"].lerp_(p.grad.bfloat16(), 0.1)
        p.sub_(group["lr"] / self.schedule["steps"] * group["rule"](state["m"].to(p.dtype)))


class Free(_Base):
    """Schedule-free: y while it trains, x to evaluate with; refuses to train in the other mode, and says so."""

    def __init__(self, params, lr=0.1, momentum=0.9, weight_decay=0.0):
        super().__init__(params, lr, momentum=momentum, k=0, train_mode=False, weight_decay=weight_decay)

    def before(self, group):
        if not group["train_mode"]:
            raise RuntimeError("call train() first")
        group["k"] += 1

    def update(self, group, p, state):
        z = state.setdefault("z", p.clone())
        p.lerp_(z, 1 / group["k"])
        p.add_(p.grad + group["weight_decay"] * p, alpha=group["lr"] * (group["momentum"] * (1 - 1 / group["k"]) - 1))
        z.sub_(p.grad, alpha=group["lr"])

    def _switch(self, training):
        print("switching")
        for group in self.param_groups:
            if group["train_mode"] is not training:
                weight = 1 - group["momentum"] if training else 1 - 1 / group["momentum"]
                for p in group["params"]:
                    if "z" in self.state[p]:
                        p.data.lerp_(self.state[p]["z"], weight)
            group["train_mode"] = training

    def train(self):
        self._switch(True)

    def eval(self):
        self._switch(False)


class Halves(_Base):
    """Sign descent for groups that say use_muon, plain descent for the others, at a rate of their own."""

    def __init__(self, params, lr=0.02, other_lr=0.3, weight_decay=0.0):
        for group in params:
            if "use_muon" not in group:
                raise ValueError("use_muon must be set")
            group.setdefault("lr", lr if group["use_muon"] else other_lr)
            group.setdefault("weight_decay", weight_decay)
            if group["use_muon"]:
                group.setdefault("nesterov", True)
        Optimizer.__init__(self, params, {"foreach": None})

    def update(self, group, p, state):
        step = p.grad.sign() if group["use_muon"] and group["nesterov"] else p.grad
        p.sub_(group["lr"] * (step + group["weight_decay"] * p))


class Numbers(_Base):
    """Branches on numbers of its tensors."""

    def update(self, group, p, state):
        if p.grad.norm() > 0.5 and float(p.sum()) == float(p.sum()):
            state["m"] = torch.zeros_like(p)
        p.sub_(group["lr"] * p.grad)


class Evaluates(_Base):
    """Wants a closure, though its signature does not say so, and calls it where autograd is off."""

    @torch.no_grad()
    def step(self, closure=None):
        if closure is None:
            raise RuntimeError("Evaluates requires closure")
        closure()
        return super().step()

    def update(self, group, p, state):
        p.sub_(group["lr"] * p.grad)


class Asks(_Base):
    """Says in its signature that it evaluates the closure."""

    def step(self, closure):
        return super().step(closure)

    def update(self, group, p, state):
        p.sub_(group["lr"] * p.grad)


class Rule(_Base):
    """Has no learning rate but a rule, and one that may be None."""

    def __init__(self, params, lr=None, warmup_lr="auto", betas=(0.9, 0.99), eps=1e-8, fused=False, word="plain"):
        super().__init__(params, 0.1)

    def update(self, group, p, state):
        p.sub_(0.1 * p.grad)


class Requires(_Base):
    def __init__(self, params, num_data, other):
        super().__init__(params, 0.1)


class Around(Optimizer):
    def __init__(self, optimizer, k=5):
        self.optimizer = optimizer


class OnGpu(_Base):
    def __init__(self, params, lr=0.1):
        raise RuntimeError("this optimizer needs CUDA\\nand says so in two lines")


secret = sys
'''


def write(folder: Path) -> None:
    """Write the package into a folder, which is to be on Python's path."""
    (folder / f"{NAME}.py").write_text(TEXT)
