"""The entrants of a sweep: one pipeline with every combination of some hyper-parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

from edsl.errors import EdslError, nearest, shown
from edsl.lab.races.controls import WITHOUT, controls_of
from edsl.lab.races.entrant import Entrant
from edsl.language.domain import plain, read_number
from edsl.language.spec import parse

MOST = 500  # combinations


class Swept(NamedTuple):
    """The entrants, and the combinations that the language refuses, each with its reason."""

    entrants: tuple[Entrant, ...]
    refused: tuple[tuple[str, str], ...]


def sweep(spec: str, grids: Sequence[str], controls: bool = True) -> Swept:
    """Every combination of the grids, and with `controls` the pipeline without E first, as baseline.

    Args:
        grids: texts such as "alpha=-5,0.5,5", each a hyper-parameter of the spec.

    Raises:
        EdslError: for a bad spec, a grid that can't be read, an unknown hyper-parameter, too many
            combinations, or none that the language accepts.
    """
    pipeline = parse(spec)
    axes = dict(_axis(grid, pipeline) for grid in grids)
    if not axes:
        raise EdslError("a sweep needs at least one grid, such as --grid alpha=-5,0.5,5")
    if len(axes) < len(grids):
        raise EdslError("a hyper-parameter has one grid: give all its values in one --grid")
    combinations = [dict(zip(axes, values)) for values in product(*axes.values())]
    if len(combinations) > MOST:
        raise EdslError(f"a sweep has at most {MOST} combinations, got {len(combinations)}")
    entrants: dict[str, Entrant] = {}
    refused: list[tuple[str, str]] = []
    if controls:
        for control in controls_of(pipeline):
            if control.name == WITHOUT:
                entrants[str(control.pipeline)] = Entrant(WITHOUT, str(control.pipeline), "", control.about)
    for values in combinations:
        name = ", ".join(f"{key}={plain(value)}" for key, value in values.items())
        try:
            canonical = str(pipeline.override(**values))
        except EdslError as reason:
            refused.append((name, str(reason)))
            continue
        entrants.setdefault(canonical, Entrant(name, canonical, values=values))
    if not any(entrant.values for entrant in entrants.values()):
        raise EdslError(f"no combination can be run: {_reasons(refused)}" if refused else "no combination is new")
    return Swept(tuple(entrants.values()), tuple(refused))


def _reasons(refused: Sequence[tuple[str, str]]) -> str:
    """Each kind of reason once, as the first combination has it."""
    kinds: dict[str, str] = {}
    for _, said in refused:
        kinds.setdefault(said.partition(", got")[0], said)
    return "; ".join(kinds.values())


def _axis(grid: str, pipeline: Any) -> tuple[str, list[Any]]:
    name, equals, text = grid.partition("=")
    name = name.strip()
    if not equals or not text:
        raise EdslError(f"a grid is NAME=VALUE,VALUE,…, such as alpha=-5,0.5,5; got {shown(grid)}")
    if name not in pipeline.keys:
        raise EdslError(
            f"grid {shown(grid)}: unknown hyper-parameter {name!r}; {nearest(name, pipeline.keys, 'known')}"
        )
    return name, [_value(part.strip()) for part in text.split(",")]


def _value(text: str) -> Any:
    """A number, True or False, or a word; raises EdslError for a number that no float holds."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, read_number):
        try:
            return kind(text)
        except EdslError:
            raise
        except ValueError:
            continue
    return text
