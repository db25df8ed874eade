"""The `edsl` command: parsing only. Each command's work is in the file of its name."""

from __future__ import annotations

import io
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from edsl.cli import analysis, completion, racing
from edsl.cli.ctrl_c import heed_ctrl_c
from edsl.cli.options import OnceEach, Specs, UsageError, spec_argument
from edsl.cli.render.lines import told
from edsl.cli.usage import usage_message
from edsl.errors import EdslError, Interrupted

_INTERRUPTED = 130  # the exit code after Ctrl-C
_TAKES_NEGATIVE_NUMBERS = {"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="edsl",
    help="A language for designing optimizers: one line is compiled, analysed, costed and raced.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


Params = Annotated[
    str,
    typer.Option(
        metavar="SET|FILE.json",
        help="Parameters: gpt2, gpt2-medium, resnet20, resnet50, llama-1b, mlp, …; or a JSON file "
        '{"name": \\[size, …], …}.',
    ),
]


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
    attach: Annotated[bool, typer.Option("--attach", help="Steps inside backward(), which frees gradients.")] = False,
    offload: Annotated[bool, typer.Option("--offload", help="State in the CPU's memory, for a GPU.")] = False,
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

    plan(specs, params, dtype, state_dtype, weights, bandwidth, as_json, attach, offload)


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


def list_command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            autocompletion=completion.words,
            help="Show one in detail: a stage, recipe, entry of the zoo, task, suite or package.",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            autocompletion=completion.kinds,
            help="List one kind: estimator, adaptor, update, wrapper, recipe, task or suite.",
        ),
    ] = None,
    zoo: Annotated[bool, typer.Option("--zoo", help="List the zoo: the literature's optimizers as rules.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all stages with their arguments, all recipes, tasks and suites; or one of them in detail.

    Example: edsl list --kind update
    Example: edsl list lamb
    """
    from edsl.cli.catalogue import catalogue

    catalogue(name, kind, zoo, as_json)


def doctor_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Examine this machine: versions, compilers, GPU, caches, and whether steps agree with a reference.

    Compiles a few pipelines, in about ten seconds. Its output is what a bug report needs.

    Exit codes: 0 it works, 1 something fails, with what to do about it.

    Example: edsl doctor
    """
    from edsl.cli.doctor import doctor

    doctor(as_json)


def convert_command(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Checkpoint of torch.save, which is only read.")],
    target: Annotated[Path, typer.Argument(metavar="NEW", help="File to write; it must not exist yet.")],
    at: Annotated[
        str, typer.Option(metavar="KEY.KEY…", help="Where in FILE the optimizer's state_dict is, if it holds several.")
    ] = "",
    optimizer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Class of torch.optim, where FILE doesn't tell: AdamW, ….")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps taken so far, for SGD and Muon, which don't count them.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Convert a checkpoint of torch.optim to edsl's, or edsl's to torch's: the steps that follow are the same.

    Converts AdamW, Adam, SGD, RMSprop, Muon, NAdam, RAdam and Adamax. What else FILE holds stays as it is.

    Example: edsl convert checkpoint.pt converted.pt --at optimizer
    """
    from edsl.cli.convert import convert

    convert(source, target, at, optimizer, steps, as_json)


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


COMMANDS: dict[str, dict[str, Any]] = {
    "Design": {
        "list": list_command,
        "show": analysis.show_command,
        "fmt": analysis.format_command,
        "design": analysis.design_command,
        "equivalent": analysis.equivalent_command,
        "verify": analysis.verify_command,
    },
    "Mathematics": {
        "explain": analysis.explain_command,
        "check-stability": analysis.check_stability_command,
        "certify": analysis.certify_command,
        "check-regret": analysis.check_regret_command,
        "map": analysis.map_command,
        "frequency": analysis.frequency_command,
    },
    "Cost": {"plan": plan_command, "bench": bench_command},
    "This machine": {"doctor": doctor_command, "warm": warm_command, "convert": convert_command},
    "Races": {
        "compare": racing.compare_command,
        "suite": racing.suite_command,
        "sweep": racing.sweep_command,
        "ablate": racing.ablate_command,
        "sharpness": racing.sharpness_command,
        "train": racing.train_command,
        "report": racing.report_command,
        "new": racing.new_command,
    },
    "The paper": {"reproduce": racing.reproduce_command, "landscape": analysis.landscape_command},
}
for panel, commands in COMMANDS.items():
    for word, function in commands.items():
        settings = _TAKES_NEGATIVE_NUMBERS if word == "check-stability" else None
        app.command(word, cls=OnceEach, rich_help_panel=panel, context_settings=settings)(function)


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
    except UsageError as error:
        message, code = usage_message(error), 2
    except Interrupted as stopped:
        message, code = str(stopped), _INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        message, code = "interrupted", _INTERRUPTED
    except BrokenPipeError:  # the reader has gone, and needs no message
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        message, code = "", 1
    except OSError as reason:
        message, code = f"can't write the output: {reason.strerror or reason}", 1
    except ModuleNotFoundError as reason:
        message, code = _missing(reason), 2
    except Exception as reason:
        message, code = _of_a_stage(reason), 2
    if message:
        told(message, sys.stderr, begin="edsl: ")
    sys.exit(code)


def _missing(reason: ModuleNotFoundError) -> str:
    """Which package is to be installed; a module of edsl that isn't there is edsl's own fault, and goes on."""
    package = (reason.name or "").partition(".")[0]
    if package in ("", "edsl"):
        raise reason
    return (
        f"this command needs {package}, which is not installed for {sys.executable}; edsl doctor says what is missing"
    )


def _of_a_stage(reason: Exception) -> str:
    """What is wrong with a stage that somebody else wrote; any other error is edsl's own, and goes on."""
    from edsl.language.registry.blame import blamed

    found = blamed(reason)
    if found is None:
        raise reason
    return str(found)


def _warn(message: Warning | str, category: type[Warning], *_: object) -> None:
    from edsl.errors import EdslWarning

    if issubclass(category, EdslWarning):
        told(str(message), sys.stderr, begin="warning: ")
