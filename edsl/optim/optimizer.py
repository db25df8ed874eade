"""The torch.optim.Optimizer around a pipeline: groups, closures, state_dict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from edsl.engine.engine import MODES, Engine
from edsl.engine.monitoring.watching import Watched
from edsl.engine.offload.engine import OffloadedEngine
from edsl.engine.paths import StepPath
from edsl.errors import EdslError, either, shown
from edsl.groups.exclusion import excluded_names, names_in_module
from edsl.groups.layers import listed
from edsl.groups.names import Names
from edsl.groups.routing import check_patterns, kinds_in_module
from edsl.language.caller import warn_user
from edsl.language.doubts import disordered, outside_bounds
from edsl.language.pipeline import Pipeline
from edsl.language.registry.provenance import KEY
from edsl.language.schedules.group import read_total
from edsl.language.spec import as_pipeline
from edsl.numerics.weights.forms import read_weights
from edsl.optim.checkpoint import check_checkpoint
from edsl.optim.evaluation import evaluated, in_place_of_trained
from edsl.optim.param_groups import (
    check_members,
    check_trainable,
    checked,
    matrices_in_groups,
    options_of,
    parts_of,
    plain_numbers,
    shared_hyperparameters,
    with_schedules,
)
from edsl.optim.restore import around_loading, completed, in_order_of_names, in_own_form, received, restore_state, sent
from edsl.optim.steps import StepCall, Steps, check_unscaled
from edsl.step.checks import check_offload
from edsl.step.oracle import ParameterSlot
from edsl.step.plan import structures_of
from edsl.step.rehearsal import rehearse
from edsl.step.state_dtype import read_state_dtype


class PipelineOptimizer(torch.optim.Optimizer):
    """A pipeline as a torch optimizer.

    Every hyper-parameter is a key of each param group, under its name in the spec; real numbers may change between any
    two steps. State is per parameter: `step` and `<stage>.<buffer>`, in float32 for half-precision weights by default.

    Args:
        params: a module, tensors, (name, tensor) pairs, or param groups, which may override any hyper-parameter.
        spec: a spec, a Pipeline, or a base update alone.
        mode: "compiled": native code on a CPU, Triton kernels on an NVIDIA GPU, torch.compile for what these can't
            do; "inductor": torch.compile alone; "eager": the same definitions uncompiled.
        exclude: which parameters are excluded from weight decay and layerwise scaling: "bias", "norm", names, or
            patterns such as "*.embed.*". By default ("bias", "norm") where names are known (a module, or named
            parameters), and none for bare tensors.
        maximize: maximize the loss instead of minimizing it; param groups can override this.
        state_dtype: "float32", "bfloat16", … for all state, whatever the parameters' dtype, or for some
            buffers, as {"lamb.m": "bfloat16"}; arithmetic stays in the parameters' dtype, or in float32. "int8",
            "int4", "float8_e4m3fn" and "float8_e5m2" keep buffers of one value an element in codes, with a scale for
            each block of 256, beside factors in bfloat16. All of these are rounded stochastically.
        weights: how half-precision parameters keep what a step computes, or param groups theirs: "stochastic", rounded
            at random, right on average; "kahan", with a compensation; "split", with a low half; "nearest", as torch.
        reformat: load checkpoints whose weights or state were kept in another form, too.
        total_steps: T, the steps of the whole training, for schedules that need it.
        offload: keep the state of parameters on a GPU in the CPU's memory; it comes and goes beside others' steps.
        hyperparameters: override those of the spec.

    Raises:
        EdslError: for a bad spec, value, mode, dtype or exclusion, or complex or sparse tensors.
        ValueError, TypeError: torch's own, for params it can't take.

    Example:
        >>> import torch, edsl
        >>> model = torch.nn.Linear(3, 1)
        >>> optimizer = edsl.compile("grad | e | sgd(lr=0.1)", model, mode="eager")
        >>> model(torch.ones(2, 3)).sum().backward()
        >>> optimizer.step()
    """

    mode = "compiled"
    offload = reformat = _evaluating = False

    def __init__(
        self,
        params: Any,
        spec: Any,
        *,
        mode: str = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: str | None = None,
        reformat: bool = False,
        total_steps: int | None = None,
        offload: bool = False,
        **hyperparameters: Any,
    ) -> None:
        check_mode(mode)
        self.reformat, maximize = read_flag("reformat", reformat), read_flag("maximize", maximize)
        base = as_pipeline(spec)
        pipeline = base.override(**hyperparameters)
        warn_user(_doubts(spec, base, pipeline), ("edsl.optim.",))
        rehearse(pipeline)
        names = Names()
        self.kinds: dict[str, tuple[str, ...]] | None = None  # by name, where it is built from a module
        if isinstance(params, nn.Module):
            names, self.kinds = Names(params, exclude), kinds_in_module(params)
            exclude, params = names_in_module(params, exclude), list(params.named_parameters())
            check_patterns(tuple(pipeline.branches), [name for name, _ in params])
        params, self.layers = listed(params, names.module) if pipeline.layerwise else (params, None)
        self.mode, self.pipeline = mode, pipeline
        self.total_steps = read_total(total_steps)
        self.state_dtype = read_state_dtype(state_dtype, structures_of(pipeline))
        self.offload = read_offload(offload, pipeline)
        self.engine, self._steps = _engine_and_steps(self, names)
        own = options_of(pipeline, exclude, maximize, read_weights(weights), self.state_dtype)
        defaults = {**plain_numbers(self._hyperparameters(pipeline)), **own}
        self.tensors = {k: v for k, v in hyperparameters.items() if k in pipeline.keys and isinstance(v, Tensor)}
        self.watchers: list[Callable[[list[Watched]], None]] = []
        super().__init__(params, defaults | {k: tensor for k, tensor in self.tensors.items() if k in defaults})
        self._check_groups()

    def _check_groups(self) -> None:
        """Raises EdslError for param groups that can't be stepped, once they are all there."""
        check_trainable(self.param_groups)

    @staticmethod
    def _hyperparameters(pipeline: Pipeline) -> dict[str, Any]:
        """The hyper-parameters that every param group holds."""
        return shared_hyperparameters(pipeline)

    @property
    def compiled_graphs(self) -> int:
        """Number of compiled steps so far, native or by torch.compile."""
        return self.engine.graphs

    @property
    def matrices(self) -> dict[str, str]:
        """By name or place, how each parameter of a matrix update is taken: as one matrix, or as which ones."""
        return matrices_in_groups(self.param_groups, self.pipeline, self.kinds)

    def paths(self) -> dict[str, tuple[StepPath, ...]]:
        """By name, which path each parameter has stepped by, for each part of its pipeline, and why by no faster one.

        Empty before the first step. A step that repeats the last one is replayed, by the same kernels.
        """
        return self.engine.paths

    @property
    def fallbacks(self) -> list[str]:
        """Why some graphs run eagerly instead of compiled; empty if all are compiled."""
        return self.engine.fallbacks

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every parameter that has a gradient.

        Args:
            closure: computes the loss. With `grad` and `sam` it must do a training step's work: zero the
                gradients, compute the loss, call backward(). `spsa` and `hutchinson` need the loss only.
                If every lr and gradient is 0, none of them needs it: such a step only initialises the state,
                as torch.distributed.checkpoint requires before it loads.

        Returns:
            The loss, or None without a closure.

        Raises:
            EdslError: for an estimator without its closure, a closure that calls this step() again, a
                sparse gradient, or a hyper-parameter that a schedule moved out of its domain.
        """
        return self._step(closure)

    # A compiled training step calls what is compiled here. (torch.compiler.disable would load Dynamo at import.)
    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage]
    def _step(self, closure: Callable[[], Any] | None) -> Any:
        if self._evaluating:
            raise EdslError("step() inside evaluation_weights(): leave the block before training")
        check_unscaled(self.pipeline, self.__dict__)
        return self._steps.take(StepCall(self.param_groups, self.state, closure, self._update, self.watchers))

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Read by torch's GradScaler, which hands its scale to an optimizer where this is true: a step then refuses."""
        return self.pipeline.estimator.needs_closure

    def _update(self, slots: list[ParameterSlot]) -> None:
        self.engine.step(self.param_groups, self.state, slots)

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """A context in which the parameters are the weights for evaluation, such as those of `ema_weights`.

        On exit the trained weights are restored, bit for bit. Without a stage that keeps such weights, and before the
        first step, nothing changes. `edsl.evaluation_weights` does so for any optimizer.

        Raises:
            EdslError: inside another such context of this optimizer.
        """
        if self._evaluating:
            raise EdslError("evaluation_weights() is already active: leave it before entering it again")
        self._evaluating = True
        try:
            with self._in_evaluation():
                yield
        finally:
            self._evaluating = False

    def _in_evaluation(self) -> AbstractContextManager[None]:
        self.engine.settle(self.param_groups, self.state)
        return in_place_of_trained(evaluated(self.pipeline, self.param_groups, self.state, self.state_dtype))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own hyper-parameters; missing ones take the defaults.

        If the pipeline has routes, the group uses the names of keyword arguments (lr, other_lr), and its parameters
        form one group per route. Bare tensors get the names of the module that the optimizer was built from, if any.

        Raises:
            EdslError: for a value outside its domain, complex parameters, an exclusion without names, a lack of routes.
        """
        before = len(self.param_groups)
        try:
            names, kinds = self.engine.names, self.kinds
            for part in parts_of(param_group, self.pipeline, names, kinds, self.param_groups, self.layers):
                self._add(*part)
        except BaseException:
            del self.param_groups[before:]
            raise

    def _add(self, group: Any, factors: dict[str, float]) -> None:
        """Add a group whose parameters take one route, or whose names are the whole pipeline's."""
        if isinstance(group, dict):
            group = checked(group, self.pipeline, self.defaults, self.tensors)
            group = with_schedules(group, self.pipeline, self.total_steps, factors)
        super().add_param_group(group)
        group = self.param_groups[-1]
        group["exclude"] = excluded_names(group["exclude"], group.get("param_names"))
        check_members(group, self.pipeline, self.kinds)
        self.engine.names.meet(group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load hyper-parameters and state; the dict's tensors are copied.

        If both sides have parameter names, parameters may be reordered within a group.

        Raises:
            EdslError: when the checkpoint is malformed or of another pipeline; the optimizer is then unchanged.
        """
        if not isinstance(state_dict, dict):
            self._accepted(state_dict)
        self.engine.names.follow(self.param_groups)  # which may have been edited since the last step
        with around_loading(self, self._accepted, self._take_over):
            super().load_state_dict(state_dict)

    def _accepted(self, checkpoint: Any) -> dict[str, Any]:
        """A checkpoint as this optimizer would have written it; raises EdslError for one that it can't load."""
        checkpoint = completed(in_order_of_names(checkpoint, self.param_groups), self._options())
        keys = [key for key in self.defaults if key not in ("differentiable", "state_dtype")]  # torch adds the first
        checkpoint = received(checkpoint)
        kept = (self.state_dtype, self.reformat)
        check_checkpoint(checkpoint, self.pipeline, keys, self.param_groups, self.kinds, *kept)
        return in_own_form(checkpoint, self.pipeline, self.state_dtype, self.param_groups, self.kinds)

    def _options(self) -> dict[str, Any]:
        """What groups hold beside hyper-parameters, with the defaults: a checkpoint from before one may lack it."""
        own = {"pipeline", "route", "differentiable", "state_dtype"}  # the third is torch's
        others = own.union(self._hyperparameters(self.pipeline))
        return {**{key: value for key, value in self.defaults.items() if key not in others}, "exclude": ()}

    def _take_over(self, checkpoint: dict[str, Any]) -> None:
        """Mend what torch loaded: state in dtypes of its own, and stages that are those of this process."""
        restore_state(self.pipeline, self.state_dtype, self.param_groups, self.state, checkpoint)
        for group in self.param_groups:
            group.update({KEY: self.defaults[KEY]} if KEY in self.defaults else {})
        self.engine.forget_plans()
        self.engine.settle(self.param_groups, self.state)

    def state_dict(self) -> dict[str, Any]:
        """Hyper-parameters, names and state, as torch's optimizers give them; see `load_state_dict`."""
        self.engine.settle(self.param_groups, self.state)  # which may have been edited since the last step
        return sent(super().state_dict(), self.state_dtype)

    def __getstate__(self) -> dict[str, Any]:
        self.engine.settle(self.param_groups, self.state)
        own = ("mode", "pipeline", "kinds", "state_dtype", "reformat", "tensors", "total_steps", "layers", "offload")
        return {**super().__getstate__(), **{key: getattr(self, key) for key in own}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "engine" not in self.__dict__:  # unpickled or copied, not loaded
            self.engine, self._steps = _engine_and_steps(self)
            self.watchers = []


def _engine_and_steps(optimizer: PipelineOptimizer, names: Names | None = None) -> tuple[Engine, Steps]:
    """What runs an optimizer's pipeline, and what takes its steps."""
    kind = OffloadedEngine if optimizer.offload else Engine
    engine = kind(optimizer.pipeline, optimizer.mode, optimizer.state_dtype, names)
    engine.kinds = optimizer.kinds or {}
    return engine, Steps(engine)


def read_offload(offload: Any, pipeline: Pipeline) -> bool:
    """Whether state is kept in the CPU's memory; raises EdslError for anything but a bool, or where that can't be."""
    if read_flag("offload", offload):
        check_offload(pipeline)
    return offload


def read_flag(name: str, value: Any) -> bool:
    """An argument that is True or False; raises EdslError for anything else."""
    if not isinstance(value, bool):
        raise EdslError(f"{name} must be True or False, got {shown(value)}")
    return value


def check_mode(mode: Any) -> None:
    """Raises EdslError for a mode that isn't one."""
    if mode not in MODES:
        raise EdslError(f"mode must be {either(map(repr, MODES))}, got {shown(mode)}")


def _doubts(spec: Any, base: Pipeline, pipeline: Pipeline) -> list[str]:
    """The warnings about a pipeline's values, but for those that its stages gave when they were built."""
    given = [] if isinstance(spec, str) else outside_bounds(base.stages)
    new = [line for line in outside_bounds(pipeline.stages) if line not in given]
    return [*new, *disordered(pipeline.stages)]
