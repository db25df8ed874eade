"""Options that several commands share: one table, and a decorator that gives a command some of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

# name: (type with its help, default)
SHARED: dict[str, tuple[Any, Any]] = {
    "task": (
        Annotated[str | None, typer.Option("--task", metavar="TASK", help="What to train: see `edsl list`.")],
        None,
    ),
    "model": (Annotated[str | None, typer.Option(help="The task's model; its first by default.")], None),
    "batch": (Annotated[int | None, typer.Option(help="Examples a step; the task's own by default.")], None),
    "epochs": (Annotated[int | None, typer.Option(help="Budget: passes over the training data.")], None),
    "steps": (
        Annotated[int | None, typer.Option(help="Budget: optimizer steps; the task's own by default.")],
        None,
    ),
    "evaluations": (
        Annotated[int | None, typer.Option(help="Budget: evaluations of the loss, with or without derivative.")],
        None,
    ),
    "seconds": (Annotated[float | None, typer.Option(help="Budget: seconds of training.")], None),
    "seeds": (Annotated[int, typer.Option(help="Final trials of each optimizer: seeds 0, 1, ….")], 5),
    "lr": (
        Annotated[
            str,
            typer.Option(
                help="default: as the specs say; auto: tuned, each within --trials learning rates; or factors such as "
                "0.1,1,10."
            ),
        ],
        "default",
    ),
    "trials": (Annotated[int, typer.Option(help="Learning rates that each optimizer may try with --lr auto.")], 8),
    "tune_seeds": (
        Annotated[int, typer.Option(help="Trials of each learning rate, on seeds that the final trials don't use.")],
        2,
    ),
    "tuner": (
        Annotated[str, typer.Option(help="grid: a log grid, extended at its edge, then refined; tpe: optuna's TPE.")],
        "grid",
    ),
    "schedule": (
        Annotated[str, typer.Option(help="Of the learning rates: constant, cosine, warmup, warmup-cosine or step.")],
        "constant",
    ),
    "metric": (
        Annotated[
            str | None,
            typer.Option(help="What decides: accuracy (where the task has one), loss, or train, the training loss."),
        ],
        None,
    ),
    "baseline": (
        Annotated[
            str | None, typer.Option(metavar="SPEC", help="What the others are compared to; the first by default.")
        ],
        None,
    ),
    "no_controls": (
        Annotated[
            bool,
            typer.Option("--no-controls", help="Leave out E's controls: the same without E, and its linear twin."),
        ],
        False,
    ),
    "device": (Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …; auto takes cuda if there is one.")], "auto"),
    "threads": (Annotated[int, typer.Option(help="CPU threads of a trial; one is fastest for small models.")], 1),
    "monitor": (Annotated[str, typer.Option(help="regret: watch Theorem 2's condition on q while training.")], ""),
    "measures": (
        Annotated[
            str, typer.Option("--measure", metavar="NAME,…", help="Measured along the way: sharpness, drift, ….")
        ],
        "",
    ),
    "jobs": (
        Annotated[
            int | None,
            typer.Option(help="Trials at once; as many as there are CPUs by default, one on an accelerator."),
        ],
        None,
    ),
    "engine": (Annotated[str, typer.Option(help="local: processes of this machine; ray: a Ray cluster.")], "local"),
    "address": (Annotated[str | None, typer.Option(help="Of the Ray cluster, as ray.init takes it.")], None),
    "gpus": (Annotated[float, typer.Option(help="Of each trial on Ray.")], 0.0),
    "target": (
        Annotated[
            float | None,
            typer.Option(
                help="Of the metric on the validation split, for time to target; the baseline's end by default."
            ),
        ],
        None,
    ),
    "dry_run": (
        Annotated[bool, typer.Option("--dry-run", help="Print the number of trials and the expected time, no more.")],
        False,
    ),
    "as_json": (
        Annotated[bool, typer.Option("--json", help="Print the results as JSON; progress goes to stderr.")],
        False,
    ),
    "out": (
        Annotated[
            Path | None,
            typer.Option("--out", help="Folder for the results; runs/TASK-TIME by default.", file_okay=True),
        ],
        None,
    ),
    "resume": (
        Annotated[bool, typer.Option("--resume", help="Finish the race in --out; nothing else is needed.")],
        False,
    ),
}
TRAINING = ("task", "model", "batch", "epochs", "steps", "evaluations", "seconds", "schedule", "device", "threads")
TUNING = ("seeds", "lr", "trials", "tune_seeds", "tuner", "metric")
RUNNING = ("jobs", "engine", "address", "gpus", "target", "dry_run", "as_json", "out", "resume")
RACE = (*TRAINING, *TUNING, *RUNNING)
_NO_SETTINGS = ("task", *RUNNING)


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the shared options of these names; they reach it as the dict `options`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        whole = inspect.signature(command, eval_str=True)
        own = [parameter for name, parameter in whole.parameters.items() if name != "options"]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=SHARED[name][1], annotation=SHARED[name][0])
            for name in names
        ]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            options = {name: given.pop(name) for name in names}
            command(**given, options=options)

        keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        signature = whole.replace(parameters=[*keyword, *shared])
        run.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
        run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
        return run

    return decorate


def settings(options: dict[str, Any]) -> dict[str, Any]:
    """The options that say what is raced, as `edsl.lab.race.race` takes them."""
    chosen = {name: value for name, value in options.items() if name not in _NO_SETTINGS}
    if "no_controls" in chosen:
        chosen["controls"] = not chosen.pop("no_controls")
    if "measures" in chosen:
        chosen["measures"] = words(chosen["measures"])
    return chosen


def running(options: dict[str, Any]) -> dict[str, Any]:
    """The options that say how it is run and shown."""
    return {name: options[name] for name in RUNNING if name in options}


def words(text: str) -> list[str]:
    """The words of a list with commas."""
    return [word for word in text.split(",") if word]
