"""The `edsl` command: parsing only. Each command's work is in the file of its name."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from edsl.errors import EdslError

_UsageError: Any = typer.BadParameter.__base__  # typer exports the class but not its base

app = typer.Typer(
    name="edsl",
    help="A language for designing optimizers: one line is compiled, analysed, costed and raced.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A spec, such as 'grad | e | lamb(lr=0.01)'.")]


@app.command("compare")
def compare_command(
    task: Annotated[str, typer.Argument(metavar="TASK", help="What to train: see `edsl list`.")],
    specs: Annotated[list[str], typer.Argument(metavar="SPEC", help="The optimizers, such as 'alto(lr=0.01)'.")],
    model: Annotated[str | None, typer.Option(help="The task's model; its first by default.")] = None,
    batch: Annotated[int | None, typer.Option(help="Examples a step; the task's own by default.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps; the task's own by default.")] = None,
    seeds: Annotated[int, typer.Option(help="Trials of each optimizer: seeds 0, 1, ….")] = 3,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …; auto takes cuda if there is one.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; one is fastest for small models.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON; progress goes to stderr.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; runs/TASK-TIME by default.", file_okay=True)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Finish the race in --out.")] = False,
) -> None:
    """Race optimizers on a task: same initial weights, same batches, several seeds.

    Example: edsl compare digits 'alto(lr=0.01)' 'lamb(lr=0.01)' 'torch.AdamW(lr=0.001)' --batch 1024
    """
    from edsl.cli.compare import compare

    compare(task, specs, model, batch, epochs, steps, seeds, device, threads, as_json, out, resume)


@app.command("show")
def show_command(
    spec: Spec,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a spec means: its canonical text, stages, cost and recurrences.

    Example: edsl show 'grad | e | lamb(lr=0.01)'
    """
    from edsl.cli.show import show

    show(spec, as_json)


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List stages with their arguments, recipes and tasks."""
    from edsl.cli.catalogue import catalogue

    catalogue(as_json)


def version(value: bool) -> None:
    if value:
        from edsl import __version__

        typer.echo(f"edsl {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line: one line on stderr and exit code 2 for bad input, 130 for Ctrl-C."""
    warnings.showwarning = _warn
    try:
        sys.exit(app(standalone_mode=False))
    except EdslError as error:
        message, code = str(error), 2
    except _UsageError as error:
        message, code = f"{error.format_message().rstrip('.')}; see `{_command(error)} --help`", 2
    except (KeyboardInterrupt, typer.Abort):
        message, code = "interrupted", 130
    from edsl.cli.render import fail

    fail(message)
    sys.exit(code)


def _command(error: Any) -> str:
    return error.ctx.command_path if error.ctx is not None else "edsl"


def _warn(message: Warning | str, category: type[Warning], *_: object) -> None:
    from edsl.errors import EdslWarning

    if issubclass(category, EdslWarning):
        print(f"warning: {message}", file=sys.stderr)
