"""Options that several commands share: one table, and a decorator that gives a command some of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from edsl.cli import completion
from edsl.cli.usage import number_message
from edsl.errors import EdslError
from edsl.language.domain import read_number

UsageError: Any = typer.BadParameter.__base__  # typer exports the class but not its base


def spec_text(given: Any) -> Any:
    """A spec, or several, with what files hold in place of @FILE."""
    if isinstance(given, (list, tuple)):
        return [spec_text(one) for one in given]
    if not isinstance(given, str):
        return given
    if given.endswith(".edsl") and not given.startswith("@"):
        raise EdslError(f"a spec is read from a file by its name behind an @: write @{given}")
    if not given.startswith("@"):
        return given
    if given == "@":
        raise EdslError("write @FILE, with the name of a file that holds a spec")
    return _held_in(given[1:])


def _held_in(file: str) -> str:
    """The spec that a file holds; raises EdslError with the file's name for one that can't be read."""
    from edsl.language.rules.texts import read_file
    from edsl.language.spec import read

    text = read_file(file)
    try:
        read(text)
    except EdslError as reason:
        raise EdslError(f"{file}: {reason}") from None
    return text


def spec_argument(metavar: str, help: str, offers: Callable[[str], Any] = completion.specs) -> Any:
    """An argument of one spec or several, which may be @FILE, and what a shell offers for it."""
    return typer.Argument(metavar=metavar, callback=spec_text, autocompletion=offers, help=help)


Spec = Annotated[str, spec_argument("SPEC", "Spec, such as 'grad | e | lamb(lr=0.01)', or @FILE.")]
Specs = Annotated[list[str], spec_argument("SPEC", "Optimizers, such as 'alto(lr=0.01)', or @FILE.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# name: (type with its help, default)
SHARED: dict[str, tuple[Any, Any]] = {
    "task": (
        Annotated[
            str | None,
            typer.Option(
                "--task",
                metavar="TASK",
                autocompletion=completion.tasks,
                help="Task: see `edsl list`; or your own, FILE.py or FILE.py:NAME.",
            ),
        ],
        None,
    ),
    "model": (Annotated[str | None, typer.Option(help="Model of the task; default: its first.")], None),
    "batch": (Annotated[int | None, typer.Option(help="Examples per step; default: the task's.")], None),
    "batches": (
        Annotated[
            str | None,
            typer.Option(
                "--batch",
                metavar="N,…",
                help="Examples per step; default: the task's. Several, such as 128,1024,8192: a race at each.",
            ),
        ],
        None,
    ),
    "scale_lr": (
        Annotated[
            str | None,
            typer.Option(
                metavar="RULE",
                help="With several --batch, learning rates beyond the smallest: linear or sqrt in the batch, or tuned "
                "(by --lr auto, at each). Default: the same.",
            ),
        ],
        None,
    ),
    "epochs": (Annotated[int | None, typer.Option(help="Budget: passes over the training data.")], None),
    "steps": (
        Annotated[int | None, typer.Option(help="Budget: optimizer steps; default: the task's.")],
        None,
    ),
    "evaluations": (
        Annotated[int | None, typer.Option(help="Budget: loss evaluations, with or without a backward pass.")],
        None,
    ),
    "seconds": (Annotated[float | None, typer.Option(help="Budget: seconds of training.")], None),
    "seeds": (Annotated[int, typer.Option(help="Number of final trials per optimizer, with seeds 0, 1, ….")], 5),
    "stop_early": (
        Annotated[
            bool,
            typer.Option(
                "--stop-early",
                help="Look after 5, 8, 12, … seeds, and stop once every verdict is decided.",
            ),
        ],
        False,
    ),
    "lr": (
        Annotated[
            str,
            typer.Option(
                help="Learning rates: default (as in the specs), auto (tuned, --trials per optimizer), or factors on "
                "the specs' own, such as 0.1,1,10."
            ),
        ],
        "default",
    ),
    "trials": (Annotated[int, typer.Option(help="With --lr auto or --tune: number of values tried per optimizer.")], 8),
    "tune_seeds": (
        Annotated[int, typer.Option(help="Number of tuning seeds per value tried; the final trials use other seeds.")],
        2,
    ),
    "tuner": (
        Annotated[
            str | None,
            typer.Option(
                help="Tuner: for --lr auto grid (a log grid, extended at its edge, then refined) or tpe; for --tune "
                "gp (a Gaussian process), tpe, quasi (evenly spread) or cmaes. Default: the first."
            ),
        ],
        None,
    ),
    "tune": (
        Annotated[
            str,
            typer.Option(
                metavar="NAME=RANGE,…",
                help="Tune together, --trials points per optimizer, such as 'lr=log(1e-4,1), beta2=(.8,.99)'.",
            ),
        ],
        "",
    ),
    "prune": (
        Annotated[
            bool,
            typer.Option(
                "--prune", help="With --lr auto or --tune: stop hopeless tuning trials early, by the median rule."
            ),
        ],
        False,
    ),
    "schedule": (
        Annotated[str, typer.Option(help="Learning-rate schedule: constant, cosine, warmup, warmup-cosine or step.")],
        "constant",
    ),
    "metric": (
        Annotated[
            str | None,
            typer.Option(help="Metric to rank by: accuracy (if the task has one), loss, or train (training loss)."),
        ],
        None,
    ),
    "baseline": (
        Annotated[
            str | None,
            typer.Option(
                metavar="SPEC",
                callback=spec_text,
                autocompletion=completion.specs,
                help="Spec to compare the others with; default: the first.",
            ),
        ],
        None,
    ),
    "no_controls": (
        Annotated[
            bool,
            typer.Option(
                "--no-controls", help="Don't run E's controls: the same pipeline without E, and its linear twin."
            ),
        ],
        False,
    ),
    "device": (Annotated[str, typer.Option(help="Device: cpu, cuda, cuda:1, …; auto uses cuda if available.")], "auto"),
    "threads": (Annotated[int, typer.Option(help="CPU threads per trial; one is fastest for small models.")], 1),
    "monitor": (Annotated[str, typer.Option(help="Monitor while training: regret (Theorem 2's condition on q).")], ""),
    "measures": (
        Annotated[
            str, typer.Option("--measure", metavar="NAME,…", help="Measure while training: sharpness, drift, ….")
        ],
        "",
    ),
    "jobs": (
        Annotated[
            int | None,
            typer.Option(help="Number of parallel trials; default: one per CPU, or one on an accelerator."),
        ],
        None,
    ),
    "engine": (
        Annotated[
            str, typer.Option(help="Where trials run: local (processes on this machine) or ray (a Ray cluster).")
        ],
        "local",
    ),
    "address": (Annotated[str | None, typer.Option(help="Address of the Ray cluster, as in ray.init.")], None),
    "gpus": (Annotated[float, typer.Option(help="GPUs per Ray trial.")], 0.0),
    "targets": (
        Annotated[
            str | None,
            typer.Option(
                "--targets",
                "--target",
                metavar="VALUE,…",
                help="Values of the metric on the validation split, such as 20%,40%,60% or 0.3, for steps and seconds "
                "to each; default: the baseline's final value.",
            ),
        ],
        None,
    ),
    "dry_run": (
        Annotated[bool, typer.Option("--dry-run", help="Only print the number of trials and the expected time.")],
        False,
    ),
    "as_json": (
        Annotated[bool, typer.Option("--json", help="Print results as JSON; progress goes to stderr.")],
        False,
    ),
    "out": (
        Annotated[
            Path | None,
            typer.Option("--out", help="Folder for the results; default: runs/TASK-TIME.", file_okay=True),
        ],
        None,
    ),
    "resume": (
        Annotated[bool, typer.Option("--resume", help="Continue the race in --out; a larger --seeds extends it.")],
        False,
    ),
}
TRAINING = ("task", "model", "batch", "epochs", "steps", "evaluations", "seconds", "schedule", "device", "threads")
TUNING = ("seeds", "stop_early", "lr", "trials", "tune_seeds", "tuner", "tune", "prune", "metric")
RUNNING = ("jobs", "engine", "address", "gpus", "targets", "dry_run", "as_json", "out", "resume")
RACE = (*TRAINING, *TUNING, *RUNNING)
_NO_SETTINGS = ("task", *RUNNING)


@dataclass(frozen=True)
class Options:
    """The shared options of a command.

    Attributes:
        values: of each, by name.
        asked: those that the user wrote.
    """

    values: Mapping[str, Any]
    asked: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def settings(self) -> dict[str, Any]:
        """Those that say what is raced, as `edsl.lab.races.build.race` takes them."""
        chosen = {name: value for name, value in self.values.items() if name not in _NO_SETTINGS}
        if "no_controls" in chosen:
            chosen["controls"] = not chosen.pop("no_controls")
        if "measures" in chosen:
            chosen["measures"] = listed(chosen["measures"])
        return chosen

    @property
    def running(self) -> Running:
        """Those that say how it is run and shown."""
        chosen = {name: value for name, value in self.values.items() if name in RUNNING}
        return Running(**chosen, asked=self.asked)


@dataclass(frozen=True)
class Running:
    """How a race is run and shown, beside what it is.

    Attributes:
        asked: all options that the user wrote, by name.
    """

    jobs: int | None
    engine: str
    address: str | None
    gpus: float
    dry_run: bool
    as_json: bool
    out: Path | None
    resume: bool
    targets: str | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)


class OnceEach(TyperCommand):
    """A command whose options may be given once each, but for those that take several values, and mean what they say.

    Otherwise the last would count, and a number that no float holds would be 0 or infinite, in silence.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # a shell completes what is not whole yet
            return super().parse_args(ctx, args)
        try:
            given, order = itemgetter(0, 2)(self.make_parser(ctx).parse_args(args=list(args)))
        except UsageError as error:  # of an option without a value, which doesn't say of which command
            error.ctx = error.ctx or ctx
            raise
        for option in dict.fromkeys(order):
            count = order.count(option)
            single = option.param_type_name == "option" and not option.multiple
            if count > 1 and single and (not option.is_flag or option.secondary_opts):
                name, values = max(option.opts, key=len), _values_of(option.opts, args)
                said = f": {', '.join(values)}" if len(values) == count else ""
                raise EdslError(f"{name} is given {'twice' if count == 2 else f'{count} times'}{said}; give it once")
        try:
            left = super().parse_args(ctx, args)
        except typer.BadParameter as error:
            said = number_message(error, given)
            if said is None:
                raise
            raise EdslError(said) from None
        for option in order:
            if isinstance(ctx.params.get(option.name), float):
                _check_number(max(option.opts, key=len), str(given[option.name]))
        return left


def _check_number(name: str, text: str) -> None:
    """Raises EdslError for a number that no float holds."""
    try:
        read_number(text)
    except EdslError as reason:
        raise EdslError(f"{name}: {reason}") from None


def _values_of(names: Sequence[str], args: Sequence[str]) -> list[str]:
    """The values of an option, written as --name VALUE or --name=VALUE."""
    found = [following for word, following in pairwise(args) if word in names]
    return found + [word.partition("=")[2] for word in args if "=" in word and word.partition("=")[0] in names]


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the shared options of these names; they reach it as `options`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        whole = inspect.signature(command, eval_str=True)
        own = [parameter for name, parameter in whole.parameters.items() if name != "options"]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=SHARED[name][1], annotation=SHARED[name][0])
            for name in names
        ]
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

        @functools.wraps(command)
        def run(**given: Any) -> None:
            parsed: typer.Context = given.pop("context")
            asked = {name: value for name, value in given.items() if _is_asked(parsed, name)}
            options = {name: given.pop(name) for name in names}
            command(**given, options=Options(options, asked))

        keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        signature = whole.replace(parameters=[*keyword, *shared, context])
        run.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
        run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
        return run

    return decorate


def _is_asked(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def listed(text: str) -> list[str]:
    """The words of a list with commas."""
    return [word for word in text.split(",") if word]
