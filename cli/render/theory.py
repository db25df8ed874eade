"""What the theory says of hyper-parameters: stability and regret."""

from __future__ import annotations

import math
from typing import Any

from rich.markup import escape
from rich.table import Table

from edsl.cli.render.page import Page
from edsl.language.domain import plain
from edsl.theory.text.figure import figure


def print_stability(report: dict[str, Any]) -> None:
    """Every bound beside the others, then the verdict."""
    page = Page()
    table = Table()
    for name in ("condition", "allows", "here"):
        table.add_column(name, overflow="fold")
    alpha = report["alpha"]
    if report["simple_bound"] is not None:
        within = "within" if report["within_simple_bound"] else "outside"
        table.add_row(
            "paper: simple bound", f"|alpha| < {figure(report['simple_bound'])}", f"alpha = {figure(alpha)}: {within}"
        )
    if report["ode_interval"] is not None:
        low, high = report["ode_interval"]
        table.add_row("paper: ODE, f′ and f″ held constant", _between(low, high), _inside(alpha, low, high))
    models = report["lower_bounds_on_alpha"]
    if models is not None:
        table.add_row(
            "full ODE, Routh–Hurwitz", f"alpha > {figure(models['ode'])}", _inside(alpha, models["ode"], None)
        )
    if report["alpha_range"] is not None:
        low, high = report["alpha_range"]
        table.add_row("exact recurrence, at the highest curvature", _between(low, high), _inside(alpha, low, high))
    sharpness = report["stable_sharpness"]
    limit = "any lr · curvature" if sharpness is None else f"lr · curvature < s* = {figure(sharpness)}"
    limit = "no small lr · curvature" if report["limited_by"] is None else f"{limit} ({report['limited_by']})"
    reached = "" if report["largest_s"] is None else f"reaches {figure(report['largest_s'])}"
    table.add_row("exact recurrence: stable sharpness", limit, reached)
    if report.get("cliff") is not None:
        table.add_row(
            "cliff: hopf takes over below",
            f"alpha > {figure(report['cliff'])}",
            f"{figure(report['distance_to_cliff'])} away",
        )
        best = report["best"]
        table.add_row(
            "largest stable sharpness", figure(best["stable_sharpness"]), f"at alpha = {figure(best['alpha'])}"
        )
    if "radius" in report:
        radius = report["radius"]
        table.add_row(
            f"spectral radius at curvature {figure(radius['curvature'])}",
            "< 1",
            f"minimal {figure(radius['minimal'])}, with hidden modes {figure(radius['full'])}",
        )
        if report["steady_variance"] is not None:
            table.add_row("variance of θ per variance of gradient noise", "", figure(report["steady_variance"]))
        _add_noise(table, report, f"at curvature {figure(radius['curvature'])}")
    page.print(table)
    page.say(report["verdict"], style="bold")
    for line in [*report["disagreements"], *report.get("notes", [])]:
        page.say(line, begin="- ")


def _add_noise(table: Table, report: dict[str, Any], where: str) -> None:
    """What batches may vary, where they do."""
    if report["mean_square_radius"] is None:
        return
    table.add_row(f"rate in mean square {where}", "< 1", figure(report["mean_square_radius"]))
    if report["largest_noise"] is not None:
        allowed, here = figure(report["largest_noise"]), figure(report["batch_noise"])
        table.add_row(f"noise of the curvature {where}", f"σ_h/h < {allowed}", f"σ_h/h = {here}")
    if report.get("critical_batch") is not None:
        table.add_row(f"batch {where}", f"> {figure(report['critical_batch'])}", "")


def print_certificate(report: dict[str, Any], run: dict[str, Any] | None) -> None:
    """What is certified, what cycles, and what a run of the cycle showed."""
    page = Page()
    page.print_spec(report["spec"])
    kappa = figure(report["condition"])
    clamped = report["is_clamped"]
    functions = "sums over coordinates of curvatures" if clamped else f"functions of curvatures in [L/{kappa}, L]"
    table = Table(title=f"s = lr · L on {functions}" + (" in (0, L]" if clamped else ""), title_justify="left")
    for name in ("what", "s"):
        table.add_column(name, overflow="fold")
    sharpness = report["stable_sharpness"]
    table.add_row(
        f"converges on quadratics{', near the minimum' if clamped else ''}, below",
        "any" if sharpness is None else figure(sharpness),
    )
    table.add_row("certified for every such function, up to", figure(report["certified_sharpness"]))
    cycle = report["cycle_sharpness"]
    if not clamped:
        table.add_row("cycles for ever on one of them, from", "none found" if cycle is None else figure(cycle))
    if report["rate"] is not None:
        table.add_row(f"best certified rate, {figure(report['rate'])} a step, at", figure(report["rate_sharpness"]))
    table.add_row("here", figure(report["s"]))
    page.print(table)
    page.say(report["verdict"], style="bold")
    if report["cycle"] is not None:
        page.say(_of_cycle(report["cycle"], kappa), begin="- ")
    for line in [*report["notes"], *(_of_run(run) if run else [])]:
        page.say(line, begin="- ")


def _of_cycle(cycle: dict[str, Any], kappa: str) -> str:
    x, y = cycle["vertex"]
    return (
        f"a cycle at s = {figure(cycle['sharpness'])}: θ walks round the unit circle, {cycle['turns']} time"
        f"{'s' if cycle['turns'] > 1 else ''} in {cycle['period']} steps, on f = (m/2)‖x‖² + ((L−m)/2) dist²(x, P), "
        f"m = L/{kappa}, P the regular {'segment' if cycle['period'] == 2 else str(cycle['period']) + '-gon'} around 0 "
        f"with the vertex ({figure(x)}, {figure(y)})"
    )


def _of_run(run: dict[str, Any]) -> list[str]:
    kept = f"run: the compiled optimizer, begun on the cycle, is off by {run['off_after_one']:.1e} after one round"
    pushed = f"begun 1 % beside it, it is off by {run['off_after_push']:.1e} after {run['rounds']:,} rounds"
    away = f"from θ = (2, 0) with empty memory, f falls from {run['first_loss']:.3g} to {run['last_loss']:.3g} in "
    return [kept, pushed, f"{away}{run['steps']:,} steps"]


def print_design(report: dict[str, Any]) -> None:
    """The best values beside the given ones, those without E, and what is possible at all."""
    page = Page()
    page.print_spec(report["spec"])
    low, high = report["spectrum"]
    delay = report["delay"]
    kinds = [f"{delay} step{'s' if delay > 1 else ''} of delay" if delay else "", _noise_of(report["batch_noise"])]
    said = "".join(f", {kind}" for kind in kinds if kind)
    certified = report["of"] == "certified"
    which = "every f with curvatures from" if certified else "quadratics of curvatures from"
    page.say(f"{which} {figure(low)} to {figure(high)}, condition {figure(report['condition'])}{said}")
    table = Table()
    table.add_column("", overflow="fold")
    for name in ("certified rate" if certified else "worst rate", "steps a digit"):
        table.add_column(name, justify="right")
    table.add_column("values", overflow="fold")
    rows = {"as given": report["own"], "best": report["best"], "best without E": report["without_e"]}
    for name, row in rows.items():
        if row is not None:
            values = "\n".join(f"{key}={figure(value)}" for key, value in row["values"].items())
            steps = (
                ("none" if certified else "diverges")
                if row["steps_per_digit"] is None
                else figure(row["steps_per_digit"])
            )
            rate = "none" if certified and row["rate"] >= 1 else figure(row["rate"])
            table.add_row(name, rate, steps, escape(values))
    for name, rate in (report["limits"] or {}).items():
        table.add_row(name, figure(rate), figure(math.log(10) / -math.log(rate)) if rate else "–", "")
    page.print(table)
    page.say(report["verdict"], style="bold")
    for line in report["notes"]:
        page.say(line, begin="- ")


def _noise_of(noise: float) -> str:
    return f"σ_h/h = {figure(noise)} (in mean square)" if noise else ""


def _between(low: float | None, high: float | None) -> str:
    return f"{'−∞' if low is None else figure(low)} < alpha < {'∞' if high is None else figure(high)}"


def _inside(value: float, low: float | None, high: float | None) -> str:
    inside = (low is None or value > low) and (high is None or value < high)
    return "inside" if inside else "outside"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def print_regret(report: dict[str, Any]) -> None:
    """Every condition of the theorems with its verdict and number."""
    page = Page()
    title = f"beta2 = {plain(report['beta2'])}, beta3 = {plain(report['beta3'])}"
    if assumed := report["assumed"]:
        title += f"; no schedule given for {_listed(assumed)}: 1/√k is assumed"
    page.say(title, style="italic")
    table = Table()
    for name in ("condition", "verdict", "number", "why"):
        table.add_column(name, overflow="fold")
    colours = {"holds": "green", "fails": "red", "only while training": "yellow"}
    for condition in [*report["theorem2"], report["theorem1"]]:
        value = condition["value"]
        table.add_row(
            escape(condition["name"]),
            f"[{colours[condition['verdict']]}]{condition['verdict']}[/]",
            "–" if value is None else "∞" if value == float("inf") else f"{value:.4g}",
            escape(condition["reason"]),
        )
    page.print(table)
    holds = report["hyperparameters_hold"]
    page.say(
        f"The hyper-parameters {'meet' if holds else 'do not meet'} Theorem 2's conditions on them. "
        "They alone never give R(T) = O(√T): the rest shows only while training (edsl.theory.RegretMonitor)."
    )
