"""E around another package's optimizer (Zhao et al. 2025, Algorithm 5)."""

from __future__ import annotations

from typing import Any

from edsl.adapters.foreign import Foreign
from edsl.errors import EdslError
from edsl.optimizer import PipelineOptimizer
from edsl.oracle import Slot
from edsl.pipeline import Pipeline


class AroundOptimizer(PipelineOptimizer):
    """Adaptors before a foreign optimizer, as one optimizer with one state_dict.

    The adaptors turn each g into u; the foreign optimizer steps on u and finds g put back after.
    It shares this optimizer's param groups, and keeps its state under its own name in the state
    of each parameter, so schedulers, checkpoints and resuming reach all of it.
    """

    @staticmethod
    def _hyperparameters(pipeline: Pipeline) -> dict[str, Any]:
        return {**_foreign(pipeline).defaults(), **pipeline.hyperparameters}

    def _check_checkpoint(self, checkpoint: Any) -> None:
        super()._check_checkpoint(checkpoint)
        name = self.pipeline.update.name
        for state in checkpoint["state"].values():
            if int(state["step"]) > 0 and not isinstance(state.get(name), dict):
                raise EdslError(f"this checkpoint is not whole: a parameter's state has none of {name}")

    def _update(self, slots: list[Slot]) -> None:
        inner = self._linked({slot.parameter for slot in slots if slot.gradient is not None})
        items = self.engine.step(self.param_groups, self.state, slots)
        gradients = [(item.parameter, item.parameter.grad) for item in items]
        try:
            for item in items:
                item.parameter.grad = item.u()
            inner.step()
        finally:
            for parameter, gradient in gradients:
                parameter.grad = gradient

    def _linked(self, moving: set[Any]) -> Any:
        """The foreign optimizer on this one's groups and state, which loading may have replaced."""
        update = _foreign(self.pipeline)
        inner: Any = self.__dict__.get("_inner")
        if inner is None:  # on the parameters themselves, which it may refuse, or make state for
            inner = self._inner = update.build([p for group in self.param_groups for p in group["params"]])
            for parameter, state in inner.state.items():
                self.state[parameter].setdefault(update.name, state)
        inner.param_groups = self.param_groups
        inner.state.clear()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter in moving:
                    inner.state[parameter] = self.state[parameter].setdefault(update.name, {})
        return inner


def _foreign(pipeline: Pipeline) -> Foreign:
    update = pipeline.update
    assert isinstance(update, Foreign)  # edsl.compile chose this class for it
    return update
