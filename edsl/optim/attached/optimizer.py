"""The optimizer that steps inside backward()."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

from edsl.errors import EdslError
from edsl.optim.attached.averaging import check_wrappers, step_behind_averaging
from edsl.optim.attached.backward import BackwardSteps
from edsl.optim.attached.scaling import watch_scalers
from edsl.optim.optimizer import PipelineOptimizer
from edsl.optim.steps import takes_scale

_KEPT_BY = "_edsl_attached"  # a parameter's attribute: the steps that it keeps alive


class GradientHook:
    """Called by autograd when a parameter's gradient is whole, with the gradients of all its uses added up.

    Python's garbage collector doesn't see what autograd holds: so it holds the steps weakly.
    """

    def __init__(self, steps: BackwardSteps) -> None:
        self._steps = weakref.ref(steps)

    def __call__(self, parameter: Any) -> None:
        steps = self._steps()
        if steps is not None:
            steps.take(parameter)


class AttachedOptimizer(PipelineOptimizer):
    """A pipeline whose parameters step inside backward(): `edsl.attach` makes one.

    It is a torch optimizer with the param groups, state and state_dict of `edsl.compile`'s for the same pipeline, which
    either may load from the other. A step ends with `step()` or `zero_grad()`; in a loop that calls neither, where a
    parameter's next gradient comes. `step()` steps what has a gradient still, such as one that was set by hand.

    Raises:
        EdslError: in backward(), for a parameter's second gradient before the end of a step, which would have to be
            added to the first; for backward(create_graph=True); and for what `PipelineOptimizer.step` refuses.
    """

    _attached: BackwardSteps | None = None

    def _check_groups(self) -> None:
        super()._check_groups()
        self._attach()

    @property
    def is_attached(self) -> bool:
        """Whether backward() steps; after `detach()`, `step()` does."""
        return self._attached is not None

    def detach(self) -> None:
        """Take the hooks away: from now on `step()` steps, as with `edsl.compile`, from the state that is there."""
        if self._attached is None:
            return
        self._attached.end(steps=False)
        self._attached.is_open = False
        for _, parameter in self._named():
            if getattr(parameter, _KEPT_BY, None) is self._attached:
                delattr(parameter, _KEPT_BY)
        self._attached = None
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _attach(self) -> None:
        self._handles: list[Any] = []
        check_wrappers(self.engine.names.module)
        watch_scalers()
        for name, parameter in self._named():
            if getattr(parameter, _KEPT_BY, None) is not None:
                raise EdslError(f"attach: parameter {name} is attached already: detach() that optimizer first")
        steps = BackwardSteps(self)
        self._averaged = step_behind_averaging(self.engine.names.module, steps)
        self._attached = steps
        self._hook_new()

    def _named(self) -> list[tuple[str, Any]]:
        """All parameters with their names, or their places."""
        return [
            (group.get("param_names", range(len(group["params"])))[place], parameter)
            for group in self.param_groups
            for place, parameter in enumerate(group["params"])
        ]

    def _hook_new(self) -> None:
        """Hook the parameters that are new, or no longer frozen."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.requires_grad and getattr(parameter, _KEPT_BY, None) is not self._attached:
                    setattr(parameter, _KEPT_BY, self._attached)
                    if self._attached is not None and id(parameter) not in self._averaged:
                        hook = GradientHook(self._attached)
                        self._handles.append(parameter.register_post_accumulate_grad_hook(hook))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        if self._attached is not None:
            self._hook_new()

    # A compiled training step calls what is compiled here. (torch.compiler.disable would load Dynamo at import.)
    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage]
    def _step(self, closure: Callable[[], Any] | None) -> Any:
        if self._attached is None:
            return super()._step(closure)
        self._check_unscaled()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._attached.end(steps=True)
        self._hook_new()
        return loss

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Read by torch's GradScaler, as there: a step was taken in backward(), before anything could be unscaled."""
        return self._attached is not None or super()._step_supports_amp_scaling

    def _check_unscaled(self) -> None:
        if takes_scale(self.__dict__):
            raise EdslError(
                "attach: a GradScaler unscales gradients after backward(), which has stepped on the scaled ones: use "
                "bfloat16 autocast, which needs no scaler, or edsl.compile"
            )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """End a step, and forget the gradients that are there still."""
        if self._attached is not None:
            self._attached.end(steps=False)
        super().zero_grad(set_to_none)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_averaged" not in self.__dict__:  # unpickled or copied, not loaded
            self._attach()
