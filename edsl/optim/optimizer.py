"""The torch.optim.Optimizer around a pipeline: groups, closures, state_dict."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from functools import lru_cache, partial
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from edsl.distributed.agreement import check_agreement
from edsl.distributed.collectives import is_zero
from edsl.distributed.sharding import placed
from edsl.engine.engine import MODES, Engine
from edsl.engine.lost_updates import in_half_precision, is_due, lost_updates, warning
from edsl.engine.watching import Watched
from edsl.errors import EdslError, shown
from edsl.groups.exclusion import excluded_names, names_in_module
from edsl.groups.names import Names
from edsl.groups.param_groups import Share, is_whole, split, whole
from edsl.groups.routing import check_patterns, kinds_in_module, route_of
from edsl.language.arguments import read_arguments
from edsl.language.caller import warn_user
from edsl.language.doubts import disordered, outside_bounds
from edsl.language.pipeline import Pipeline
from edsl.language.registry.blame import blamed
from edsl.language.registry.provenance import KEY, marks
from edsl.language.spec import as_pipeline, read
from edsl.optim.autocast import Switch, autocast_off, called_in, is_autocast_on
from edsl.optim.checkpoint import check_checkpoint, completed, in_order_of_names
from edsl.step.checks import check_flattened, check_steppable
from edsl.step.layout import check_parameter
from edsl.step.oracle import Oracle, ParameterSlot, nonfinite
from edsl.step.plan import GroupPlan, buffer_names
from edsl.step.rehearsal import rehearse
from edsl.step.state_dtype import dtype_of_state, read_state_dtype


class PipelineOptimizer(torch.optim.Optimizer):
    """A pipeline as a torch optimizer.

    Every hyper-parameter of the pipeline is a key of each param group, under its name in the spec,
    and may change between any two steps. State is kept per parameter as `step` and
    `<stage>.<buffer>`, in float32 for half-precision parameters.

    Args:
        params: a module, tensors, (name, tensor) pairs, or param groups, which may override any
            hyper-parameter.
        spec: a spec, a Pipeline, or a base update alone.
        mode: "compiled": native code on a CPU, torch.compile (fullgraph) for what that can't do;
            "inductor": torch.compile alone; "eager": the same definitions uncompiled.
        exclude: which parameters are left out of weight decay and layerwise scaling: "bias",
            "norm", names, or patterns such as "*.embed.*". The default is ("bias", "norm") where
            names are known (a module or named parameters), and none for bare tensors.
        maximize: climb instead of descend; every param group may say so for itself.
        state_dtype: "float32", "bfloat16", … for all state, whatever the parameters' dtype, or for some
            buffers, as {"lamb.m": "bfloat16"}; arithmetic stays in the parameters' dtype, or in float32.
            bfloat16 state is rounded stochastically.
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
    _evaluating = False
    _stepping = 0  # the thread that takes a step
    _steps = 0  # in this process
    _told = False  # that updates round away
    _agreed = False  # with the other processes that train the same parameters
    _autocast: Switch = nullcontext  # the user's, while a step is taken

    def __init__(
        self,
        params: Any,
        spec: Any,
        *,
        mode: str = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        **hyperparameters: Any,
    ) -> None:
        check_mode(mode)
        if not isinstance(maximize, bool):
            raise EdslError(f"maximize must be True or False, got {shown(maximize)}")
        base = as_pipeline(spec)
        pipeline = base.override(**hyperparameters)
        warn_user(
            self._doubts(spec, base, pipeline),
            (__name__, "edsl.optim.compile", "edsl.optim.classes", "edsl.optim.foreign"),
        )
        rehearse(pipeline)
        self.kinds: dict[str, tuple[str, ...]] | None = None  # by name, where it is built from a module
        names = Names()
        if isinstance(params, nn.Module):
            names = Names(params, exclude)
            exclude = names_in_module(params, exclude)
            self.kinds = kinds_in_module(params)
            params = list(params.named_parameters())
            check_patterns(tuple(pipeline.branches), [name for name, _ in params])
        self.mode = mode
        self.state_dtype = read_state_dtype(state_dtype, buffer_names(pipeline))
        self.engine = Engine(pipeline, mode, self.state_dtype, names)
        self.engine.kinds = self.kinds or {}
        defaults = {
            **self._hyperparameters(pipeline),
            "pipeline": str(pipeline),
            "exclude": exclude,
            "maximize": maximize,
        }
        if pipeline.estimator.calls > 1:
            defaults["calls"] = 0
        if pipeline.nonfinite_policy:
            defaults["nonfinite_steps"] = 0
        if "" not in pipeline.branches:
            defaults["route"] = ""
        if authored := marks(pipeline):
            defaults[KEY] = authored
        given = hyperparameters.items()
        self.tensors = {key: value for key, value in given if key in pipeline.keys and isinstance(value, Tensor)}
        self.pipeline = pipeline
        self.watchers: list[Callable[[list[Watched]], None]] = []
        tensors = {key: value for key, value in self.tensors.items() if key in defaults}
        super().__init__(params, {**defaults, **tensors})
        self._check_trainable()

    @staticmethod
    def _doubts(spec: Any, base: Pipeline, pipeline: Pipeline) -> list[str]:
        """What to tell who builds the optimizer, but for what they heard when they built its stages."""
        heard = [] if isinstance(spec, str) else outside_bounds(base.stages)
        said = [line for line in outside_bounds(pipeline.stages) if line not in heard]
        return [*said, *disordered(pipeline.stages)]

    @staticmethod
    def _hyperparameters(pipeline: Pipeline) -> dict[str, Any]:
        """What every param group holds: of a pipeline with routes, what all routes have."""
        first, *others = pipeline.branches.values()
        shared = [key for key in first.hyperparameters if all(key in other.hyperparameters for other in others)]
        return {key: first.hyperparameters[key] for key in shared}

    @property
    def compiled_graphs(self) -> int:
        """How many steps were compiled so far, natively or by torch."""
        return self.engine.graphs

    @property
    def fallbacks(self) -> list[str]:
        """Why graphs that could not be compiled run eagerly; empty when all is compiled."""
        return self.engine.fallbacks

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every parameter that has a gradient.

        Args:
            closure: computes the loss. With `grad` and `sam` it is a whole training step's: zero the
                gradients, compute the loss, backward(). `spsa` and `hutchinson` want the loss alone.
                With every lr and gradient 0 none of them needs it: such a step only makes the state,
                as torch.distributed.checkpoint asks for before it loads.

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
            raise EdslError("step() inside evaluation_weights(): leave it first, to train the weights themselves")
        self._check_alone()
        self._check_unscaled()
        self._stepping = get_ident()
        try:
            if not is_autocast_on():
                return self._evaluate_and_update(closure)
            with autocast_off() as self._autocast:
                return self._evaluate_and_update(None if closure is None else called_in(self._autocast, closure))
        except EdslError:
            raise
        except Exception as reason:
            of_stage = blamed(reason)
            if of_stage is None:
                raise
            raise of_stage from reason
        finally:
            self._stepping = 0
            self._autocast = nullcontext
            self.engine.release_gradients()

    def _check_alone(self) -> None:
        """Raises EdslError while another step of this optimizer is under way."""
        if self._stepping == get_ident():
            raise EdslError("step() inside its own closure: a closure computes the loss; step outside of it")
        if self._stepping:
            raise EdslError(
                "step() while another thread takes a step of this optimizer: let one at a time step, under a lock"
            )

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Asked by torch's GradScaler, which tells its scale to an optimizer that can do something with it: refuse."""
        return self.pipeline.estimator.needs_closure

    def _check_unscaled(self) -> None:
        """Raises EdslError where a GradScaler steps, whose scaled loss an estimator would take for the loss."""
        told = [self.__dict__.pop(name, None) for name in ("grad_scale", "found_inf")]
        if told == [None, None]:
            return
        raise EdslError(
            f"{self.pipeline.estimator.name} evaluates the loss itself, which a GradScaler can't unscale: call "
            "step(closure) without the scaler, on the loss as it is (bfloat16 autocast needs no scaler)"
        )

    def _evaluate_and_update(self, closure: Callable[[], Any] | None) -> Any:
        if not self._agreed:
            check_agreement(self.pipeline, self.param_groups, self.state_dtype)
            self._agreed = True
        if closure is None and self.pipeline.estimator.needs_closure and self._only_makes_state():
            return self._make_state()
        looks = is_due(self._steps + 1) and not self._told and in_half_precision(self.param_groups)
        if self.engine.can_replay and not self.watchers and not looks:
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
                closure = lambda: loss  # noqa: E731 - it was called: a general step asks for no more
            if self.engine.replay(self.param_groups, self.state):
                self._steps += 1
                return loss
        oracle = self.engine.oracle(self.param_groups, self.state, closure)
        loss = oracle.estimator.evaluate(oracle)
        if oracle.ready and self._allowed_by_guard(oracle.slots):
            with torch.no_grad():
                for watcher in self.watchers:
                    watcher(self.engine.watch(self.param_groups, self.state, oracle.slots))
                if looks:
                    self._tell_of_lost_updates(oracle)
                self._update(oracle.slots)
            self._steps += 1
        if oracle.estimator.calls > 1:
            for group in self.param_groups:
                group["calls"] = 0 if oracle.ready else oracle.calls + 1
        return loss

    def _only_makes_state(self) -> bool:
        """Whether a step on the gradients that are there moves nothing: they, and every lr, are 0."""
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        rates = [group.get("lr", 1) for group in self.param_groups]
        return bool(gradients) and not any(map(bool, rates)) and all(map(is_zero, gradients))

    def _make_state(self) -> None:
        """Give every parameter with a gradient its whole state, as it is before the first step."""
        slots = self.engine.oracle(self.param_groups, self.state, lambda: None).slots
        new = [slot for slot in slots if not slot.is_known]
        for slot in new:
            slot.gradient = slot.parameter.grad
        with torch.no_grad():
            self._update(new)
        for slot in new:
            self.state[slot.parameter]["step"].zero_()

    def _allowed_by_guard(self, slots: list[ParameterSlot]) -> bool:
        """Whether the step may happen, by the pipeline's guard."""
        policy = self.pipeline.nonfinite_policy
        name = nonfinite(slots) if policy else None
        if name is None:
            return True
        if policy == "raise":
            raise EdslError(f"the gradient of parameter {name} is not finite; nothing was changed")
        for group in self.param_groups:
            group["nonfinite_steps"] += 1
        return policy == "zero"

    def _tell_of_lost_updates(self, oracle: Oracle) -> None:
        """Warn, once, where the next step rounds most updates of a parameter in half precision away."""
        preview = partial(self.engine.preview, self.param_groups, self.state)
        said = warning(lost_updates(preview, oracle.slots), oracle.k)
        self._told = bool(said)
        warn_user([said] if said else [], ("edsl.", "torch.", "contextlib"))

    def _update(self, slots: list[ParameterSlot]) -> None:
        self.engine.step(self.param_groups, self.state, slots)

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Inside, the parameters are the weights to evaluate with, such as `ema_weights` keeps.

        Afterwards they are the trained ones again, bit for bit. Without a stage that keeps such
        weights, and before the first step, they are the trained ones inside too.

        Example:
            >>> import torch, edsl
            >>> model = torch.nn.Linear(3, 1)
            >>> optimizer = edsl.compile("sgd(lr=0.1) | ema_weights(decay=0.9)", model)
            >>> with optimizer.evaluation_weights():
            ...     _ = model(torch.ones(2, 3))
        """
        if self._evaluating:
            raise EdslError("evaluation_weights() is entered already")
        trained: list[tuple[Tensor, Tensor]] = []
        self._evaluating = True
        try:
            with torch.no_grad():
                for parameter, weights in self._evaluated():
                    trained.append((parameter, parameter.detach().clone()))
                    parameter.copy_(weights)
            yield
        finally:
            self._evaluating = False
            with torch.no_grad():
                for parameter, weights in trained:
                    parameter.copy_(weights)

    def _evaluated(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each parameter that has taken a step and keeps other weights to evaluate with, and these."""
        for group in self.param_groups:
            for parameter in group["params"]:
                name = self.pipeline.branch(self._route_in(group, parameter)).evaluation_buffer
                state = self.state.get(parameter, {})
                if name in state and int(state["step"]) > 0:
                    if state[name].shape != parameter.shape:
                        raise EdslError("a parameter changed its shape: build a new optimizer")
                    yield parameter, state[name]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with hyper-parameters of their own; the others take the defaults.

        Where the pipeline has routes, the group names hyper-parameters as keywords do (lr, other_lr), and its
        parameters make a group for each route they take. Where the optimizer was built from a module, tensors may
        come without names: they have those of the module.

        Raises:
            EdslError: for a value outside its domain, complex parameters, an exclusion without
                names, or a parameter that no route takes.
        """
        before = len(self.param_groups)
        try:
            for group in self._parts(param_group) if isinstance(param_group, dict) else [param_group]:
                self._add(group)
        except BaseException:
            del self.param_groups[before:]
            raise

    def _parts(self, group: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The group, or what becomes of it where the pipeline has routes."""
        group = self._with_names(group)
        if "" in self.pipeline.branches or "route" in group:
            return iter([group])
        return split(self.pipeline, group, self._kinds())

    def _with_names(self, group: dict[str, Any]) -> dict[str, Any]:
        """A group of tensors without names, with those that the module or a number gives them.

        torch mixes no named and unnamed groups; here the names of the others are edsl's own doing.
        """
        params = group.get("params")
        if self.kinds is None or params is None or isinstance(params, set):
            return group
        listed = [params] if isinstance(params, Tensor) else list(params)
        if "param_names" in group or not all(isinstance(entry, Tensor) for entry in listed):
            return {**group, "params": listed}
        names = self.engine.names
        taken = [name for other in self.param_groups for name in other.get("param_names", ())]
        new = names.of_new(listed, len(self.param_groups), taken)
        return {"exclude": names.excluded(new), **group, "params": list(zip(new, listed))}

    def _kinds(self) -> dict[str, tuple[str, ...]] | None:
        """The kinds of the module's parameters, as it is now; of what is not in it none."""
        module = self.engine.names.module
        return self.kinds if module is None else kinds_in_module(module)

    def _add(self, group: dict[str, Any]) -> None:
        if isinstance(group, dict):
            group = self._checked(group)
        super().add_param_group(group)
        group = self.param_groups[-1]
        group["exclude"] = excluded_names(group["exclude"], group.get("param_names"))
        names = group.get("param_names", [""] * len(group["params"]))
        for name, parameter in zip(names, group["params"]):
            if parameter.requires_grad:  # a frozen one may be what it likes
                check_steppable(self.pipeline.branch(self._route_in(group, parameter)), parameter, name, self.kinds)
                check_flattened(self.pipeline, parameter, name)
        self.engine.names.meet(group)

    def _check_trainable(self) -> None:
        """Raises EdslError where no parameter can ever be stepped, as none of whole numbers can."""
        refused: EdslError | None = None
        for parameter in (parameter for group in self.param_groups for parameter in group["params"]):
            try:
                check_parameter(parameter)
            except EdslError as reason:
                refused = refused or reason
            else:
                return
        if refused is not None:
            raise refused

    def _route_in(self, group: dict[str, Any], parameter: Tensor) -> str:
        """The route that a parameter of a group takes."""
        if is_whole(self.pipeline, group):
            return route_of(parameter, None, tuple(self.pipeline.branches), None)
        return group.get("route", "")

    def _checked(self, group: dict[str, Any]) -> dict[str, Any]:
        """The group with its hyper-parameters under their canonical names, each in its domain."""
        if group.get("pipeline", self.defaults["pipeline"]) != self.defaults["pipeline"]:
            raise EdslError("param group: all groups of an optimizer have one pipeline; build another optimizer")
        if not isinstance(group.get("maximize", False), bool):
            raise EdslError(f"param group: maximize must be True or False, got {shown(group['maximize'])}")
        if is_whole(self.pipeline, group):
            return whole(self.pipeline, group, self.tensors)
        pipeline = self.pipeline.branch(group.get("route", ""))
        live = pipeline.hyperparameters
        if "" not in self.pipeline.branches:
            group = self._on_route(group, live)
        fixed = [key for key in group if key in pipeline.keys and key not in live and key not in self.defaults]
        if fixed:
            raise EdslError(f"param group: {fixed[0]} is fixed once the optimizer is built; write it in the spec")
        given = {
            key: value
            for key, value in group.items()
            if key in live or (key in ("betas", "eps") and key not in self.defaults)
        }
        values = read_arguments("param group", given, live, {"": pipeline.update.betas}).values
        if pipeline.override(**values).structure != pipeline.structure:
            raise EdslError("param group: a value that is None in one group must be None in all, and in the spec")
        for key in group:
            near = get_close_matches(key, live, n=1, cutoff=0.85)
            if near and key not in given and key not in self.defaults:
                raise EdslError(f"param group: unknown hyper-parameter {key!r}; did you mean {near[0]!r}?")
        own = {} if "" in self.pipeline.branches else {**live, **self._tensors_of(group["route"])}
        return {**own, **{key: value for key, value in group.items() if key not in given}, **values}

    def _on_route(self, group: dict[str, Any], live: Collection[str]) -> dict[str, Any]:
        """A group that names its route, with what it says under names of the whole pipeline under the route's own."""
        names = self.pipeline.names_on[group["route"]]
        found: dict[str, Any] = {}
        for key, value in group.items():
            elsewhere = key not in live and key in self.pipeline.keys
            if elsewhere and key not in names and key not in self.defaults:
                raise EdslError(
                    f"param group: {key} is another route's; a group of {group['route']} has {', '.join(live)}"
                )
            found[names[key] if elsewhere and key in names else key] = value
        return found

    def _tensors_of(self, route: str) -> dict[str, Tensor]:
        """The tensors among the hyper-parameters that the optimizer was built with, by their names on a route."""
        named = {self.pipeline.name_in(route, key): tensor for key, tensor in self.tensors.items()}
        return {name: tensor for name, tensor in named.items() if name}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over hyper-parameters and state; the dict's tensors are copied.

        Where both sides know names, parameters may have come into another order within a group.

        Raises:
            EdslError: when the checkpoint is not whole or belongs to another pipeline; the
                optimizer is then unchanged.
        """
        if not isinstance(state_dict, dict):
            self._check_checkpoint(state_dict)
        self.engine.names.follow(self.param_groups)  # which may have been edited since the last step
        seen: list[dict[str, Any]] = []

        def check(optimizer: torch.optim.Optimizer, checkpoint: dict[str, Any]) -> dict[str, Any]:
            checkpoint = self._completed(in_order_of_names(checkpoint, self.param_groups))
            self._check_checkpoint(checkpoint)
            seen.append(checkpoint)
            return checkpoint

        def restore(optimizer: torch.optim.Optimizer) -> None:
            self._restore_precision(seen[0])
            for group in self.param_groups:
                group.update({KEY: self.defaults[KEY]} if KEY in self.defaults else {})
            self.engine.forget_plans()

        last = self.register_load_state_dict_pre_hook(check)  # after the user's, which may rewrite it
        first = self.register_load_state_dict_post_hook(restore, prepend=True)  # before the user's, which may read it
        try:
            super().load_state_dict(state_dict)
        finally:
            last.remove()
            first.remove()

    def _options(self) -> dict[str, Any]:
        """What groups hold beside hyper-parameters, with the defaults: a checkpoint from before one may lack it."""
        others = {"pipeline", "route", "differentiable", *self._hyperparameters(self.pipeline)}  # the third is torch's
        return {**{key: value for key, value in self.defaults.items() if key not in others}, "exclude": ()}

    def _completed(self, checkpoint: Any) -> Any:
        return completed(checkpoint, self._options())

    def _check_checkpoint(self, checkpoint: Any) -> None:
        keys = [key for key in self.defaults if key != "differentiable"]  # which torch adds on loading
        check_checkpoint(checkpoint, self.pipeline, keys, self._parse, self.param_groups, self._plan_of, self._route_in)

    def _plan_of(self, saved_group: dict[str, Any], route: str) -> GroupPlan:
        """What parameters of a route share under a saved group's values, their buffers among it."""
        return Engine(self.pipeline, "eager").plan(0, saved_group, Share(route, spared=False))

    def _parse(self, text: str) -> Pipeline:
        """A saved pipeline, which may hold stages that only this optimizer knows."""
        stages = [stage for branch in self.pipeline.branches.values() for stage in branch.stages]
        own = [type(stage) for stage in stages if not stage.moves_weights]
        return read(text, own)

    def _restore_precision(self, checkpoint: dict[str, Any]) -> None:
        """torch casts loaded state to the parameter's dtype; ours has a dtype of its own, and is a copy."""
        for group, saved_group in zip(self.param_groups, checkpoint["param_groups"]):
            plan_of = lru_cache(partial(self._plan_of, saved_group))
            for parameter, number in zip(group["params"], saved_group["params"]):
                saved = checkpoint["state"].get(number)
                if saved is None:
                    continue
                state = self.state[parameter]
                state["step"] = saved["step"].to(torch.int64, copy=True)  # once a float32, which stops at 2²⁴
                for name in plan_of(self._route_in(group, parameter)).buffers:
                    dtype = dtype_of_state(self.state_dtype, name, parameter.dtype)
                    state[name] = placed(saved[name].to(device=parameter.device, dtype=dtype, copy=True), parameter)

    def state_dict(self) -> dict[str, Any]:
        """Hyper-parameters, names and state, as torch's optimizers give them; see `load_state_dict`."""
        self.engine.names.follow(self.param_groups)  # which may have been edited since the last step
        return super().state_dict()

    def __getstate__(self) -> dict[str, Any]:
        self.engine.names.follow(self.param_groups)
        own = {key: getattr(self, key) for key in ("mode", "pipeline", "kinds", "state_dtype", "tensors")}
        return {**super().__getstate__(), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "engine" not in self.__dict__:  # unpickled or copied, not loaded
            self.engine = Engine(self.pipeline, self.mode, self.state_dtype)
            self.engine.kinds = self.kinds or {}
            self.watchers = []


def check_mode(mode: Any) -> None:
    """Raises EdslError for a mode that isn't one."""
    if mode not in MODES:
        raise EdslError(f"mode must be 'compiled', 'inductor' or 'eager', got {shown(mode)}")
