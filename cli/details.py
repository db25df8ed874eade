"""One thing that has a name, in detail: for `edsl list NAME`."""

from __future__ import annotations

from dataclasses import fields
from inspect import getdoc, signature
from typing import Any

from edsl.errors import EdslError, nearest, shown
from edsl.lab.races.suites import SUITES
from edsl.lab.tasks.catalogue import PARTS, TASKS
from edsl.lab.tasks.installed import installed
from edsl.language.domain import plain
from edsl.language.registry.lookup import is_stage, stage_class, stage_names
from edsl.language.registry.recipes import RECIPES
from edsl.language.registry.stages import PACKAGES, load
from edsl.language.registry.zoo import zoo_names


def detail(name: str) -> dict[str, Any]:
    """What a stage, recipe, package, suite or task is.

    Raises:
        EdslError: for an unknown name, or a task whose file or package can't be loaded.
    """
    if is_stage(name):
        return _stage(name)
    if name in RECIPES:
        recipe = RECIPES[name]
        return {"name": name, "kind": "recipe", "about": recipe.about, "spec": recipe.text, "see": f"edsl show {name}"}
    if name in PACKAGES:
        return _package(name)
    if name.partition(".")[0] in PACKAGES:
        return _foreign(name)
    if name in SUITES:
        return _suite(name)
    return _task(name)


def _stage(name: str) -> dict[str, Any]:
    cls = stage_class(name)
    about, _, more = (getdoc(cls) or "").partition("\n")
    arguments = [
        {"argument": field.name, "default": plain(field.default), "values": str(field.metadata["domain"])}
        for field in fields(cls)
    ]
    of_zoo = ", of the zoo" if name in zoo_names() else ""
    found = {"name": name, "kind": f"{cls.kind}{of_zoo}", "about": about, "more": more.strip("\n")}
    return {**found, "arguments": arguments, "see": f"edsl show {_example(name, cls.kind)}"}


def _example(name: str, kind: str) -> str:
    """A spec with a stage, as a shell takes it."""
    forms = {"estimator": "'{} | sgd'", "adaptor": "'grad | {} | sgd'", "wrapper": "'sgd | {}'"}
    return forms.get(kind, "{}").format(name)


def _package(name: str) -> dict[str, Any]:
    about = f"optimizers of the package {PACKAGES[name][1]}, as base updates, such as {name}.NAME(lr=0.001)"
    known = list(load("edsl.optim.foreign.packages:optimizers_of")(name))
    return {"name": name, "kind": "package", "about": about, "optimizers": known}


def _foreign(name: str) -> dict[str, Any]:
    """Another package's optimizer; raises EdslError for one that it doesn't have."""
    package, _, own = name.partition(".")
    known = load("edsl.optim.foreign.packages:optimizers_of")(package)
    if own not in known:
        raise EdslError(f"{package} has no optimizer {shown(own)}; {nearest(own, known, 'it has')}")
    taken = list(signature(known[own]).parameters.values())[1:]  # without params
    arguments = [
        {"argument": one.name, "default": "–" if one.default is one.empty else repr(one.default)}
        for one in taken
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    found = {"name": name, "kind": "base update, of a package", "about": f"{own} of {PACKAGES[package][1]}"}
    return {**found, "arguments": arguments, "see": f"edsl show {name}"}


def _suite(name: str) -> dict[str, Any]:
    suite = SUITES[name]
    workloads = [
        {"task": one.task, "model": one.model, "batch": one.batch, "steps": one.steps, "target": one.target}
        for one in suite.workloads
    ]
    return {
        "name": name,
        "kind": "suite",
        "about": suite.about,
        "tasks": workloads,
        "budget": dict(suite.budget),
        "see": f"edsl suite {name} adamw alto --dry-run",
    }


def _task(name: str) -> dict[str, Any]:
    """A task, as far as it can be told without its data."""
    from edsl.lab.tasks.catalogue import task

    word = name.partition(":")[0]
    if word not in TASKS and name not in installed() and not {*"./\\"} & {*name}:
        known = [*stage_names(), *RECIPES, *PACKAGES, *SUITES, *TASKS, *installed()]
        raise EdslError(f"nothing is called {shown(name)}; {nearest(name, known, 'there are', 'edsl list')}")
    try:
        found = task(name)
    except EdslError:
        if name not in TASKS:
            raise
        return _unfilled(name)
    return {
        "name": name,
        "kind": "task",
        "about": found.about,
        "more": _data_of(found, word),
        "models": [{"model": model, "what": _about(build)} for model, build in found.builders.items()],
        "batch": found.batch,
        "steps": found.steps,
        "ranked by": "loss" if found.accuracy is None else "accuracy",
        "see": f"edsl compare adamw alto --task {name}",
    }


def _unfilled(name: str) -> dict[str, Any]:
    """A task that needs a folder, or the name of one of its parts."""
    found = {"name": name, "kind": "task", "about": TASKS[name][1], "more": getdoc(load(TASKS[name][0])) or ""}
    return {**found, "parts": [f"{name}:{part}" for part in PARTS[name]]} if name in PARTS else found


def _data_of(task: Any, word: str) -> str:
    """What its data are: of edsl's own tasks alone."""
    if word not in TASKS:
        return ""
    made = load(TASKS[word][0])
    return getdoc(made if callable(made) else task.data) or ""


def _about(build: Any) -> str:
    """What a model is, in a line: where a pretrained one is from, else what its builder says."""
    place = getattr(build, "place", "")
    return place or (getdoc(getattr(build, "func", build)) or "").partition("\n")[0]
