"""Where each parameter of a model stands: in which of its layers, and how many inputs a matrix has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from torch import Tensor, nn

from edsl.errors import EdslError
from edsl.groups.param_groups import must_stay_whole
from edsl.groups.routing import kinds_in_module, kinds_in_names
from edsl.language.schedules.group import SCALES
from edsl.language.schedules.layerwise import Layer, Layerwise, scales_of
from edsl.step.parts.matrices import EXPERTS, KERNEL, TRANSPOSED

Kinds = Mapping[str, Sequence[str]]  # of a module's parameters, by name
Factors = dict[str, float]  # by the keys of what they multiply


def layer_numbers(names: Sequence[str], kinds: Kinds) -> dict[str, int]:
    """The number of each parameter's layer, from 0 for what is nearest to the input.

    A block is what a name leads to up to its first number, as transformer.h.3 in transformer.h.3.mlp.weight; without
    numbers in any name it is the module that owns the parameter. Blocks are counted from 1 in the order of the names.
    What is in no block is of layer 0 if it comes before all of them or is an embedding, of the layer behind the last
    if it comes after them or is a head, else of the block before it. timm counts so too.

    Example:
        >>> from edsl.groups.layers import layer_numbers
        >>> layer_numbers(["embed.weight", "h.0.weight", "h.1.weight", "norm.weight"], {})
        {'embed.weight': 0, 'h.0.weight': 1, 'h.1.weight': 2, 'norm.weight': 3}
    """
    blocks = {name: _block(name) for name in names}
    if not any(blocks.values()):
        blocks = {name: name.rpartition(".")[0] for name in names}
    number = {block: place for place, block in enumerate(dict.fromkeys(filter(None, blocks.values())), start=1)}
    found, before = {}, 0
    for name in names:
        own, behind = kinds.get(name, ()), len(number) + 1
        if blocks[name]:
            found[name] = before = number[blocks[name]]
        elif "embedding" in own:
            found[name] = 0
        else:
            found[name] = behind if "head" in own or before == len(number) else before
    return found


def _block(name: str) -> str:
    """A name up to its first number, "" without one."""
    parts = name.split(".")
    place = next((place for place, part in enumerate(parts) if part.isdigit()), None)
    return "" if place is None else ".".join(parts[: place + 1])


def inputs_of(shape: Sequence[int], kinds: Sequence[str]) -> int | None:
    """The inputs of a matrix: features, or the channels of a kernel; None of vectors and embeddings."""
    if len(shape) < 2 or "embedding" in kinds:
        return None
    if TRANSPOSED in kinds:
        return shape[0]
    if EXPERTS in kinds and len(shape) == 3:
        return shape[2]
    return shape[1] if KERNEL in kinds or len(shape) in (4, 5) else prod(shape[1:])


class Layers:
    """The layers of a model, as its module or the names of its parameters tell them.

    Args:
        module: what the optimizer is built from, if it is a module; it is not kept.
        params: what it is given else, of which some may be named.
    """

    def __init__(self, module: nn.Module | None, params: Any) -> None:
        if module is not None:
            self.names, self.kinds = [name for name, _ in module.named_parameters()], kinds_in_module(module)
        else:
            shapes = dict(_named_shapes(params))
            self.names, self.kinds = list(shapes), kinds_in_names(shapes) if shapes else {}
        self._numbers = layer_numbers(self.names, self.kinds)
        self._last = max(self._numbers.values(), default=0)

    def layer(self, parameter: Any, name: str | None) -> Layer:
        """Where a parameter stands."""
        number = None if name is None else self._numbers.get(name)
        kinds = self.kinds.get(name, ()) if name is not None else ()
        inputs = inputs_of(parameter.shape, kinds) if isinstance(parameter, Tensor) else None
        return Layer(inputs, None if number is None else self._last - number)

    def parts(
        self, group: dict[str, Any], layerwise: Mapping[str, Layerwise]
    ) -> Iterator[tuple[dict[str, Any], Factors]]:
        """A group in parts, each of parameters with the same factors, and these factors.

        Args:
            layerwise: what differs from layer to layer, by its key in the group.

        Raises:
            EdslError: for a parameter whose layer is not known, and for groups that must stay as they are.
        """
        params = group.get("params")
        if not layerwise or params is None or isinstance(params, set) or SCALES in group:
            yield group, {}
            return
        if must_stay_whole():
            key, value = next(iter(layerwise.items()))
            raise EdslError(f"ZeroRedundancyOptimizer keeps the groups that it gave, and {key}={value} needs others")
        listed = [params] if isinstance(params, Tensor) else list(params)
        named = list(group.get("param_names", ())) if isinstance(group.get("param_names"), (list, tuple)) else []
        parts: dict[tuple[float, ...], list[int]] = {}
        for place, entry in enumerate(listed):
            name, parameter = entry if isinstance(entry, tuple) and len(entry) == 2 else (None, entry)
            name = named[place] if name is None and len(named) == len(listed) else name
            layer = self.layer(parameter, name)
            _check_known(layer, name, layerwise)
            parts.setdefault(tuple(value.factor(layer) for value in layerwise.values()), []).append(place)
        for factors, places in (parts or {(1.0,) * len(layerwise): []}).items():
            own = {"params": [listed[place] for place in places]}
            if len(named) == len(listed) and named:
                own["param_names"] = [named[place] for place in places]
            yield {**group, **own}, dict(zip(layerwise, factors))


def _check_known(layer: Layer, name: str | None, layerwise: Mapping[str, Layerwise]) -> None:
    for key, value in layerwise.items():
        if layer.above is None and any(scale.form == "depth" for scale in scales_of(value)):
            if name is None:
                raise EdslError(f"{key}={value} needs names: pass the module or model.named_parameters()")
            raise EdslError(f"{key}={value}: no layer is known of {name}; build the optimizer from the module")


def listed(params: Any, module: nn.Module | None) -> tuple[Any, Layers]:
    """What an optimizer is given, with lists for generators, which can be read once only; and its layers.

    Args:
        module: what it is built from, if it is a module.
    """
    if isinstance(params, Iterator):
        params = list(params)
    if isinstance(params, (list, tuple)):
        groups = (isinstance(entry, dict) and isinstance(entry.get("params"), Iterator) for entry in params)
        params = [{**entry, "params": list(entry["params"])} if has else entry for entry, has in zip(params, groups)]
    return params, Layers(module, params)


def _named_shapes(params: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the parameters that have names, in order, in groups or not."""
    for entry in params if isinstance(params, (list, tuple)) else ():
        if isinstance(entry, dict):
            yield from _named_shapes(entry.get("params"))
        elif isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], Tensor):
            yield str(entry[0]), tuple(entry[1].shape)
