"""Which route each parameter of a model takes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from edsl.errors import EdslError, ShapeError, parameter_called
from edsl.groups.exclusion import excluded_names, is_norm
from edsl.groups.matrix_kinds import matrix_kinds_in_module, matrix_kinds_in_name
from edsl.updates.route import APART, BY_MODULE, KINDS

_HEADS = ("head", "lm_head", "classifier")
_EMBEDDING = re.compile(r"(^|\.)(\w*embed\w*|wte|wpe)$")
_GUESSED = "guessed"  # as a head: enough where a route asks for heads, but not to keep it from its matrix update
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def kinds_in_module(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """The kinds of the modules that own each parameter, by the parameter's name; a tied one has several.

    An embedding is an `nn.Embedding` or `nn.EmbeddingBag`, and a parameter that is itself called so, such as
    pos_embed. For heads see `heads_in_module`, for what tells of matrices `matrix_kinds_in_module`.
    """
    heads = {id(layer) for layer in heads_in_module(module)}
    owners: dict[int, list[str]] = {}
    for _, layer in module.named_modules(remove_duplicate=False):
        for name, parameter in layer.named_parameters(recurse=False):
            own = owners.setdefault(id(parameter), [])
            if isinstance(layer, _EMBEDDINGS) or _EMBEDDING.search(name):
                own.append("embedding")
            elif is_norm(layer):
                own.append("norm")
            elif id(layer) in heads:
                own.append("head")
    matrices = matrix_kinds_in_module(module)
    return {
        name: (*owners.get(id(parameter), ()), *matrices.get(name, ())) for name, parameter in module.named_parameters()
    }


def heads_in_module(module: nn.Module) -> list[nn.Module]:
    """The layers that a model ends in.

    1. What `get_output_embeddings()` of the model, or of one within it, returns;
    2. every layer called head, lm_head or classifier; of a container called so its last `Linear`;
    3. without any of these the last `Linear`, unless the model has embeddings and this is neither the last layer
       with parameters nor as wide as a vocabulary: then the head is tied to an embedding, or there is none.
    """
    declared = [_declared_head(layer) for layer in module.modules()]
    called = [
        _last_linear(layer) if not list(layer.parameters(recurse=False)) else layer
        for name, layer in module.named_modules(remove_duplicate=False)
        if name.rpartition(".")[2] in _HEADS
    ]
    found = [layer for layer in (*declared, *called) if layer is not None]
    if found:
        return list(dict.fromkeys(found))
    last = _last_linear(module)
    sizes = {layer.num_embeddings for layer in module.modules() if isinstance(layer, _EMBEDDINGS)}
    if last is None or (sizes and last is not _last_layer(module) and last.out_features not in sizes):
        return []
    return [last]


def _declared_head(layer: nn.Module) -> nn.Module | None:
    """The head that a Hugging Face model declares."""
    declared = getattr(layer, "get_output_embeddings", None)
    try:
        head = declared() if callable(declared) else None
    except (AttributeError, NotImplementedError):  # of a model without one
        return None
    return head if isinstance(head, nn.Module) else None


def _last_linear(module: nn.Module) -> nn.Linear | None:
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return linear[-1] if linear else None


def _last_layer(module: nn.Module) -> nn.Module | None:
    layers = [layer for layer in module.modules() if list(layer.parameters(recurse=False))]
    return layers[-1] if layers else None


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
    guessed = set(matrices[-1:]) if not heads and not embeddings else set()
    return {
        name: tuple(
            kind
            for kind, owns in (
                ("embedding", layer in embeddings or _EMBEDDING.search(name)),
                ("norm", name in norms),
                ("head", layer in heads | guessed),
                (_GUESSED, layer in guessed),
            )
            if owns
        )
        + matrix_kinds_in_name(name, shapes[name])
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
    own = () if kinds is None or name is None else kinds.get(name, ())
    by_module = [route for route in BY_MODULE if route in routes]
    if by_module and (kinds is None or name is None):
        raise EdslError(f"route: {by_module[0]}=… needs the module: edsl.compile(spec, model)")
    for route in by_module:
        if route in own:
            return route
    if isinstance(parameter, Tensor):
        ranks = ("matrix",) if parameter.dim() >= 2 else ("vector",)
        elsewhere = set(own) & set(APART) and not set(routes) & set(APART) and _GUESSED not in own
        for route in ("other", *ranks) if elsewhere else (*ranks, "other"):
            if route in routes:
                return route
        which = parameter_called(name)
        raise ShapeError(f"route: no route takes {which} of shape {tuple(parameter.shape)}; add other=…, such as adamw")
    return routes[0]  # no tensor: torch will say so
