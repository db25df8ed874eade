"""The steps of an optimizer: one at a time, outside of autocast; each is evaluated, then allowed, then taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from threading import get_ident
from typing import Any

import torch

from edsl.distributed.agreement import check_agreement
from edsl.distributed.collectives import is_zero
from edsl.engine.engine import Engine
from edsl.engine.monitoring.lost_updates import is_due, lost_updates, may_lose, warning
from edsl.engine.monitoring.watching import Watched
from edsl.errors import EdslError
from edsl.language.caller import BELOW_A_STEP, warn_user
from edsl.language.pipeline import Pipeline
from edsl.language.registry.blame import blaming
from edsl.optim.autocast import Switch, autocast_off, called_in, is_autocast_on
from edsl.step.oracle import Oracle, ParameterSlot, nonfinite

Groups = list[dict[str, Any]]


@dataclass(frozen=True)
class StepCall:
    """One call of `step()`.

    Attributes:
        groups, states: the optimizer's.
        closure: the caller's.
        update: steps the parameters of slots, whose gradients the estimator has found.
        watchers: are shown a step before it is taken.
    """

    groups: Groups
    states: Any
    closure: Callable[[], Any] | None
    update: Callable[[list[ParameterSlot]], None]
    watchers: Sequence[Callable[[list[Watched]], None]]


class Steps:
    """What takes the steps of an optimizer, and what it knows of them in this process; none of it is state.

    Args:
        engine: runs the pipeline.

    Attributes:
        autocast: switches autocast to what it was before, while a step is taken.
        warned: that updates round away.
    """

    def __init__(self, engine: Engine) -> None:
        self.autocast: Switch = nullcontext
        self.warned = False
        self._engine = engine
        self._taken = 0
        self._thread = 0  # that takes a step
        self._agreed = False  # with the other processes that train the same parameters

    def take(self, call: StepCall) -> Any:
        """Take a step, and give the closure's loss."""
        self._check_alone()
        self._thread = get_ident()
        try:
            with blaming():
                if not is_autocast_on():
                    return self._evaluate_and_update(call)
                with autocast_off() as self.autocast:
                    if call.closure is not None:
                        call = replace(call, closure=called_in(self.autocast, call.closure))
                    return self._evaluate_and_update(call)
        finally:
            self._thread = 0
            self.autocast = nullcontext
            self._engine.release_gradients()

    def _check_alone(self) -> None:
        """Raises EdslError while another step of this optimizer is under way."""
        if self._thread == get_ident():
            raise EdslError("step() called from its own closure: the closure must only compute the loss")
        if self._thread:
            raise EdslError("step() called while another thread is inside step() of this optimizer: use a lock")

    def _evaluate_and_update(self, call: StepCall) -> Any:
        engine, groups, states, closure = self._engine, call.groups, call.states, call.closure
        if not self._agreed:
            check_agreement(engine.pipeline, groups, engine.state_dtype)
            self._agreed = True
        if closure is None and engine.pipeline.estimator.needs_closure and _only_makes_state(groups):
            return self._make_state(call)
        looks = is_due(self._taken + 1) and not self.warned and may_lose(groups)
        if engine.can_replay and not call.watchers and not looks:
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
                closure = lambda: loss  # noqa: E731 - it was called: a general step asks for no more
            if engine.replay(groups, states):
                self._taken += 1
                return loss
        oracle = engine.oracle(groups, states, closure)
        loss = oracle.estimator.evaluate(oracle)
        if oracle.ready and _allowed_by_guard(engine.pipeline, groups, oracle.slots):
            with torch.no_grad():
                for watcher in call.watchers:
                    watcher(engine.watch(groups, states, oracle.slots))
                if looks:
                    self._warn_of_lost_updates(groups, states, oracle)
                call.update(oracle.slots)
            self._taken += 1
        if oracle.estimator.calls > 1:
            for group in groups:
                group["calls"] = 0 if oracle.ready else oracle.calls + 1
        return loss

    def _make_state(self, call: StepCall) -> None:
        """Give every parameter with a gradient its whole state, as it is before the first step."""
        slots = self._engine.oracle(call.groups, call.states, lambda: None).slots
        new = [slot for slot in slots if not slot.is_known]
        for slot in new:
            slot.gradient = slot.parameter.grad
        with torch.no_grad():
            call.update(new)
        for slot in new:
            call.states[slot.parameter]["step"].zero_()

    def _warn_of_lost_updates(self, groups: Groups, states: Any, oracle: Oracle) -> None:
        """Warn, once, where the next step rounds most updates of a parameter in half precision away."""
        text = warning(lost_updates(partial(self._engine.preview, groups, states), oracle.slots), oracle.k)
        self.warned = bool(text)
        warn_user([text] if text else [], BELOW_A_STEP)


def check_unscaled(pipeline: Pipeline, attributes: dict[str, Any]) -> None:
    """Raises EdslError where a GradScaler steps, whose scaled loss an estimator would take for the loss.

    Args:
        attributes: the optimizer's, among which a GradScaler leaves its scale.
    """
    if takes_scale(attributes):
        raise EdslError(
            f"{pipeline.estimator.name} evaluates the loss itself, which a GradScaler can't unscale: call "
            "step(closure) without the scaler, on the unscaled loss (bfloat16 autocast needs no scaler)"
        )


def takes_scale(attributes: dict[str, Any]) -> bool:
    """Whether a GradScaler has left its scale among an optimizer's attributes, from which it is removed."""
    left = [attributes.pop(name, None) for name in ("grad_scale", "found_inf")]
    return left != [None, None]


def _only_makes_state(groups: Groups) -> bool:
    """Whether a step on the gradients that are there moves nothing: they, and every lr, are 0."""
    gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
    rates = [group.get("lr", 1) for group in groups]
    return bool(gradients) and not any(map(bool, rates)) and all(map(is_zero, gradients))


def _allowed_by_guard(pipeline: Pipeline, groups: Groups, slots: list[ParameterSlot]) -> bool:
    """Whether the step may happen, by the pipeline's guard; groups count steps that aren't finite."""
    policy = pipeline.nonfinite_policy
    name = nonfinite(slots) if policy else None
    if name is None:
        return True
    if policy == "raise":
        raise EdslError(f"the gradient of parameter {name} is not finite; nothing was changed")
    for group in groups:
        group["nonfinite_steps"] += 1
    return policy == "zero"
