"""All that the command line shows; the only user of rich."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edsl.as_json import as_json

if TYPE_CHECKING:
    from pathlib import Path

    from edsl.lab.claims.claim import Claim
    from edsl.lab.driver import Progress
    from edsl.lab.race import Race
    from edsl.lab.results import Figure, Reached, Results, Row
    from edsl.lab.sharpness import Matched
    from edsl.lab.statistics import Interval

_PIPED_WIDTH = 160  # of a table that neither a terminal nor COLUMNS bounds
_NARROW = 110  # below this a race's optimizers go into a legend


class _Page:
    """Where a command prints: a terminal, or a pipe, whose lines lose the spaces that fill a table."""

    def __init__(self) -> None:
        piped = not sys.stdout.isatty()
        asked = os.environ.get("COLUMNS", "")
        width = (int(asked) if asked.isdigit() and asked != "0" else _PIPED_WIDTH) if piped else None
        self.console = Console(highlight=False, width=width)
        self.piped = piped

    @property
    def width(self) -> int:
        return self.console.width

    def print(self, *things: Any, **options: Any) -> None:
        if not self.piped:
            self.console.print(*things, **options)
            return
        with self.console.capture() as captured:
            self.console.print(*things, **options)
        print("\n".join(line.rstrip() for line in captured.get().split("\n")), end="")


def note(message: str) -> None:
    """One line on stderr, beside the result."""
    print(message, file=sys.stderr)


def json_out(value: Any) -> None:
    """A value as JSON on stdout."""
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    print(json.dumps(as_json(value), indent=2, ensure_ascii=plain, allow_nan=False))


@contextmanager
def race_progress() -> Iterator[Callable[[Progress], None]]:
    """A live line with the time left on a terminal, else one plain line a trial."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _plain_progress
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Live

    columns = (
        TextColumn("trial {task.fields[done]}/{task.fields[planned]}"),
        BarColumn(bar_width=20),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[what]}"),
    )
    with Live(*columns, console=console, transient=True, speed_estimate_period=600) as live:
        line = live.add_task("race", total=None, done=0, planned="?", what="")

        def watch(progress: Progress) -> None:
            part = progress.step / progress.steps if progress.steps else 0.0
            state: dict[str, Any] = {"done": progress.done + 1, "planned": progress.planned}
            what = escape(f"{progress.spec[:40]}, seed {progress.seed}")
            live.update(line, total=progress.planned, completed=progress.done + part, what=what, **state)

        yield watch


@contextmanager
def quiet() -> Iterator[Callable[[Progress], None]]:
    """No progress at all."""
    yield lambda progress: None


def trial(record: dict[str, Any]) -> None:
    """One trial's figures."""
    page = _Page()
    page.print(escape(record["spec"]), style="bold", soft_wrap=True)
    said = f"{record['status']}{': ' if record['reason'] else ''}{escape(record['reason'])}"
    page.print(f"{said}, {record['steps']} steps in {record['seconds']:.1f} s")
    for split in ("train", "validation", "test"):
        accuracy = record.get(f"{split}_accuracy")
        shown = "" if accuracy is None else f", accuracy {100 * accuracy:.1f} %"
        page.print(f"  {split:10} loss {_number(record[f'{split}_loss'], '.4f')}{shown}")
    step, part = (_number(record[name], ".3f") for name in ("step_ms", "optimizer_ms"))
    state = _number(record["state_bytes"], ".1f")
    page.print(f"  a step {step} ms, the optimizer's part {part} ms; state {state} B a parameter")


def _plain_progress(progress: Progress) -> None:
    if progress.step == 0:
        note(f"trial {progress.done + 1}/{progress.planned}: {progress.spec}, seed {progress.seed}")


def forecast(race: Race, expected: dict[str, Any]) -> None:
    """What a race would take."""
    page = _Page()
    page.print(_race_line(race), soft_wrap=True)
    jobs = expected["jobs"]
    page.print(
        f"{len(race.entrants)} optimizers, at most {expected['trials']} trials, about "
        f"{duration(expected['seconds'])} with {jobs} job{'s' if jobs > 1 else ''}"
    )
    for entrant in race.entrants:
        page.print(f"  {escape(entrant.name)}: {escape(entrant.about or entrant.spec)}", soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _race_line(race: Race) -> str:
    """One line: the task, the budget, the seeds."""
    setting, tuning = race.setting, race.tuning
    tuned = f", lr tuned ({tuning.tuner}, {tuning.trials} tried on {tuning.seeds} other seeds)" if tuning.tuner else ""
    scheduled = f", {setting.schedule} lr" if setting.schedule != "constant" else ""
    return (
        f"{setting.task} ({setting.model}), batch {setting.batch}, {setting.budget:g} {setting.unit}{scheduled}, "
        f"{race.seeds} seed{'s' if race.seeds > 1 else ''}{tuned}, {setting.device}"
    )


def race_results(race: Race, found: Results) -> None:
    """What came out, what can be concluded, and what it cost."""
    from edsl.lab.results import NAMES

    page = _Page()
    page.print(escape(_race_line(race)), soft_wrap=True)
    rows = found.rows
    narrow = page.width < _NARROW
    tuned = bool(race.tuning.tuner)
    table = _race_columns(narrow, ["lr"] if tuned else [])
    with_accuracy = any(row.test_accuracy for row in rows)
    percent = 100 if race.metric == "accuracy" else 1
    with_least = any(row.suboptimality for row in rows)
    columns = ["train\nloss", *(["train loss\n− least"] if with_least else []), "test\nloss"]
    columns += ["test\naccuracy %"] if with_accuracy else []
    columns += [f"at default lr\n{NAMES[race.metric]}"] if tuned else []
    for name in columns:
        table.add_column(name, justify="right", no_wrap=not narrow)
    if len(rows) > 1:
        table.add_column(f"{NAMES[race.metric]}\n− baseline's", justify="right")
        table.add_column("95 % interval", justify="right", no_wrap=True)
        table.add_column("verdict")
    for number, row in enumerate(rows, start=1):
        effect = next((effect for effect in row.effects if effect.against == race.baseline), None)
        compared = ["baseline" if row.name == race.baseline else "–", "", ""]
        if effect is not None:
            compared = [*_difference(effect.interval, percent), escape(effect.verdict)]
        table.add_row(
            str(number) if narrow else escape(row.name) + _ended_badly(row),
            *([_rates(row)] if tuned else []),
            _figure(row.train_loss),
            *([_significant(row.suboptimality)] if with_least else []),
            _figure(row.test_loss),
            *([_figure(row.test_accuracy, 100)] if with_accuracy else []),
            *([_figure(row.default, percent)] if tuned else []),
            *(compared if len(rows) > 1 else []),
        )
    page.print(table)
    _legend(page, rows, narrow)
    _effects(page, race, found, percent)
    _costs(page, race, found, narrow)
    if any(row.lr_on_edge for row in rows):
        page.print("* the best learning rate is the smallest or largest tried: a better one may lie beyond")
    page.print(
        "mean ± sd over seeds, of the final weights; differences are paired by seed, and no winner is named where the "
        "95 % interval holds 0"
    )
    for row in rows:
        for reason in row.reasons:
            note(f"{row.name}: {reason}")


def _race_columns(narrow: bool, others: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 0) if narrow else (0, 1))
    table.add_column("" if narrow else "optimizer", overflow="fold", min_width=2 if narrow else 16)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _legend(page: _Page, rows: Sequence[Row], narrow: bool) -> None:
    if narrow:
        for number, row in enumerate(rows, start=1):
            page.print(f"  {number}  {escape(row.name)}{_ended_badly(row)}", soft_wrap=True)


def _effects(page: _Page, race: Race, found: Results, percent: float) -> None:
    """What E did: each optimizer with E against its controls."""
    said = []
    for row in found.rows:
        controls = [other.name for other in found.rows if other.control_of == row.name]
        for effect in row.effects:
            if effect.against in controls:
                name = effect.against.removeprefix(row.name)
                said.append(
                    f"  {escape(row.name)} against itself{escape(name)}: "
                    f"{_said(effect.interval, percent)}{escape(effect.verdict)}"
                )
    if said:
        page.print("effect of E, by its controls")
        for line in said:
            page.print(line, soft_wrap=True)


def _said(interval: Interval | None, percent: float) -> str:
    mean, between = _difference(interval, percent)
    return f"{mean}{f' ({between})' if between else ''}, " if interval is not None else ""


def _costs(page: _Page, race: Race, found: Results, narrow: bool) -> None:
    """What each optimizer took."""
    table = _race_columns(narrow, [])
    watched = ["q fell, %\nof steps", "NV/√T"] if race.setting.monitor else []
    measures = list(dict.fromkeys(name for row in found.rows for name in row.measures))
    for name in ["steps to\ntarget", "evaluations", "seconds", "step\nms", "optimizer\nms", "first\nstep s"]:
        table.add_column(name, justify="right")
    for name in ["state\nB/param", *watched, *measures]:
        table.add_column(name, justify="right")
    for number, row in enumerate(found.rows, start=1):
        target = row.target
        table.add_row(
            str(number) if narrow else escape(row.name),
            _reached(target),
            _number(target.evaluations if target else None, ".0f"),
            _number(target.seconds if target else None, ".2f"),
            _number(row.step_ms, ".3f"),
            _number(row.optimizer_ms, ".3f"),
            _number(row.first_step_s, ".2f"),
            _number(row.state_bytes, ".1f"),
            *([_number(_percent(row.regret_fired), ".1f"), _number(row.regret_variation, ".3g")] if watched else []),
            *(_brief(row.measures.get(name)) for name in measures),
        )
    page.print(table)
    if found.target is not None:
        whose = "" if race.metric == "train" else "validation "
        page.print(
            f"target: {whose}{race.metric} {found.target:.4g}; ms are medians, the optimizer's part within the step's"
        )


def _reached(target: Reached | None) -> str:
    if target is None or target.steps is None:
        return "–" if target is None else f"never ({target.trials})"
    share = "" if target.reached == target.trials else f" ({target.reached} of {target.trials})"
    return f"{target.steps:.0f}{share}"


def _rates(row: Row) -> str:
    return ", ".join(f"{rate:.3g}" for rate in row.lr.values()) + ("*" if row.lr_on_edge else "")


def _difference(interval: Interval | None, scale: float = 1.0) -> tuple[str, str]:
    """A mean difference, and its interval."""
    if interval is None:
        return "–", ""
    digits = 2 if scale > 1 else 4
    mean = f"{interval.mean * scale:+.{digits}f}"
    if interval.low is None or interval.high is None:
        return mean, ""
    return mean, f"{interval.low * scale:+.{digits}f} to {interval.high * scale:+.{digits}f}"


def _brief(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f"{figure.mean:.3g}" + ("" if figure.sd is None else f" ± {figure.sd:.2g}")


def _ended_badly(row: Row) -> str:
    counts = {"diverged": row.diverged, "failed": row.failed}
    words = [f"{count} of {row.ok + row.diverged + row.failed} {word}" for word, count in counts.items() if count]
    return f"  [red]{', '.join(words)}[/red]" if words else ""


def _figure(figure: Figure | None, scale: float = 1.0) -> str:
    if figure is None:
        return "–"
    digits = 1 if scale > 1 else 4
    spread = "" if figure.sd is None else f" ± {figure.sd * scale:.{digits}f}"
    return f"{figure.mean * scale:.{digits}f}{spread}"


def _significant(figure: Figure | None) -> str:
    """Of what may be very small."""
    if figure is None:
        return "–"
    return f"{figure.mean:.3g}" + ("" if figure.sd is None else f" ± {figure.sd:.2g}")


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _messages(cost: dict[str, Any]) -> str:
    """What a step on sharded parameters sends."""
    sent = []
    if cost["all_reduces"]:
        sent.append(f"{cost['all_reduces']} all-reduce{'s' if cost['all_reduces'] > 1 else ''}")
    if cost["exchanged"]:
        sent.append(f"{cost['exchanged']:g} B per parameter exchanged")
    return f"; sharded over processes: {' and '.join(sent)}" if sent else ""


def description(pipeline: dict[str, Any]) -> None:
    """A pipeline's canonical text, stages, cost and recurrences."""
    console = _Page()
    console.print(escape(pipeline["spec"]), style="bold", soft_wrap=True)
    console.print(f"fingerprint {pipeline['fingerprint']}\n")
    table = Table()
    for name in ("stage", "kind", "hyper-parameters", "buffers"):
        table.add_column(name)
    table.add_column("B/param", justify="right")
    for stage in pipeline["stages"]:
        letters = stage["letters"]
        arguments = [
            f"{name}={value!r}" + (f"  ({letters[name]})" if letters.get(name, name) != name else "")
            for name, value in stage["arguments"].items()
        ]
        kept = stage["buffers"]
        table.add_row(
            stage["stage"],
            stage["kind"],
            escape("\n".join(arguments)) or "–",
            "its own" if kept is None else ", ".join(kept) or "–",
            "?" if kept is None else f"{stage['bytes_per_parameter']:g}",
        )
    console.print(table)
    cost = pipeline["cost"]
    for route, one in {"": cost}.items() if cost is None or "state" in cost else cost.items():
        if one is not None:
            console.print(
                f"{escape(route)}{': ' if route else ''}state {one['state']:g} B and memory traffic ≥ "
                f"{one['traffic']:g} B per float32 parameter and step" + _messages(one),
                soft_wrap=True,
            )
    estimator = pipeline["estimator"]
    console.print(
        f"a step costs {estimator['forwards']:g} forward and {estimator['backwards']:g} backward"
        + (f", over {estimator['calls']} calls" if estimator["calls"] > 1 else "")
        + (f"; step(closure) needs a closure: {estimator['closure']}" if estimator["closure"] else "")
        + f"\nnoise of the gradient: {escape(estimator['noise'])}",
        soft_wrap=True,
    )
    for line in pipeline["notes"]:
        console.print(f"note: {escape(line)}", soft_wrap=True)
    _recurrences(console, [(stage["stage"], stage["recurrence"]) for stage in pipeline["stages"]])
    if any(
        value == 0 and name in stage["letters"]
        for stage in pipeline["stages"]
        for name, value in stage["arguments"].items()
    ):
        console.print("\n(terms whose hyper-parameter is 0 now are left out)")


def _recurrences(console: _Page, stages: Sequence[tuple[str, Sequence[str]]]) -> None:
    for name, lines in stages:
        console.print(f"\n[bold]{escape(name)}[/bold]")
        for line in lines:
            console.print(f"    {escape(line)}", soft_wrap=True)


def plans(params: str, found: Sequence[dict[str, Any]]) -> None:
    """A row for each optimizer, then the buffers of each one's stages."""
    page = _Page()
    first = found[0]
    page.print(
        f"{escape(params)}: {first['parameters']:,} parameters in {first['tensors']} tensors, {first['dtype']}: "
        f"{_bytes(first['parameter_bytes'])}, their gradients {_bytes(first['gradient_bytes'])}",
        soft_wrap=True,
    )
    table = Table(box=SIMPLE_HEAD)
    table.add_column("optimizer", overflow="fold", min_width=16)
    timed = any(plan["least_seconds"] is not None for plan in found)
    names = ["state", "state\nB/param", "temporaries\n≤", "on a CPU\n≤", "traffic a step\n≥"]
    for name in [*names, *(["a step\n≥ ms"] if timed else [])]:
        table.add_column(name, justify="right")
    for plan in found:
        table.add_row(
            escape(plan["given"]),
            _bytes(plan["state_bytes"]),
            _number(plan["state_per_parameter"], ".4g"),
            _bytes(plan["temporary_bytes"]),
            _bytes(plan["temporary_bytes_on_cpu"]),
            _bytes(plan["traffic_bytes"]),
            *([_number(_milliseconds(plan["least_seconds"]), ".3g")] if timed else []),
        )
    page.print(table)
    for plan in found:
        _plan(page, plan)


def _plan(page: _Page, plan: dict[str, Any]) -> None:
    """One optimizer's stages, and what its step allocates."""
    page.print(escape(plan["spec"]), style="bold", soft_wrap=True)
    table = Table(box=SIMPLE_HEAD)
    for name in ("stage", "buffer", "dtype"):
        table.add_column(name)
    for name in ("bytes", "B/param"):
        table.add_column(name, justify="right")
    for route in plan["routes"]:
        if route["route"]:
            head = f"{route['route']}: {route['tensors']} tensor{'s' if route['tensors'] != 1 else ''}"
            table.add_row(f"[bold]{escape(head)}[/bold]", "", "", f"{route['parameters']:,} elements", "")
        for stage in route["stages"] if route["tensors"] else ():
            for name, dtype, size, share in _kept(stage):
                table.add_row(escape(stage["stage"]), escape(name), dtype, _bytes(size), _number(share, ".4g"))
    page.print(table)
    for one in plan["temporaries"] or ():
        on_cpu = "" if one["on_cpu"] == one["bytes"] else f", on a CPU {_bytes(one['on_cpu'])}"
        page.print(f"a step allocates at most {_bytes(one['bytes'])}{on_cpu}: {escape(one['what'])}", soft_wrap=True)
    if any(stage["buffers"] is None for route in plan["routes"] for stage in route["stages"]):
        page.print("its state is the other package's own, and shows in its first step only", soft_wrap=True)
    page.print()


def _kept(stage: dict[str, Any]) -> Iterator[tuple[str, str, int | None, float | None]]:
    """Name, dtype, bytes and bytes a parameter of each buffer of a stage."""
    if not stage["buffers"]:
        yield "its own" if stage["buffers"] is None else "–", "", stage["bytes"], stage["bytes_per_parameter"]
    for buffer in stage["buffers"] or ():
        yield buffer["name"], buffer["dtype"], buffer["bytes"], buffer["bytes_per_parameter"]


def _bytes(size: float | None) -> str:
    """A size with three digits: 1.49 GB, of 10⁹ bytes."""
    if size is None:
        return "–"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}" if size < 1000 * scale else f"{size / scale:,.0f} {unit}"
    return f"{size:g} B"


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def warmed(found: dict[str, Any]) -> None:
    """What was compiled for one optimizer."""
    page = _Page()
    graphs = found["graphs"]
    said = f"{graphs} graph{'s' if graphs != 1 else ''}, {found['compiled']} compiled anew" if graphs else "no graphs"
    page.print(f"{escape(found['spec'])}: {said}, in {found['seconds']:.2f} s", soft_wrap=True)
    for reason in found["fallbacks"]:
        note(f"{found['spec']}: {reason}: it will run uncompiled")


def catalogue(words: dict[str, Any]) -> None:
    """Stages with their arguments, recipes and tasks."""
    console = _Page()
    stages = Table(title="stages", title_justify="left")
    for name in ("stage", "kind", "argument", "default", "values"):
        stages.add_column(name, no_wrap=name != "values")
    for stage in words["stages"]:
        arguments = [
            (name, argument["default"], escape(argument["domain"])) for name, argument in stage["arguments"].items()
        ] or [("", "", "")]
        for number, argument in enumerate(arguments, start=1):
            head = (stage["stage"], stage["kind"]) if number == 1 else ("", "")
            stages.add_row(*head, *argument, end_section=number == len(arguments))
    console.print(stages)
    for stage in words["stages"]:
        console.print(f"  [bold]{stage['stage']}[/bold]  {escape(stage['about'])}", soft_wrap=True)
    console.print()
    for title, key, columns in (
        ("recipes", "recipes", ("recipe", "spec", "about")),
        ("tasks", "tasks", ("task", "about")),
    ):
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column)
        for word in words[key]:
            table.add_row(*(escape(word[column]) for column in columns))
        console.print(table)
    console.print(words["foreign"], soft_wrap=True)


def plain_text(text: str) -> None:
    """Text for a file or a pipe, as it is."""
    print(text)


def stability(report: dict[str, Any]) -> None:
    """Every bound beside the others, then the verdict."""
    console = _Page()
    table = Table()
    table.add_column("condition")
    table.add_column("allows")
    table.add_column("here")
    if report["simple_bound"] is not None:
        within = "within" if report["within_simple_bound"] else "outside"
        table.add_row(
            "paper: simple bound", f"|alpha| < {report['simple_bound']:.6g}", f"alpha = {report['alpha']:g}: {within}"
        )
    if report["ode_interval"] is not None:
        low, high = report["ode_interval"]
        table.add_row(
            "paper: ODE, f′ and f″ held constant",
            f"{'−∞' if low is None else f'{low:.6g}'} < alpha < {'∞' if high is None else f'{high:.6g}'}",
            _inside(report["alpha"], low, high),
        )
    models = report["lower_bounds_on_alpha"]
    if models is not None:
        for name, title in {"ode": "full ODE, Routh–Hurwitz", "exact": "exact recurrence: no hopf"}.items():
            table.add_row(title, f"alpha > {models[name]:.6g}", _inside(report["alpha"], models[name], None))
    sharpness = report["stable_sharpness"]
    limit = "any lr · curvature" if sharpness is None else f"lr · curvature < s* = {sharpness:.6g}"
    reached = "" if report["largest_s"] is None else f"reaches {report['largest_s']:.6g}"
    table.add_row("exact recurrence: stable sharpness", f"{limit} ({report['limited_by']})", reached)
    if "cliff" in report:
        table.add_row(
            "cliff: hopf takes over below",
            f"alpha > {report['cliff']:.6g}",
            f"{report['distance_to_cliff']:.6g} away",
        )
        best = report["best"]
        table.add_row("largest stable sharpness", f"{best['stable_sharpness']:.6g}", f"at alpha = {best['alpha']:.6g}")
    if "radius" in report:
        radius = report["radius"]
        table.add_row(
            f"spectral radius at curvature {radius['curvature']:.6g}",
            "< 1",
            f"minimal {radius['minimal']:.6g}, with hidden modes {radius['full']:.6g}",
        )
    console.print(table)
    console.print(report["verdict"], style="bold", soft_wrap=True)
    for line in [*report["disagreements"], *report.get("notes", [])]:
        console.print(f"- {escape(line)}", soft_wrap=True)


def _inside(value: float, low: float | None, high: float | None) -> str:
    inside = (low is None or value > low) and (high is None or value < high)
    return "inside" if inside else "outside"


def regret(report: dict[str, Any]) -> None:
    """Every condition of the theorems with its verdict and number."""
    console = _Page()
    table = Table(title=f"beta2 = {report['beta2']:g}, beta3 = {report['beta3']:g}", title_justify="left")
    for name in ("condition", "verdict", "number", "why"):
        table.add_column(name)
    colours = {"holds": "green", "fails": "red", "only while training": "yellow"}
    for condition in [*report["theorem2"], report["theorem1"]]:
        value = condition["value"]
        table.add_row(
            escape(condition["name"]),
            f"[{colours[condition['verdict']]}]{condition['verdict']}[/]",
            "–" if value is None else "∞" if value == float("inf") else f"{value:.4g}",
            escape(condition["reason"]),
        )
    console.print(table)
    holds = report["hyperparameters_hold"]
    console.print(
        f"The hyper-parameters {'meet' if holds else 'do not meet'} Theorem 2's conditions on them. "
        "They alone never give R(T) = O(√T): the rest shows only while training (edsl.theory.monitor.RegretMonitor).",
        soft_wrap=True,
    )


def explanation(explained: dict[str, Any]) -> None:
    """Recurrences, then what follows from them."""
    from edsl.cli.explain import facts

    console = _Page()
    console.print(escape(explained["spec"]), style="bold", soft_wrap=True)
    _recurrences(console, [(part["stage"], part["lines"]) for part in explained["recurrences"]])
    console.print()
    table = Table(show_header=False)
    for name, value in facts(explained):
        table.add_row(escape(name), escape(value))
    console.print(table)


def verdict(found: dict[str, Any]) -> None:
    """Whether two optimizers took the same steps, or where they part."""
    page = _Page()
    page.print(f"{escape(found['first'])}\n{escape(found['second'])}", soft_wrap=True)
    largest = f"largest difference {found['largest']:.3g}, tolerance {found['tolerance']:g}"
    what = f"{found['steps']} steps in float64, {len(found['tensors'])} tensors"
    parted = found["parted"]
    if parted is None:
        page.print(f"[bold]Equal[/bold]: {what}; {largest}", soft_wrap=True)
    else:
        page.print(
            f"[bold]Not equal[/bold]: they part at step {parted['step']} in {escape(parted['tensor'])}"
            f"{escape(str(parted['index']))}: {parted['first']!r} against {parted['second']!r}, "
            f"a difference of {parted['difference']:.3g} (tolerance {found['tolerance']:g})",
            soft_wrap=True,
        )
    for line in found["notes"]:
        page.print(f"note: {escape(line)}", soft_wrap=True)


def bench_table(found: dict[str, Any]) -> None:
    """One row an optimizer: times, what is compiled, memory."""
    page = _Page()
    page.print(escape(bench_title(found)), soft_wrap=True)
    for part in _in_parts(bench_rows(found), page.width):
        titles, *rows = part
        table = Table(box=SIMPLE_HEAD)
        table.add_column(titles[0], overflow="fold", min_width=min(_NAME, max(len(row[0]) for row in rows)))
        for title in titles[1:]:
            table.add_column(title, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*map(escape, row))
        page.print(table)
    for line in bench_notes(found):
        page.print(escape(line), soft_wrap=True)


_NAME = 24  # columns of a page that an optimizer's name gets at least


def _in_parts(rows: list[list[str]], width: int) -> Iterator[list[list[str]]]:
    """A table cut into some that fit a page, each with the names."""
    left: list[int] = []
    room = width - _NAME - 4
    for number in range(1, len(rows[0])):
        wide = max(len(line) for row in rows for line in row[number].split("\n")) + 3
        if left and room < wide:
            yield [[row[0], *(row[one] for one in left)] for row in rows]
            left, room = [], width - _NAME - 4
        left.append(number)
        room -= wide
    yield [[row[0], *(row[one] for one in left)] for row in rows]


def bench_title(found: dict[str, Any]) -> str:
    """What was measured, and where."""
    asked = found["configuration"]
    threads = f"{asked['threads']} thread{'s' if asked['threads'] > 1 else ''}"
    return (
        f"{asked['params']}: {asked['elements']:,} parameters in {asked['tensors']} tensors, {asked['dtype']}, "
        f"{asked['device_name']}, {threads}, {asked['steps']} steps"
    )


def bench_rows(found: dict[str, Any]) -> list[list[str]]:
    """The titles, a row for each optimizer, and one for the copy; without columns that have no figures."""
    rows = [_bench_row(row) for row in found["rows"]]
    moved = found["copy_bytes"] / found["configuration"]["elements"]
    rows.append([f"copy of {moved:.0f} B/param", *_time_cells(found["copy_ms"])])
    rows = [row + ["–"] * (len(_BENCH_COLUMNS) - len(row)) for row in rows]
    kept = [number for number in range(len(_BENCH_COLUMNS)) if any(row[number] != "–" for row in rows)]
    return [[row[number] for number in kept] for row in (_BENCH_COLUMNS, *rows)]


def bench_notes(found: dict[str, Any]) -> list[str]:
    """How to read the table, who is not in it, and what ran uncompiled."""
    return [
        "steps in turn, in one process: medians and quartiles, and ratios within each round",
        *(f"not measured: {line}" for line in found["absent"]),
        *(f"{row['optimizer']}: {reason}" for row in found["rows"] for reason in row["fallbacks"]),
    ]


_BENCH_COLUMNS = [
    "optimizer",
    "step\nms",
    "quartiles\nms",
    "× fused\nAdamW",
    "× copy",
    "first step\ncold s",
    "first step\nwarm s",
    "graphs",
    "re-\ncompiled",
    "kernels",
    "state\nB/param",
    "temporary\nB/param",
]


def _bench_row(row: dict[str, Any]) -> list[str]:
    first = row["first_step_s"] or {"cold": None, "warm": None}
    return [
        row["optimizer"],
        *_time_cells(row["step_ms"]),
        f"{row['to_adamw']:.2f}",
        f"{row['to_copy']:.2f}",
        _number(first["cold"], ".2f"),
        _number(first["warm"], ".2f"),
        str(row["graphs"]),
        str(row["recompiles"]),
        _number(row["kernels"], "d"),
        f"{row['state_bytes']:.1f}",
        f"{row['temporary_bytes']:.1f}",
    ]


def _time_cells(spread: dict[str, float]) -> list[str]:
    return [_three_digits(spread["median"]), f"{_three_digits(spread['lower'])}–{_three_digits(spread['upper'])}"]


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def comparison(first: str, second: str, found: Any, notes: Sequence[str]) -> None:
    """Whether two pipelines are equal, a map between them, or where they part."""
    console = _Page()
    if found.equal:
        console.print("[bold]Equal[/bold] as linear systems: the same steps for every sequence of gradients.")
    else:
        console.print("[bold]Not equal[/bold] as linear systems.")
        for values in found.maps:
            said = ", ".join(f"{name}={value:.12g}" for name, value in values.items())
            console.print(f"- the second equals the first with {said}", soft_wrap=True)
        if not found.maps:
            console.print("- no values of the second's hyper-parameters make it equal the first")
        if found.first_difference is not None:
            age, one, two = found.first_difference
            console.print(f"- first difference: the gradient {age} steps back weighs {one:.6g} and {two:.6g}")
        frequency, one, two = found.largest_difference
        console.print(f"- largest ratio of gains: {one:.6g} and {two:.6g} at {frequency:.4g} cycles a step")
    for note_ in notes:
        console.print(f"- {escape(note_)}", soft_wrap=True)


def claim(found: Claim, folder: Path) -> None:
    """A claim of the paper beside our figures."""
    from edsl.lab.claims.writing import cell_text

    page = _Page()
    colour = {"reproduced": "green", "partly": "yellow", "not seen": "red"}[found.verdict]
    page.print(f"[bold]{escape(found.title)}[/bold]: [{colour}]{found.verdict}[/{colour}]", soft_wrap=True)
    page.print(f"  paper  {escape(found.paper)}", soft_wrap=True)
    page.print(f"  here   {escape(found.ours)}", soft_wrap=True)
    if found.table:
        table = Table(box=SIMPLE_HEAD)
        columns = list(dict.fromkeys(column for row in found.table for column in row))
        for number, column in enumerate(columns):
            table.add_column(escape(column), justify="left" if number == 0 else "right", overflow="fold")
        for row in found.table:
            values = [row.get(column, "") for column in columns]
            table.add_row(*(escape(cell_text(value)) for value in values))
        page.print(table)
    page.print(f"  rule   {escape(found.rule)}", soft_wrap=True)
    page.print(f"  but    {escape(found.caveat)}", soft_wrap=True)
    for line in found.commands.splitlines():
        page.print(f"  also   {escape(line)}", soft_wrap=True)
    page.print()
    note(f"pictures and figures: {folder}")


def sharpness(race: Race, rows: Sequence[Matched]) -> None:
    """Sharpness and drift by level of the training loss, each beside the first optimizer's."""
    page = _Page()
    page.print(escape(_race_line(race)), soft_wrap=True)
    first = race.entrants[0].name
    for level in dict.fromkeys(row.level for row in rows):
        head = f"when the training loss first was {level:g} or less" if level else "at the end, whatever the loss"
        page.print(f"[bold]{head}[/bold]")
        table = Table(box=SIMPLE_HEAD)
        table.add_column("optimizer", overflow="fold", min_width=16)
        for name in ("seeds\nthere", "step", "sharpness", "over the first's", "drift", "− the first's"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in rows:
            if row.level == level:
                table.add_row(
                    escape(row.name),
                    f"{row.reached} of {row.seeds}",
                    _number(row.steps, ".0f") if row.reached else "never",
                    _number(row.sharpness, ".4g") if row.reached else "–",
                    _three(row.sharpness_ratio),
                    _number(row.drift, ".4g") if row.reached else "–",
                    _three(row.drift_difference),
                )
        page.print(table)
    page.print(
        f"the first is {escape(first)}; geometric mean ratios and mean differences, paired by seed, 95 % intervals",
        soft_wrap=True,
    )


def _three(interval: Interval | None) -> str:
    """A mean with its interval, as 1.02 (0.98 to 1.06)."""
    if interval is None:
        return ""
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.3g}"
    return f"{interval.mean:.3g} ({interval.low:.3g} to {interval.high:.3g})"


def tours(configuration: dict[str, Any], found: Sequence[Any]) -> None:
    """One row an optimizer: medians over starts of what its walks have seen."""
    page = _Page()
    starts = configuration["starts"]
    page.print(
        f"{configuration['landscape']}, {starts} start{'s' if starts > 1 else ''}, {configuration['steps']} steps: "
        "medians with 95 % bootstrap intervals"
    )
    table = Table(box=SIMPLE_HEAD)
    table.add_column("optimizer", overflow="fold", min_width=16)
    titles = (
        "valley walked\nalong",
        "range of its\narc",
        "starts that\nreach it",
        "final loss",
        "flattest point,\nλ max",
    )
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for one in found:
        table.add_row(
            escape(one.name),
            _interval(one.covered),
            _interval(one.arc),
            f"{100 * one.reached:.0f} %",
            _number(one.final.median, ".2g"),
            _number(one.flattest.median, ".3g"),
        )
    page.print(table)


def sweeps(configuration: dict[str, Any], minima: Sequence[float], found: Sequence[Any]) -> None:
    """One row an optimizer: at which minimum its learning rates end."""
    page = _Page()
    rates = found[0].rates
    page.print(
        f"{configuration['landscape']}, {len(rates)} learning rates from {rates[0]:g} to {rates[-1]:g}, "
        f"{configuration['steps']} steps: how many end where"
    )
    table = Table(box=SIMPLE_HEAD)
    table.add_column("optimizer", overflow="fold", min_width=16)
    for title in (f"first minimum,\nx = {minima[0]:.3g}", "another", "none", "furthest\nminimum, x"):
        table.add_column(title, justify="right", no_wrap=True)
    for one in found:
        last = "–" if one.furthest < 0 else f"{minima[one.furthest]:.3g}"
        table.add_row(escape(one.name), str(one.first), str(one.another), str(one.none), last)
    page.print(table)


def _interval(interval: Any) -> str:
    return f"{interval.median:.3g} [{interval.low:.2g}, {interval.high:.2g}]"
