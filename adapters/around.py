"""E around another package's optimizer (Zhao et al. 2025, Algorithm 5)."""

from __future__ import annotations

from typing import Any

import torch

from edsl.adapters.foreign import Foreign
from edsl.errors import EdslError
from edsl.optimizer import PipelineOptimizer
from edsl.pipeline import Pipeline


class AroundOptimizer(PipelineOptimizer):
    """Adaptors before a foreign optimizer, as one optimizer with one state_dict.

    The adaptors turn each g into u; the foreign optimizer steps on u and finds g put back after.
    It shares this optimizer's param groups, and keeps its state under its own name in the state
    of each parameter, so schedulers, checkpoints and resuming reach all of it.

    Raises:
        EdslError: for a foreign optimizer that evaluates the closure itself (LBFGS).
    """

    def __init__(self, params: Any, spec: Pipeline, **options: Any) -> None:
        if spec.update.name == "torch.LBFGS":
            raise EdslError("torch.LBFGS evaluates the closure many times a step: no adaptor can stand before it")
        super().__init__(params, spec, **options)

    @staticmethod
    def _hyperparameters(pipeline: Pipeline) -> dict[str, Any]:
        probe = _foreign(pipeline).build([torch.zeros(2, 2, requires_grad=True)])
        return {**probe.defaults, **pipeline.hyperparameters}

    def _update(self) -> None:
        items = self.engine.step(self.param_groups, self.state)
        gradients = [(item.parameter, item.parameter.grad) for item in items]
        inner = self._linked()
        try:
            for item in items:
                item.parameter.grad = item.u()
            inner.step()
        finally:
            for parameter, gradient in gradients:
                parameter.grad = gradient

    def _linked(self) -> Any:
        """The foreign optimizer on this one's groups and state, which loading may have replaced."""
        update = _foreign(self.pipeline)
        inner: Any = self.__dict__.get("_inner")
        if inner is None:
            inner = self._inner = update.build([torch.zeros(2, 2, requires_grad=True)])
        inner.param_groups = self.param_groups
        inner.state.clear()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    inner.state[parameter] = self.state[parameter].setdefault(update.name, {})
        return inner


def _foreign(pipeline: Pipeline) -> Foreign:
    update = pipeline.update
    assert isinstance(update, Foreign)  # edsl.compile chose this class for it
    return update
