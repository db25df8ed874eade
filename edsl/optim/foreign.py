"""E around another package's optimizer (Zhao et al. 2025, Algorithm 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.optim.optimizer import PipelineOptimizer
from edsl.step.oracle import ParameterSlot
from edsl.step.parameter import ParameterStep
from edsl.updates.foreign import Foreign


class ForeignOptimizer(PipelineOptimizer):
    """Adaptors before a foreign optimizer, as one optimizer with one state_dict.

    The adaptors turn each g into u; the foreign optimizer steps on u and finds g put back after.
    It shares this optimizer's param groups. Its state lies in the state of each parameter, beside the
    adaptors', as `torch.AdamW.exp_avg` and so on, so schedulers, checkpoints and resuming reach all of
    it. Both count steps alike, and `step` is kept once.

    Raises:
        EdslError: for `differentiable=True`: gradients can't flow through the adaptors.
    """

    def _check_groups(self) -> None:
        super()._check_groups()
        for group in self.param_groups:
            if group.get("differentiable"):
                name = self.pipeline.update.name
                raise EdslError(f"{name}: differentiable=True is not supported behind other stages; remove it")
        self._wrapped()  # which may refuse the parameters, and notes its groups' learning rates

    @staticmethod
    def _hyperparameters(pipeline: Pipeline) -> dict[str, Any]:
        return {**_foreign(pipeline).defaults(), **pipeline.hyperparameters}

    def _options(self) -> dict[str, Any]:
        theirs = _foreign(self.pipeline).defaults().items()
        return {**super()._options(), **{key: value for key, value in theirs if value is None or value is False}}

    @property
    def _prefix(self) -> str:
        return f"{self.pipeline.update.name}."

    def _update(self, slots: list[ParameterSlot]) -> None:
        inner = self._wrapped()
        items = self.engine.step(self.param_groups, self.state, slots)
        inner.param_groups = self.param_groups
        self._lend(inner, items)
        with _stepping_on_u(items), _descending(self.param_groups), self._steps.autocast():
            _step_without_hooks(inner)
        self._take_back(inner, items)

    def _wrapped(self) -> Any:
        """The foreign optimizer; made anew where copying and pickling have left it behind."""
        inner: Any = self.__dict__.get("_inner")
        if inner is None:
            update = _foreign(self.pipeline)
            theirs = ("params", *update.defaults())
            groups = [{key: group[key] for key in theirs if key in group} for group in self.param_groups]
            inner = self._inner = update.build(groups)
            self._made: dict[Tensor, dict[str, Any]] = dict(inner.state)  # state from before any step, as Adagrad's
            self._counted: dict[int, tuple[int, Any]] = {}  # by a parameter's id: its steps, and its own count of them
        return inner

    def _lend(self, inner: Any, items: Sequence[ParameterStep]) -> None:
        """Give it the state of the parameters that step, under its own names."""
        prefix, lent = self._prefix, {}
        for item in items:
            parameter = item.parameter
            for key, value in self._made.pop(parameter, {}).items():
                if key != "step":
                    item.state.setdefault(prefix + key, value)
            own = {key[len(prefix) :]: value for key, value in item.state.items() if key.startswith(prefix)}
            if own or item.k > 1:
                own |= self._count(parameter, item.k - 1)
            lent[parameter] = own
        inner.state.clear()
        inner.state.update(lent)

    def _count(self, parameter: Tensor, steps: int) -> dict[str, Any]:
        """How many steps a parameter has taken, as the foreign optimizer keeps it; nothing if it does not."""
        counted, known = self._counted.get(id(parameter), (None, None))
        if counted == steps:
            return {} if known is None else {"step": known}
        like = _state_of(_foreign(self.pipeline)).get("step")
        if like is None:
            return {}
        if not isinstance(like, Tensor):
            return {"step": type(like)(steps)}
        group = next(group for group in self.param_groups if any(p is parameter for p in group["params"]))
        on_device = group.get("capturable") or group.get("fused")  # as torch has it
        return {"step": like.new_tensor(steps, device=parameter.device if on_device else like.device)}

    def _take_back(self, inner: Any, items: Sequence[ParameterStep]) -> None:
        """Keep its state with the parameters; it holds none between steps."""
        self._counted = {}
        for item in items:
            own = inner.state[item.parameter]
            self._counted[id(item.parameter)] = (item.k, own.get("step"))
            for key, value in own.items():
                if key != "step":
                    item.state[self._prefix + key] = value
        inner.state.clear()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._counted = {}

    def _accepted(self, checkpoint: Any) -> dict[str, Any]:
        accepted = super()._accepted(self._flattened(checkpoint))
        for state in accepted["state"].values() if self._keeps_state else ():
            if int(state["step"]) > 0 and not any(key.startswith(self._prefix) for key in state):
                name = self.pipeline.update.name
                raise EdslError(f"malformed checkpoint: a parameter's state has none of {name}")
        return accepted

    def _flattened(self, checkpoint: Any) -> Any:
        """Flat, where it is of a version that kept the foreign optimizer's state as one dictionary."""
        states = checkpoint.get("state") if isinstance(checkpoint, dict) else None
        if not isinstance(states, dict):
            return checkpoint
        return {**checkpoint, "state": {number: self._flat(state) for number, state in states.items()}}

    def _flat(self, state: Any) -> Any:
        name = self.pipeline.update.name
        if not isinstance(state, dict) or not isinstance(state.get(name), dict):
            return state
        own = {self._prefix + key: value for key, value in state[name].items() if key != "step"}
        return {**{key: value for key, value in state.items() if key != name}, **own}

    @property
    def _keeps_state(self) -> bool:
        """Whether the foreign optimizer keeps anything beside a count of steps."""
        return any(key != "step" for key in _state_of(_foreign(self.pipeline)))

    def _take_over(self, checkpoint: dict[str, Any]) -> None:
        super()._take_over(checkpoint)
        for state in self.state.values():
            for key, value in state.items():
                if key.startswith(self._prefix) and isinstance(value, Tensor):
                    state[key] = value.clone()


@contextmanager
def _stepping_on_u(items: Sequence[ParameterStep]) -> Iterator[None]:
    """What flowed out of the adaptors as gradients, and the gradients put back after."""
    gradients = [(item.parameter, item.parameter.grad) for item in items]
    try:
        for item in items:
            item.parameter.grad = item.u()
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient


@contextmanager
def _descending(groups: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Groups that climb, as descending ones: the adaptors have had −g already."""
    climbing = [group for group in groups if group.get("maximize")]
    for group in climbing:
        group["maximize"] = False
    try:
        yield
    finally:
        for group in climbing:
            group["maximize"] = True


def _step_without_hooks(optimizer: Any) -> None:
    """A step that is a part of another's: torch's hooks and profiler range are of the whole."""
    step = type(optimizer).step
    (step.__wrapped__ if getattr(step, "hooked", False) else step)(optimizer)


@lru_cache(maxsize=32)
def _state_of(update: Foreign) -> dict[str, Any]:
    """What it keeps for a matrix after one step."""
    matrix = torch.zeros(2, 2, device="cpu", requires_grad=True)
    matrix.grad = torch.zeros(2, 2, device="cpu")
    optimizer = update.build([matrix])
    with torch.no_grad():
        try:
            _step_without_hooks(optimizer)
        except Exception:  # another package's optimizer may raise anything
            return {}
    return optimizer.state.get(matrix, {})


def _foreign(pipeline: Pipeline) -> Foreign:
    update = pipeline.update
    assert isinstance(update, Foreign)  # edsl.compile chose this class for it
    return update
