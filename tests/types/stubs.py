"""Types of what `edsl` makes by name: edsl/__init__.pyi, a signature for every stage, recipe and optimizer class.

Type checkers and editors read it instead of `edsl/__init__.py`, which makes these names when they are asked for.

    python tests/types/stubs.py       writes edsl/__init__.pyi
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import edsl
from edsl.language.arguments import stands_for
from edsl.language.domain import Choice, Domain, Number, Split, Switch, Whole, plain
from edsl.language.pipeline import Pipeline
from edsl.language.registry.lookup import stage_class
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.stages import STAGES
from edsl.optim import classes
from edsl.updates.route import KINDS

STUB = Path(__file__).parents[2] / "edsl" / "__init__.pyi"

HEAD = '''"""Every stage and recipe as a function, every optimizer class: written by `make stubs`."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, SupportsFloat, TypeAlias

from torch import nn
from torch.optim.optimizer import ParamsT

'''

ALIASES = """
_Number: TypeAlias = float | SupportsFloat  # NumPy's and 0-d tensors too
_Link: TypeAlias = _Stage | _Chain
"""

PLUGINS = """
def __getattr__(name: str) -> Callable[..., _Stage]: ...  # a plugin's
"""

OPTIONS = (
    'mode: Literal["compiled", "inductor", "eager"] = "compiled"',
    "exclude: Sequence[str] | None = None",
    "maximize: bool = False",
    "state_dtype: Any = None",
    'weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None',
    "reformat: bool = False",
)


def type_of(domain: Domain) -> str:
    """The annotation of a hyper-parameter with this domain."""
    if isinstance(domain, Number):
        return "_Number | None" if domain.optional else "_Number"
    if isinstance(domain, Choice):
        return f"Literal[{', '.join(map(literal, domain.options))}]"
    if isinstance(domain, Split):
        return f"Literal[{', '.join(map(literal, domain.words))}] | tuple[str, ...] | tuple[int, ...]"
    return {Whole: "int", Switch: "bool"}[type(domain)]


def literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else plain(value)


def signature_of(domains: Mapping[str, tuple[Domain, Any]], betas: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A parameter for every argument of a stage or pipeline, then for the synonyms that stand for them."""
    found = [f"{name}: {type_of(domain)} = {literal(default)}" for name, (domain, default) in domains.items()]
    for synonym in (f"{prefix}{last}" for prefix in betas for last in ("betas", "eps")):
        targets = stands_for(synonym, betas)
        if targets and all(target in domains for target in targets):
            kind = f"tuple[{', '.join(['_Number'] * len(targets))}]" if synonym.endswith("betas") else "_Number"
            found.append(f"{synonym}: {kind} = ...")
    return found


def of_stage(cls: Any) -> list[str]:
    domains = {field.name: (field.metadata["domain"], field.default) for field in dataclasses.fields(cls)}
    return signature_of(domains, {"": getattr(cls, "betas", ())})


def of_pipeline(pipeline: Pipeline) -> list[str]:
    owners = {name: pipeline.owner_of(name) for name in pipeline.keys if name.isidentifier()}
    domains = {
        name: (type(stage).__dataclass_fields__[field].metadata["domain"], getattr(stage, field))
        for name, (stage, field) in owners.items()
    }
    batch_size = ["batch_size: int | None = None"] if {"alpha", "beta1"} <= domains.keys() else []
    return [*signature_of(domains, pipeline.betas), *batch_size]


def function(name: str, parameters: Iterable[str], result: str, about: str) -> str:
    listed = "".join(f"    {parameter},\n" for parameter in parameters)
    return f'\ndef {name}({chr(10) + listed if listed else ""}) -> {result}:\n    """{about}"""\n'


def optimizer(name: str) -> str:
    cls = getattr(classes, name)
    pipeline = edsl.parse(RECIPES[cls.recipe].text if cls.recipe in RECIPES else cls.recipe)
    first, *others = of_pipeline(pipeline)
    assert first.startswith("lr:"), f"{name}: a class takes its lr by position"
    own = ["self", "params: ParamsT | nn.Module", "lr: _Number | None = None", "*", *OPTIONS, *others]
    listed = "".join(f"        {parameter},\n" for parameter in own)
    about = first_line(cls)
    return f'\nclass {name}(_classes.{name}):\n    """{about}"""\n\n    def __init__(\n{listed}    ) -> None: ...\n'


def first_line(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").splitlines()[0]


def imports() -> Iterator[str]:
    places = {f"_{stage_class(name).__name__}Stage": place for name, place in STAGES.items()}
    places.update({"_Chain": "edsl.language.pipeline:Chain", "_Stage": "edsl.language.stage:Stage"})
    places.update({name: place for name, place in edsl._PLACES.items() if name not in edsl._CLASSES})
    found = [(*place.split(":"), name) for name, place in places.items()]
    for module, defined, name in sorted([*found, ("edsl.optim", "classes", "_classes")]):
        yield f"from {module} import {defined} as {name}\n"


def stages() -> Iterator[str]:
    for name in STAGES:
        cls = stage_class(name)
        parameters = of_stage(cls) if not cls.takes_stages else [f"{kind}: _Link = ..." for kind in KINDS]
        start = "*patterns: tuple[str, _Link]" if cls.takes_stages else "*"
        yield function(name, [start, *parameters] if parameters else [], f"_{cls.__name__}Stage", first_line(cls))


def recipes() -> Iterator[str]:
    for name, recipe in RECIPES.items():
        yield function(name, ["*", *of_pipeline(edsl.parse(recipe.text))], "Pipeline", f"{recipe.about}.")


def exported() -> str:
    return "\n__all__ = [\n" + "".join(f'    "{name}",\n' for name in edsl.__all__) + "]\n"


def written() -> str:
    """The whole of edsl/__init__.pyi."""
    optimizers = (optimizer(name) for name in sorted(edsl._CLASSES))
    parts = (HEAD, *imports(), exported(), "\n__version__: str\n", ALIASES)
    return "".join((*parts, *stages(), *recipes(), *optimizers, PLUGINS))


if __name__ == "__main__":
    STUB.write_text(written())
