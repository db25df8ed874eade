"""The names of parameters, which go with the tensors wherever their owner puts them.

Names decide what is left out of weight decay, which route a parameter takes and which noise it gets. A param
group holds them beside its tensors, in a list of its own, as torch does; but the list of tensors is the user's,
who may filter frozen ones out, append some, move some to another group or put others in their places.
"""

from __future__ import annotations

import weakref
from collections.abc import Container, Iterable, Sequence
from operator import is_
from typing import Any

from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from edsl.errors import EdslError
from edsl.groups.exclusion import excluded_names, names_in_module


class Names:
    """What each tensor of some param groups is called, and whether it is excluded.

    A tensor has

    1. the name with which it came, in whatever group it is now;
    2. if it is new, its name in the module that the optimizer was built from;
    3. else that of the tensor in whose place it stands, if that one is gone and the list is as long as before
       (so FSDP and Accelerate replace parameters);
    4. else a number; nothing excludes it then, as of bare tensors.

    Groups whose tensors came without names stay so.

    Args:
        module: what the optimizer was built from, if it was a module; it is not kept alive.
        patterns: what was to be excluded, as the user wrote it.
    """

    def __init__(self, module: nn.Module | None = None, patterns: Sequence[str] | None = None) -> None:
        self._module = None if module is None else weakref.ref(module)
        self._patterns = patterns
        self._known: Any = WeakIdKeyDictionary()  # tensor → its name, and whether it is excluded
        self._seen: dict[int, tuple[list[str], list[Any]]] = {}  # by group: its names, and its tensors weakly

    @property
    def module(self) -> nn.Module | None:
        """The module that the optimizer was built from, while it is alive."""
        return None if self._module is None else self._module()

    def excluded(self, names: Sequence[str]) -> tuple[str, ...]:
        """Which of these names of the module's parameters are excluded."""
        module = self.module
        if module is None:
            return ()
        try:
            excluded = names_in_module(module, self._patterns)
        except EdslError:  # a name that was excluded is gone from the module
            excluded = excluded_names(self._patterns, names)
        return tuple(name for name in names if name in excluded)

    def of_new(self, tensors: Sequence[Tensor], group: int, taken: Iterable[str]) -> list[str]:
        """Names for tensors that came without: the module's own, else numbers."""
        own, used, found = self._in_module(), set(taken), []
        for place, tensor in enumerate(tensors):
            found.append(_unlike(own.get(id(tensor), f"{group}.{place}"), used))
            used.add(found[-1])
        return found

    def _in_module(self) -> dict[int, str]:
        """The names of the module's parameters as it is now, by their ids."""
        module = self.module
        return {} if module is None else {id(parameter): name for name, parameter in module.named_parameters()}

    def follow(self, groups: Sequence[dict[str, Any]]) -> None:
        """Bring each group's `param_names` and `exclude` in line with its tensors."""
        if all(map(self._stands, groups)):
            return
        for group in groups:
            self._note_excluded(group)
        for group in groups:
            if self._was_named_anew(group):
                self._learn(group)
        for index, group in enumerate(groups):
            if "param_names" in group and not self._stands(group):
                self._rename(index, group, groups)
        self._seen = {id(group): _noted(group) for group in groups if "param_names" in group}

    def meet(self, group: dict[str, Any]) -> None:
        """Take note of a new group."""
        if "param_names" in group:
            self._learn(group)
            self._seen[id(group)] = _noted(group)

    def forget(self) -> None:
        """Take the groups' names anew, as after loading a checkpoint."""
        self._known.clear()
        self._seen.clear()

    def _before(self, group: dict[str, Any]) -> tuple[list[str], list[Any]]:
        """The names and tensors that a group had when it was last seen."""
        names, tensors = self._seen.get(id(group), ([], []))
        return names, [tensor() for tensor in tensors]

    def _stands(self, group: dict[str, Any]) -> bool:
        """Whether a group has the tensors and names that it had."""
        if "param_names" not in group:
            return True
        names, tensors = self._seen.get(id(group), (None, ()))
        params = group["params"]
        return (
            names == group["param_names"]
            and len(tensors) == len(params)
            and all(map(is_, [tensor() for tensor in tensors], params))
        )

    def _note_excluded(self, group: dict[str, Any]) -> None:
        """What a group excludes by now of the tensors that it had."""
        excluded = frozenset(group.get("exclude", ()))
        for name, tensor in zip(*self._before(group)):
            if tensor is not None:
                self._known[tensor] = (name, name in excluded)

    def _was_named_anew(self, group: dict[str, Any]) -> bool:
        """Whether its owner named each tensor: the group is new, or both its lists are."""
        named = "param_names" in group and len(group["param_names"]) == len(group["params"])
        return named and self._seen.get(id(group), (None, ()))[0] != list(group["param_names"])

    def _learn(self, group: dict[str, Any]) -> None:
        excluded = frozenset(group.get("exclude", ()))
        for tensor, name in zip(group["params"], group["param_names"]):
            before, spared = self._known.get(tensor, ("", False))
            self._known[tensor] = (str(name), name in excluded or (spared and before == name))
        self._exclude_arrived(group)

    def _rename(self, index: int, group: dict[str, Any], groups: Sequence[dict[str, Any]]) -> None:
        params, names, own = group["params"], list(group["param_names"]), self._in_module()
        present = {self._known[p][0] for one in groups for p in one["params"] if p in self._known}
        for place, tensor in enumerate(params):
            if tensor in self._known:
                continue
            if id(tensor) not in own and len(names) == len(params) and names[place] not in present:
                name, spared = names[place], names[place] in group.get("exclude", ())
            else:
                name = _unlike(own.get(id(tensor), f"{index}.{place}"), present)
                spared = bool(self.excluded([name]))
            present.add(name)
            self._known[tensor] = (name, spared)
        group["param_names"] = [self._known[p][0] for p in params]
        self._exclude_arrived(group)

    def _exclude_arrived(self, group: dict[str, Any]) -> None:
        """What is new in a group is excluded from here as it was from where it came."""
        had, excluded = {id(tensor) for tensor in self._before(group)[1]}, group.get("exclude", ())
        new = [self._known[tensor] for tensor in group["params"] if id(tensor) not in had]
        arrived = [name for name, spared in new if spared and name not in excluded]
        if arrived:
            group["exclude"] = (*excluded, *arrived)


def _noted(group: dict[str, Any]) -> tuple[list[str], list[Any]]:
    return list(group["param_names"]), [weakref.ref(tensor) for tensor in group["params"]]


def _unlike(name: str, taken: Container[str]) -> str:
    """The name, or a longer one that is not taken."""
    while name in taken:
        name = f"{name}_"
    return name
