"""The torch.optim.Optimizer around a pipeline: groups, closures, state_dict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from edsl.arguments import read_arguments
from edsl.checkpoint import check_checkpoint
from edsl.engine import MODES, Engine, Watched
from edsl.errors import EdslError, shown
from edsl.exclusion import excluded_names, names_in_module
from edsl.layout import check_parameter, working_dtype
from edsl.pipeline import Pipeline
from edsl.plan import is_foreign
from edsl.spec import as_pipeline, parse


class PipelineOptimizer(torch.optim.Optimizer):
    """A pipeline as a torch optimizer.

    Every hyper-parameter of the pipeline is a key of each param group, under its name in the spec,
    and may change between any two steps. State is kept per parameter as `step` and
    `<stage>.<buffer>`, in float32 for half-precision parameters.

    Args:
        params: a module, tensors, (name, tensor) pairs, or param groups, which may override any
            hyper-parameter.
        spec: a spec, a Pipeline, or a base update alone.
        mode: "compiled" (torch.compile, fullgraph) or "eager", the same definitions uncompiled.
        exclude: which parameters are left out of weight decay and layerwise scaling: "bias",
            "norm", names, or patterns such as "*.embed.*". The default is ("bias", "norm") where
            names are known (a module or named parameters), and none for bare tensors.
        hyperparameters: override those of the spec.

    Raises:
        EdslError: for a bad spec, value, mode or exclusion, or complex or sparse tensors.
        ValueError, TypeError: torch's own, for params it can't take.

    Example:
        >>> import torch, edsl
        >>> model = torch.nn.Linear(3, 1)
        >>> optimizer = edsl.compile("grad | e | sgd(lr=0.1)", model, mode="eager")
        >>> model(torch.ones(2, 3)).sum().backward()
        >>> optimizer.step()
    """

    mode = "compiled"

    def __init__(
        self,
        params: Any,
        spec: Any,
        *,
        mode: str = "compiled",
        exclude: Sequence[str] | None = None,
        **hyperparameters: Any,
    ) -> None:
        check_mode(mode)
        pipeline = as_pipeline(spec).override(**hyperparameters)
        if isinstance(params, nn.Module):
            exclude = names_in_module(params, exclude)
            params = list(params.named_parameters())
        self.mode = mode
        self.engine = Engine(pipeline, mode)
        defaults = {**self._hyperparameters(pipeline), "pipeline": str(pipeline), "exclude": exclude}
        tensors = {key: value for key, value in hyperparameters.items() if isinstance(value, Tensor)}
        self.pipeline = pipeline
        super().__init__(params, {**defaults, **tensors})

    @staticmethod
    def _hyperparameters(pipeline: Pipeline) -> dict[str, Any]:
        return dict(pipeline.hyperparameters)

    @property
    def compiled_graphs(self) -> int:
        """How many graphs were compiled so far."""
        return self.engine.graphs

    @property
    def fallbacks(self) -> list[str]:
        """Why graphs that could not be compiled run eagerly; empty when all is compiled."""
        return self.engine.fallbacks

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every parameter that has a gradient.

        Args:
            closure: evaluated first, with gradients enabled, to compute the loss.

        Returns:
            The closure's loss, or None.

        Raises:
            EdslError: for a sparse gradient, or a hyper-parameter that a schedule moved out of its domain.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            self._update()
        return loss

    def _update(self) -> None:
        self.engine.step(self.param_groups, self.state)

    @torch.no_grad()
    def watch(self) -> list[Watched]:
        """What the next step will compute on the way (√v̂, norms), for each parameter with a gradient."""
        return self.engine.watch(self.param_groups, self.state)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with hyper-parameters of their own; the others take the defaults.

        Raises:
            EdslError: for a value outside its domain, complex parameters, or an exclusion without names.
        """
        if isinstance(param_group, dict):
            param_group = self._checked(param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            group["exclude"] = excluded_names(group["exclude"], group.get("param_names"))
            for parameter in group["params"]:
                check_parameter(parameter)
        except BaseException:
            self.param_groups.pop()
            raise

    def _checked(self, group: dict[str, Any]) -> dict[str, Any]:
        """The group with its hyper-parameters under their canonical names, each in its domain."""
        if group.get("pipeline", self.defaults["pipeline"]) != self.defaults["pipeline"]:
            raise EdslError("param group: all groups of an optimizer have one pipeline; build another optimizer")
        live = self.pipeline.hyperparameters
        fixed = [key for key in group if key in self.pipeline.keys and key not in live and key not in self.defaults]
        if fixed:
            raise EdslError(f"param group: {fixed[0]} is fixed once the optimizer is built; write it in the spec")
        given = {
            key: value
            for key, value in group.items()
            if key in live or (key in ("betas", "eps") and key not in self.defaults)
        }
        values = read_arguments("param group", given, live).values
        if self.pipeline.override(**values).structure != self.pipeline.structure:
            raise EdslError("param group: a value that is None in one group must be None in all, and in the spec")
        for key in group:
            near = get_close_matches(key, live, n=1, cutoff=0.85)
            if near and key not in given and key not in self.defaults:
                raise EdslError(f"param group: unknown hyper-parameter {key!r}; did you mean {near[0]!r}?")
        return {**{key: value for key, value in group.items() if key not in given}, **values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over hyper-parameters and state; the dict's tensors are copied, in their own dtype.

        Raises:
            EdslError: when the checkpoint is not whole or belongs to another pipeline; the
                optimizer is then unchanged.
        """
        if not isinstance(state_dict, dict):
            self._check_checkpoint(state_dict)
        seen: list[dict[str, Any]] = []

        def check(optimizer: torch.optim.Optimizer, checkpoint: dict[str, Any]) -> None:
            self._check_checkpoint(checkpoint)
            seen.append(checkpoint)

        last = self.register_load_state_dict_pre_hook(check)  # after the user's, which may rewrite it
        try:
            super().load_state_dict(state_dict)
        finally:
            last.remove()
        self._restore_precision(seen[0])
        self.engine.forget_plans()

    def _check_checkpoint(self, checkpoint: Any) -> None:
        check_checkpoint(checkpoint, self.pipeline, self.defaults, self._parse, self.param_groups, self._buffers)

    def _buffers(self, saved_group: dict[str, Any]) -> tuple[str, ...]:
        """The names of the buffers that a parameter's state has under a group's values."""
        return Engine(self.pipeline, "eager").plan(0, saved_group, spared=False).buffers

    def _parse(self, text: str) -> Pipeline:
        """A saved pipeline, which may hold stages that only this optimizer knows."""
        own = [type(stage) for stage in self.pipeline.stages if not is_foreign(stage)]
        return parse(text, own)

    def _restore_precision(self, checkpoint: dict[str, Any]) -> None:
        """torch casts loaded state to the parameter's dtype; ours has the working dtype, and is a copy."""
        for group, saved_group in zip(self.param_groups, checkpoint["param_groups"]):
            names = self._buffers(saved_group)
            for parameter, number in zip(group["params"], saved_group["params"]):
                saved = checkpoint["state"].get(number)
                if saved is None:
                    continue
                state, dtype = self.state[parameter], working_dtype(parameter.dtype)
                state["step"] = saved["step"].clone()
                for name in names:
                    state[name] = saved[name].to(device=parameter.device, dtype=dtype, copy=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "mode": self.mode, "pipeline": self.pipeline}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "engine" not in self.__dict__:  # unpickled or copied, not loaded
            self.engine = Engine(self.pipeline, self.mode)


def check_mode(mode: Any) -> None:
    """Raises EdslError for a mode that isn't one."""
    if mode not in MODES:
        raise EdslError(f"mode must be 'compiled' or 'eager', got {shown(mode)}")


def compile(
    spec: Any,
    params: Any,
    *,
    mode: str = "compiled",
    exclude: Sequence[str] | None = None,
    **hyperparameters: Any,
) -> torch.optim.Optimizer:
    """The torch optimizer that a spec describes; see PipelineOptimizer for the arguments.

    A foreign optimizer alone, such as "torch.AdamW(lr=0.001)", is that optimizer itself; with
    adaptors before it, it is stepped on what they make of the gradient.

    Raises:
        EdslError: for a bad spec, value, mode or exclusion, or complex or sparse tensors.

    Example:
        >>> import torch, edsl
        >>> type(edsl.compile("torch.AdamW(lr=0.001)", torch.nn.Linear(3, 1))).__name__
        'AdamW'
    """
    from edsl.adapters.foreign import Foreign

    check_mode(mode)
    base = as_pipeline(spec)
    if not isinstance(base.update, Foreign):
        return PipelineOptimizer(params, base, mode=mode, exclude=exclude, **hyperparameters)
    pipeline = base.override(**hyperparameters)
    update = pipeline.update
    assert isinstance(update, Foreign)  # overriding keeps the stages
    if exclude:
        raise EdslError(f"exclude does not reach into {update.name}; give it param groups instead")
    if len(pipeline.stages) == 2:
        return update.build(params.parameters() if isinstance(params, nn.Module) else params)
    from edsl.adapters.around import AroundOptimizer

    return AroundOptimizer(params, pipeline, mode=mode, exclude=())
