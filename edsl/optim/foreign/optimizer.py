"""E around another package's optimizer (Zhao et al. 2025, Algorithm 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from edsl.errors import EdslError, malformed_checkpoint
from edsl.language.pipeline import Pipeline
from edsl.language.registry.provenance import KEY
from edsl.language.schedules.group import SCALES, TEXTS, TOTAL
from edsl.optim.evaluation import evaluating_alone
from edsl.optim.foreign.build import example, takes_flags
from edsl.optim.foreign.kept import ATTRIBUTES, attributes_of, is_data, key_of, named, restored, set_attributes
from edsl.optim.foreign.modes import has_modes
from edsl.optim.foreign.probe import probing
from edsl.optim.optimizer import PipelineOptimizer
from edsl.step.oracle import ParameterSlot
from edsl.step.parameter import ParameterStep, flowing_out
from edsl.updates.foreign import Foreign


class ForeignOptimizer(PipelineOptimizer):
    """Adaptors before a foreign optimizer, as one optimizer with one state_dict.

    The adaptors turn each g into u; the foreign optimizer steps on u and finds g put back after.
    It steps on this optimizer's param groups, without what is edsl's in them. Its state lies in the state of
    each parameter, beside the adaptors', as `torch.AdamW.exp_avg` and so on, and what it keeps for all of them
    in the first group, so schedulers, checkpoints and resuming reach all of it. Both count steps alike, and `step`
    is kept once.

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
        return {**_shared(_foreign(pipeline)), **pipeline.hyperparameters}

    def _options(self) -> dict[str, Any]:
        theirs = _shared(_foreign(self.pipeline)).items()
        known = {key: value for key, value in theirs if value is None or value is False or not is_data(value)}
        return {**super()._options(), **known}

    @property
    def _prefix(self) -> str:
        return f"{self.pipeline.update.name}."

    def _update(self, slots: list[ParameterSlot]) -> None:
        inner = self._wrapped()
        items = self.engine.step(self.param_groups, self.state, slots)
        self._hand_over(inner, [(item.parameter, item.state, item.k - 1) for item in items])
        try:
            with _stepping_on_u(items), self._steps.autocast():
                _step_without_hooks(inner)
        except Exception as reason:  # another package's optimizer may raise anything
            raise self._explained(reason) from None
        self._counted = {id(item.parameter): (item.k, inner.state[item.parameter].get("step")) for item in items}
        self._take_back(inner, [(item.parameter, item.state) for item in items])

    def _explained(self, reason: Exception) -> Exception:
        """What its step raised, or that it needs a closure, which it isn't given: the loss was evaluated before."""
        if isinstance(reason, EdslError) or "closure" not in str(reason).lower():
            return reason
        return EdslError(f"{self.pipeline.update.name} evaluates the loss itself: it works alone, not behind a stage")

    def _in_evaluation(self) -> AbstractContextManager[None]:
        inner = self._wrapped()
        return self._evaluating_with(inner) if has_modes(inner) else super()._in_evaluation()

    @contextmanager
    def _evaluating_with(self, inner: Any) -> Iterator[None]:
        """Inside, the foreign optimizer has all state, and is switched to evaluation."""
        known = [(parameter, state) for parameter, state in self.state.items() if int(state["step"]) > 0]
        self._hand_over(inner, [(parameter, state, int(state["step"])) for parameter, state in known])
        try:
            with evaluating_alone(inner):
                yield
        finally:
            self._take_back(inner, known)

    def _wrapped(self) -> Any:
        """The foreign optimizer; made anew where copying and pickling have left it behind."""
        inner: Any = self.__dict__.get("_inner")
        if inner is None:
            update = _foreign(self.pipeline)
            if update.value_of("maximize"):
                update = update.replace({"maximize": False})  # the adaptors have had −g already
            inner = self._inner = update.build([self._theirs(group) for group in self.param_groups])
            self._made = dict(inner.state)  # state from before any step, as Adagrad's
            self._counted: dict[int, tuple[int, Any]] = {}  # by a parameter's id: its steps, and its own count of them
            for group in self.param_groups:
                self._complete(group)
            self._begun = attributes_of(inner)
            set_attributes(inner, self.__dict__.pop("_attributes", {}))
        return inner

    def _complete(self, group: dict[str, Any]) -> None:
        """Give a group what its class puts into one."""
        (theirs,) = _foreign(self.pipeline).build([self._theirs(group)]).param_groups
        for key, value in theirs.items():
            group.setdefault(key, value)

    def _add(self, group: Any, factors: dict[str, float]) -> None:
        theirs: dict[str, Any] = {}
        if isinstance(group, dict) and takes_flags(_foreign(self.pipeline)):  # whose groups differ in what they hold
            ours = {"params", "param_names", *self.defaults, *self.pipeline.hyperparameters}
            theirs = {key: value for key, value in group.items() if key not in ours}
            group = {key: value for key, value in group.items() if key in ours}
        super()._add(group, factors)
        self.param_groups[-1].update(theirs)
        if "_inner" in self.__dict__:  # which has not met this group
            self._complete(self.param_groups[-1])

    @cached_property
    def _ours(self) -> frozenset[str]:
        """What param groups hold that is none of the foreign optimizer's business."""
        theirs = {"params", *_foreign(self.pipeline).defaults()}
        return frozenset({*self.defaults, TEXTS, TOTAL, SCALES, KEY, ATTRIBUTES, "param_names"} - theirs)

    def _theirs(self, group: dict[str, Any]) -> dict[str, Any]:
        """A group without what is edsl's. It descends, whatever the group does: the adaptors have had −g already."""
        own = {key: value for key, value in group.items() if key not in self._ours and not key.startswith(self._prefix)}
        return {**own, "maximize": False} if "maximize" in own else own

    def _hand_over(self, inner: Any, handed: Sequence[tuple[Tensor, dict[str, Any], int]]) -> None:
        """Give it its groups, and the state of parameters that have taken so many steps, under its own names."""
        inner.param_groups = [self._theirs(group) for group in self.param_groups]
        prefix, states = self._prefix, {}
        for parameter, state, steps in handed:
            for key, value in self._made.pop(parameter, {}).items():
                if key != "step":
                    state.setdefault(prefix + named(key), value)
            own = {key_of(name[len(prefix) :]): value for name, value in state.items() if name.startswith(prefix)}
            if own or steps > 0:
                own |= self._count(parameter, steps)
            states[parameter] = own
        for key in [key for key in self._made if not isinstance(key, Tensor)]:
            self.param_groups[0].setdefault(prefix + named(key), self._made.pop(key))
        of_all = {name: value for name, value in self.param_groups[0].items() if name.startswith(prefix)}
        inner.state.clear()
        inner.state.update({key_of(name[len(prefix) :]): value for name, value in of_all.items()})
        inner.state.update(states)

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

    def _take_back(self, inner: Any, handed: Sequence[tuple[Tensor, dict[str, Any]]]) -> None:
        """Keep what it holds, so that between steps it has none; what is of no parameter, in the first group."""
        prefix = self._prefix
        for group, theirs in zip(self.param_groups, inner.param_groups):
            for key in [key for key in group if key not in self._ours and key not in theirs]:
                if not key.startswith(prefix):
                    del group[key]
            group.update({key: value for key, value in theirs.items() if key not in ("params", "maximize")})
            theirs["params"] = []  # it keeps no parameter alive that its group no longer has
        for parameter, state in handed:
            for key, value in inner.state.pop(parameter, {}).items():
                if key != "step":
                    state[prefix + named(key)] = value
        of_all = ((key, value) for key, value in inner.state.items() if not isinstance(key, Tensor))
        self.param_groups[0].update({prefix + named(key): value for key, value in of_all})
        inner.state.clear()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._counted = {}

    def state_dict(self) -> dict[str, Any]:
        """As of any pipeline; classes and functions in its groups are left to the class, which puts them there."""
        whole = super().state_dict()
        groups = [{key: value for key, value in group.items() if is_data(value)} for group in whole["param_groups"]]
        if attributes := self._changed():
            groups[0][ATTRIBUTES] = attributes
        return {**whole, "param_groups": groups}

    def _changed(self) -> dict[str, Any]:
        """The attributes of the foreign optimizer that aren't as they were when it was built."""
        now = attributes_of(self._wrapped())
        return {name: value for name, value in now.items() if name not in self._begun or self._begun[name] != value}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_attributes": self._changed()}

    def _accepted(self, checkpoint: Any) -> dict[str, Any]:
        accepted = super()._accepted(self._flattened(checkpoint))
        for state in accepted["state"].values() if self._keeps_state else ():
            if int(state["step"]) > 0 and not any(key.startswith(self._prefix) for key in state):
                name = self.pipeline.update.name
                raise malformed_checkpoint(f"a parameter's state has none of {name}")
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
        inner = self._wrapped()
        for group, saved in zip(self.param_groups, checkpoint["param_groups"]):
            set_attributes(inner, group.pop(ATTRIBUTES, {}))
            self._complete(group)
            for parameter, number in zip(group["params"], saved["params"]):
                state, kept = self.state.get(parameter, {}), checkpoint["state"].get(number, {})
                for key in [key for key in state if key.startswith(self._prefix)]:
                    state[key] = restored(kept[key], state[key], parameter.device)


@contextmanager
def _stepping_on_u(items: Sequence[ParameterStep]) -> Iterator[None]:
    """What flowed out of the adaptors as gradients, and the gradients put back after."""
    gradients = [(item.parameter, item.parameter.grad) for item in items]
    try:
        for item in items:
            item.parameter.grad = flowing_out(item)
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient


def _step_without_hooks(optimizer: Any) -> None:
    """A step that is a part of another's: torch's hooks and profiler range are of the whole."""
    step = type(optimizer).step
    (step.__wrapped__ if getattr(step, "hooked", False) else step)(optimizer)


@lru_cache(maxsize=32)
def _state_of(update: Foreign) -> dict[str, Any]:
    """What it keeps for a matrix after one step."""
    optimizer = update.build(example(update))
    matrix = optimizer.param_groups[0]["params"][0]
    matrix.grad = torch.zeros_like(matrix)
    try:
        with torch.no_grad(), probing():
            _step_without_hooks(optimizer)
    except Exception:  # another package's optimizer may raise anything
        return {}
    return optimizer.state.get(matrix, {})


def _shared(update: Foreign) -> dict[str, Any]:
    """What all its param groups hold: of one whose groups differ by a flag nothing, each gets its own."""
    return {} if takes_flags(update) else update.defaults()


def _foreign(pipeline: Pipeline) -> Foreign:
    update = pipeline.update
    assert isinstance(update, Foreign)  # edsl.compile chose this class for it
    return update
