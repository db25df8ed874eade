"""What the theory says of hyper-parameters: stability and regret."""

from __future__ import annotations

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
    if "cliff" in report:
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
    page.print(table)
    page.print(report["verdict"], style="bold", soft_wrap=True)
    for line in [*report["disagreements"], *report.get("notes", [])]:
        page.print(f"- {escape(line)}", soft_wrap=True)


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
    page.print(title, style="italic", soft_wrap=True)
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
    page.print(
        f"The hyper-parameters {'meet' if holds else 'do not meet'} Theorem 2's conditions on them. "
        "They alone never give R(T) = O(√T): the rest shows only while training (edsl.theory.RegretMonitor).",
        soft_wrap=True,
    )
