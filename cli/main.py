"""The `edsl` command: parsing only. Each command's work is in the file of its name."""

from __future__ import annotations

import functools
import io
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from edsl.cli import analysis, racing
from edsl.cli.ctrl_c import heed_ctrl_c
from edsl.cli.options import OnceEach, Specs, spec_argument
from edsl.errors import EdslError, Interrupted, printable

_INTERRUPTED = 130  # the exit code after Ctrl-C
_TAKES_NEGATIVE_NUMBERS = {"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}
_UsageError: Any = typer.BadParameter.__base__  # typer exports the class but not its base

app = typer.Typer(
    name="edsl",
    help="A language for designing optimizers: one line is compiled, analysed, costed and raced.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

command = functools.partial(app.command, cls=OnceEach)

command("compare")(racing.compare_command)
command("suite")(racing.suite_command)
command("train")(racing.train_command)
command("report")(racing.report_command)
command("sharpness")(racing.sharpness_command)
command("reproduce")(racing.reproduce_command)
command("sweep")(racing.sweep_command)
command("ablate")(racing.ablate_command)
command("new")(racing.new_command)
command("show")(analysis.show_command)
command("fmt")(analysis.format_command)


Params = Annotated[
    str,
    typer.Option(
        metavar="SET|FILE.json",
        help="Parameters: gpt2, gpt2-medium, resnet20, resnet50, llama-1b, mlp, …; or a JSON file "
        '{"name": \\[size, …], …}.',
    ),
]


@command("plan")
def plan_command(
    specs: Specs,
    params: Params = "gpt2",
    dtype: Annotated[str, typer.Option(help="dtype of parameters and gradients: float32, bfloat16, ….")] = "float32",
    state_dtype: Annotated[
        str | None, typer.Option(help="dtype of all state; default: float32 for half-precision parameters.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="How half-precision weights keep their values: stochastic, kahan, split or nearest."),
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option(metavar="GB/s", help="Memory bandwidth, for a lower bound on step time.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the parameter names on each route.")
    ] = False,
) -> None:
    """Plan memory: state, temporaries and traffic of optimizers on a model, without allocating anything.

    State is exact, buffer by buffer; temporaries are an upper bound on what a step allocates, traffic a lower bound
    on what it must move. Routes and exclusions are decided by parameter name.

    Example: edsl plan alto emuon 'torch.AdamW(lr=0.001)' --params gpt2 --bandwidth 3350
    """
    from edsl.cli.plan import plan

    plan(specs, params, dtype, state_dtype, weights, bandwidth, as_json)


@command("warm")
def warm_command(
    specs: Specs,
    params: Params = "gpt2",
    dtype: Annotated[str, typer.Option(help="dtype of parameters and gradients: float32, bfloat16, ….")] = "float32",
    device: Annotated[str, typer.Option(help="Device: cpu, cuda, …; auto uses cuda if available.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Warm the caches on disk: compile optimizers for a model's parameters before a job needs them.

    Takes two steps with zero gradients on a few tensors of each kind. Compiled code goes to torch's cache and to
    edsl's, where the next process finds it; TORCHINDUCTOR_CACHE_DIR sets one folder for both.

    Example: edsl warm alto emuon --params gpt2
    """
    from edsl.cli.warm import warm

    warm(specs, params, dtype, device, as_json)


@command("list")
def list_command(
    zoo: Annotated[bool, typer.Option("--zoo", help="List the zoo: the literature's optimizers as rules.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all stages with their arguments, all recipes and all tasks; or the zoo.

    Example: edsl list --zoo
    """
    from edsl.cli.catalogue import catalogue, zoo_catalogue

    (zoo_catalogue if zoo else catalogue)(as_json)


command("check-stability", context_settings=_TAKES_NEGATIVE_NUMBERS)(analysis.check_stability_command)
command("certify")(analysis.certify_command)
command("design")(analysis.design_command)
command("check-regret")(analysis.check_regret_command)
command("explain")(analysis.explain_command)
command("equivalent")(analysis.equivalent_command)
command("verify")(analysis.verify_command)


@command("bench")
def bench_command(
    specs: Annotated[
        list[str] | None,
        spec_argument("SPEC", "Optimizers, such as alto 'eadamw(lr=0.001)'."),
    ] = None,
    params: Annotated[
        str,
        typer.Option(
            metavar="SET",
            help="Parameters: gpt2, gpt2-medium, resnet20, resnet50, mlp, llama-1b, tiny, heavyball; or a JSON file "
            '{"name": \\[size, …], …}.',
        ),
    ] = "mlp",
    against: Annotated[
        str,
        typer.Option(
            metavar="NAME,…",
            help="Other packages' optimizers, with their defaults: torch.NAME, heavyball.NAME, ….",
        ),
    ] = "",
    dtype: Annotated[str, typer.Option(help="dtype: float32, float64, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="Device: cpu, cuda, cuda:1, …; auto uses cuda if available.")] = "auto",
    threads: Annotated[int, typer.Option(help="Number of CPU threads.")] = 1,
    steps: Annotated[int, typer.Option(help="Number of timed steps per optimizer, T of schedules.")] = 30,
    first_steps: Annotated[
        bool, typer.Option("--first-step/--no-first-step", help="Also time first steps, in fresh processes.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; progress goes to stderr.")] = False,
) -> None:
    """Benchmark optimizer steps: time relative to fused AdamW and to a copy, compilation, kernels, memory.

    All optimizers step in turn in one process, on random gradients without a model.
    Fused torch.AdamW and a plain copy of the bytes that it moves are always included.

    Example: edsl bench alto eadamw --params gpt2 --against torch.AdamW,heavyball.AdamW
    """
    from edsl.cli.bench import bench

    bench(specs, params, against, dtype, device, threads, steps, first_steps, as_json)


command("map")(analysis.map_command)
command("frequency")(analysis.frequency_command)
command("landscape")(analysis.landscape_command)


def version(value: bool) -> None:
    if value:
        from edsl import __version__

        typer.echo(f"edsl {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def common_options(
    context: typer.Context,
    plugin: Annotated[
        list[Path] | None, typer.Option(help="Python file with your own stages, which is executed; may be repeated.")
    ] = None,
    rules: Annotated[
        list[Path] | None, typer.Option(help="File or folder of rules (NAME.edsl), by whose names specs may call them.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if plugin:
        from edsl.language.registry.plugins import load_plugin

        for path in plugin:
            load_plugin(path)
    for path in rules or ():
        from edsl.language.rules.texts import load_rules

        load_rules(path)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line: one line on stderr and exit code 2 for bad input, 130 for Ctrl-C."""
    warnings.showwarning = _warn
    heed_ctrl_c()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Greek shows ? for it
    if sys.stdout is None or sys.stderr is None:  # closed by the caller
        sys.exit(1)
    try:
        code = app(standalone_mode=False)
        message = "interrupted" if code == _INTERRUPTED else ""  # typer's own answer to Ctrl-C
        sys.stdout.flush()
    except EdslError as error:
        message, code = str(error), 2
    except _UsageError as error:
        message, code = f"{error.format_message().rstrip('.')}; see `{_command(error)} --help`", 2
    except Interrupted as stopped:
        message, code = str(stopped), _INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        message, code = "interrupted", _INTERRUPTED
    except BrokenPipeError:  # the reader has gone, and needs no message
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        message, code = "", 1
    except OSError as reason:
        message, code = f"can't write the output: {reason.strerror or reason}", 1
    except Exception as reason:
        message, code = _of_a_stage(reason), 2
    if message:
        print(f"edsl: {printable(message)}", file=sys.stderr)
    sys.exit(code)


def _of_a_stage(reason: Exception) -> str:
    """What is wrong with a stage that somebody else wrote; any other error is edsl's own, and goes on."""
    from edsl.language.registry.blame import blamed

    found = blamed(reason)
    if found is None:
        raise reason
    return str(found)


def _command(error: Any) -> str:
    return error.ctx.command_path if error.ctx is not None else "edsl"


def _warn(message: Warning | str, category: type[Warning], *_: object) -> None:
    from edsl.errors import EdslWarning

    if issubclass(category, EdslWarning):
        print(f"warning: {printable(str(message))}", file=sys.stderr)
