"""Which route each parameter of a model takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from edsl.errors import EdslError
from edsl.exclusion import excluded_names, is_norm
from edsl.folding import KERNEL, kernels_in_module
from edsl.updates.route import BY_MODULE, KINDS

_HEADS = ("head", "lm_head", "classifier")
_EMBEDDING = re.compile(r"(^|\.)(\w*embed\w*|wte|wpe)$")


def kinds_in_module(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """The kinds of the modules that own each parameter, by the parameter's name; a tied one has several."""
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    owners: dict[int, list[str]] = {}
    for prefix, layer in module.named_modules(remove_duplicate=False):
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
            kind = "embedding"
        elif is_norm(layer):
            kind = "norm"
        elif prefix.rsplit(".", 1)[-1] in _HEADS or (linear and layer is linear[-1]):
            kind = "head"
        else:
            continue
        for parameter in layer.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(kind)
    kernels = kernels_in_module(module)
    return {
        name: (*owners.get(id(parameter), ()), *((KERNEL,) if name in kernels else ()))
        for name, parameter in module.named_parameters()
    }


def kinds_in_names(shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[str, ...]]:
    """As `kinds_in_module`, as far as names and shapes tell, where there is no module.

    An embedding is a layer called so, or wte, wpe; a norm one called like a normalisation (norm1, bn2,
    ln_f). A head is one called head, lm_head or classifier. Without one, and without an embedding that it
    could be tied to, it is the last layer with a matrix.
    """
    norms = excluded_names(("norm",), tuple(shapes))
    layers = {name: name.rpartition(".")[0] for name in shapes}
    embeddings = {layer for layer in layers.values() if _EMBEDDING.search(layer)}
    heads = {layer for layer in layers.values() if layer.rsplit(".", 1)[-1] in _HEADS}
    matrices = [layers[name] for name, shape in shapes.items() if len(shape) == 2]
    if not heads and not embeddings:
        heads = set(matrices[-1:])
    return {
        name: tuple(
            kind
            for kind, owns in (("embedding", layer in embeddings), ("norm", name in norms), ("head", layer in heads))
            if owns
        )
        for name, layer in layers.items()
    }


def check_patterns(routes: Sequence[str], names: Sequence[str]) -> None:
    """Raises EdslError for a pattern that no parameter of a module matches."""
    for route in routes:
        if route and route not in KINDS and not any(fnmatchcase(name, route) for name in names):
            raise EdslError(f"route: no parameter of this module is called {route!r}")


def route_of(parameter: Any, name: str | None, routes: Sequence[str], kinds: dict[str, tuple[str, ...]] | None) -> str:
    """The one route that takes a parameter; see `Route` for the order.

    Raises:
        EdslError: when none does, or when its name or module is needed and not known.
    """
    for route in routes:
        if route not in KINDS:
            if name is None:
                raise EdslError(f"route: {route!r} needs names: pass the module or model.named_parameters()")
            if fnmatchcase(name, route):
                return route
    by_module = [route for route in BY_MODULE if route in routes]
    if by_module:
        own = None if kinds is None or name is None else kinds.get(name)
        if own is None:
            raise EdslError(f"route: {by_module[0]}=… needs the module: edsl.compile(spec, model)")
        for route in by_module:
            if route in own:
                return route
    if isinstance(parameter, Tensor):
        rank = "matrix" if parameter.dim() >= 2 else "vector"
        for route in (rank, "other"):
            if route in routes:
                return route
        which = f"parameter {name}" if name else "a parameter"
        raise EdslError(f"route: nothing takes {which} of shape {tuple(parameter.shape)}; add other=…, such as adamw")
    return routes[0]  # no tensor: torch will say so
