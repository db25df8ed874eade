"""Steps inside backward(), one parameter after another: where a step begins and ends, and what may not come between."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any

import torch

from edsl.distributed.agreement import check_agreement
from edsl.engine.monitoring.lost_updates import Lost, is_due, lost_updates, may_lose, warning
from edsl.errors import EdslError
from edsl.language.caller import BELOW_A_STEP, warn_user
from edsl.language.registry.blame import blaming
from edsl.optim.attached.averaging import check_unwrapped
from edsl.optim.attached.scaling import check_loss_unscaled
from edsl.optim.autocast import autocast_off, is_autocast_on

if TYPE_CHECKING:
    from edsl.optim.attached.optimizer import AttachedOptimizer

_ACCUMULATED = (
    "attach: parameter {name} has a second gradient before step() or zero_grad(): backward() has stepped on the first, "
    "so that gradients can't be accumulated; take larger batches, or edsl.compile"
)


class BackwardSteps:
    """What takes an attached optimizer's steps, and what it knows of them in this process; none of it is state.

    Autograd runs the hooks of a GPU's parameters in a thread for each GPU: one of them steps at a time.

    Args:
        optimizer: whose parameters step.

    Attributes:
        is_open: whether gradients are taken.
    """

    def __init__(self, optimizer: AttachedOptimizer) -> None:
        self.is_open = True
        self._optimizer = optimizer
        self._lock = RLock()
        self._begun = False
        self._stepped: set[int] = set()  # the ids of parameters, in this step
        self._loop_ends_steps = False  # by step() or zero_grad()
        self._stepped_twice = ""  # the name of a parameter that did before the loop first ended a step
        self._taken = 0
        self._previews = False  # whether this step is checked for updates that round away
        self._warned = False
        self._lost: list[Lost] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()  # a pickled parameter's attributes go with it

    def take(self, parameter: Any) -> None:
        """Step a parameter on its gradient, and free that."""
        with self._lock:
            try:
                with blaming(), torch.no_grad(), autocast_off() if is_autocast_on() else nullcontext():
                    self._take(parameter)
            finally:
                self._optimizer.engine.release_gradients()

    def _take(self, parameter: Any) -> None:
        check_loss_unscaled()
        optimizer = self._optimizer
        engine, groups, states = optimizer.engine, optimizer.param_groups, optimizer.state
        if optimizer._evaluating:
            raise EdslError("backward() of an attached optimizer inside evaluation_weights(): leave the block first")
        if parameter.grad is not None and parameter.grad.requires_grad:
            raise EdslError(
                "attach: backward(create_graph=True) keeps the graph to differentiate it again, at weights that have "
                "stepped by then: use edsl.compile"
            )
        if id(parameter) in self._stepped:
            self._begin_again(parameter)
        if not self._begun:
            self._begin()
        if self._previews:
            slot = engine.slot_of(groups, states, parameter)
            self._lost += lost_updates(partial(engine.preview, groups, states), [slot]) if slot else []
        if engine.step_one(groups, states, parameter):
            self._stepped.add(id(parameter))
            parameter.grad = None

    def _begin(self) -> None:
        optimizer = self._optimizer
        if optimizer.watchers:
            raise EdslError("attach: who watches an optimizer must see a whole step at once: use edsl.compile")
        if self._taken == 0:
            check_unwrapped(optimizer.param_groups, optimizer._averaged)
            check_agreement(optimizer.pipeline, optimizer.param_groups, optimizer.state_dtype)
        optimizer.engine.begin_singly(optimizer.param_groups, optimizer.state)
        self._previews = is_due(self._taken + 1) and not self._warned and may_lose(optimizer.param_groups)
        setattr(optimizer, "_opt_called", True)  # noqa: B010 - torch's schedulers ask it for a step() before theirs
        self._begun = True

    def _begin_again(self, parameter: Any) -> None:
        """End the step before where the loop does not end steps itself; raise EdslError where it does."""
        name = next((name for name, known in self._optimizer._named() if known is parameter), "")
        if self._loop_ends_steps:
            raise EdslError(_ACCUMULATED.format(name=name))
        self._stepped_twice = self._stepped_twice or str(name)
        self._end()

    def end(self, steps: bool) -> None:
        """End a step where the loop does, by `step()` or by `zero_grad()`.

        Args:
            steps: by `step()`, which steps what has a gradient still.

        Raises:
            EdslError: where a parameter has stepped twice since the last end, which the loop meant to accumulate.
        """
        with self._lock:
            if steps and self._stepped_twice and not self._loop_ends_steps:
                self._loop_ends_steps = True
                self._stepped.clear()
                self._end()
                raise EdslError(_ACCUMULATED.format(name=self._stepped_twice))
            self._loop_ends_steps = self._loop_ends_steps or not self._stepped_twice
            if steps:
                for group in self._optimizer.param_groups:
                    for parameter in group["params"]:
                        if parameter.grad is not None:
                            self.take(parameter)
            self._end()

    def _end(self) -> None:
        if self._begun:
            self._optimizer.engine.end_singly(self._optimizer.param_groups)
            self._taken += 1
            text = warning(self._lost, self._taken) if self._lost else ""
            self._warned = self._warned or bool(text)
            warn_user([text] if text else [], BELOW_A_STEP)
        self._begun = self._previews = False
        self._lost = []
        self._stepped.clear()


def _nothing() -> None:
    """What is left of a parameter's steps where it is unpickled: its optimizer attaches it anew, if it is there."""
