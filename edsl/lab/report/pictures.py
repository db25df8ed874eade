"""The pictures of a race, as matplotlib figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edsl.errors import EdslError
from edsl.lab.races.controls import TWIN, WITHOUT
from edsl.lab.races.race import TUNING_SEEDS_FROM, Race
from edsl.lab.report.legends import LINE, legend_below, wrapped
from edsl.lab.results.results import FINAL, NAMES, Results
from edsl.lab.results.statistics import BETTER, WORSE, performance_profile
from edsl.lab.results.targets import ALONG

COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8f5fbf", "#e08e1d", "#00798c", "#7a5c3e", "#5c6b73")
VERDICTS = {BETTER: "#2e933c", WORSE: "#d1495b"}
CONTROL_STYLES = {WITHOUT: "--", TWIN: ":"}
METRICS = {"accuracy": "validation accuracy, %", "loss": "validation loss", "train": "training loss"}  # on an axis


def figure_class() -> Any:
    """matplotlib's Figure, which draws without a display; raises EdslError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise EdslError("pictures need matplotlib: pip install 'edsl-optim[plot]'") from None
    return Figure


def light_frame(axes: Any) -> None:
    """Leave of a panel's frame the two axes, before a faint grid."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def styles(race: Race) -> dict[str, dict[str, Any]]:
    """A colour for each entrant, its controls' the same with other lines."""
    found: dict[str, dict[str, Any]] = {}
    own = [entrant for entrant in race.entrants if not entrant.control_of]
    for number, entrant in enumerate(own):
        dash = "-" if number < len(COLOURS) else "-."
        found[entrant.name] = {"color": COLOURS[number % len(COLOURS)], "linestyle": dash}
    for entrant in race.entrants:
        if entrant.control_of:
            control = entrant.name.rpartition(", ")[2]
            colour = found[entrant.control_of]["color"]
            found[entrant.name] = {"color": colour, "linestyle": CONTROL_STYLES.get(control, ":"), "alpha": 0.75}
    return found


def _finals(race: Race, finished: Sequence[Mapping[str, Any]], spec: str) -> list[Mapping[str, Any]]:
    return [t for t in finished if t["spec"] == spec and t["seed"] < TUNING_SEEDS_FROM and t["seed"] < race.seeds]


def curves(race: Race, found: Results, finished: Sequence[Mapping[str, Any]]) -> Any:
    """The metric on the validation split over steps and over seconds, and the training loss over steps.

    Medians with bands from least to most.
    """
    figure = figure_class()(figsize=(13, 4.2), layout="constrained")
    panels = figure.subplots(1, 3)
    style = styles(race)
    key = ALONG[race.metric] if race.metric != "train" else "validation_loss"
    for axes, column, over in zip(panels, (key, key, "loss"), ("steps", "seconds", "steps")):
        for row in found.rows:
            trials = [trial for trial in _finals(race, finished, row.spec) if trial["status"] == "ok"]
            steps, values = _aligned(trials, column)
            if not len(steps):
                continue
            places = np.median([[_spent(trial, over)[step] for step in steps] for trial in trials], axis=0)
            scale = 100 if column == "accuracy" else 1
            line = style[row.name]
            axes.plot(places, scale * np.median(values, axis=0), label=wrapped(row.name), linewidth=1.8, **line)
            if len(values) > 1:
                low, high = scale * values.min(axis=0), scale * values.max(axis=0)
                axes.fill_between(places, low, high, color=line["color"], alpha=0.12, linewidth=0)
        axes.set_xlabel("step" if over == "steps" else "seconds of training, medians")
        light_frame(axes)
        if column != "accuracy":
            axes.set_yscale("log")
    for axes in panels[:2]:
        axes.set_ylabel("validation accuracy, %" if key == "accuracy" else "validation loss")
        for target in found.targets if key == ALONG[race.metric] else ():
            _draw_target(axes, target * (100 if key == "accuracy" else 1))
    panels[2].set_ylabel("training loss, mean of batches")
    legend_below(figure, panels[0])
    return figure


def _spent(trial: Mapping[str, Any], unit: str) -> dict[float, float]:
    """What was spent at each checkpoint, by its step."""
    return {point["steps"]: point[unit] for point in trial["checkpoints"]}


def _draw_target(axes: Any, height: float) -> None:
    axes.axhline(height, color="0.5", linewidth=0.8, linestyle=(0, (1, 2)))
    place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
    axes.annotate("target", (1, height), fontsize=8, color="0.4", **place)


def _aligned(trials: Sequence[Mapping[str, Any]], column: str) -> tuple[Any, Any]:
    """Steps, and one row a trial, at the checkpoints that all trials have."""
    lines = [{p["steps"]: p[column] for p in trial["checkpoints"] if p.get(column) is not None} for trial in trials]
    lines = [line for line in lines if line]
    if not lines:
        return np.array([]), np.array([])
    common = sorted(set.intersection(*(set(line) for line in lines)))
    return np.array(common), np.array([[line[step] for step in common] for line in lines])


def tuning(race: Race, finished: Sequence[Mapping[str, Any]]) -> Any:
    """What every learning rate that was tried gave, by optimizer; None for a race without tuning."""
    if not race.tuning.tuner or race.tuning.space:
        return None
    trials = {(trial["spec"], trial["seed"]): dict(trial) for trial in finished}
    figure = figure_class()(figsize=(6.2, 4.2), layout="constrained")
    axes = figure.subplots()
    style = styles(race)
    from edsl.lab.races.learning_rate import learning_rates, scaled
    from edsl.language.spec import parse

    worst = []
    lines = []
    for entrant in race.entrants:
        scores, _ = race.tuned(entrant, trials)
        rates = {next(iter(learning_rates(scaled(parse(entrant.spec), f)).values())): s for f, s in scores.items()}
        lines.append((entrant, dict(sorted(rates.items()))))
        worst += [score for score in rates.values() if np.isfinite(score)]
    sign = 100 if race.metric == "accuracy" else 1
    for entrant, rates in lines:
        good = {rate: score for rate, score in rates.items() if np.isfinite(score)}
        shown = [-sign * s if race.metric == "accuracy" else s for s in good.values()]
        line = style[entrant.name]
        axes.plot(list(good), shown, marker="o", markersize=4, label=wrapped(entrant.name), **line)
        if good:
            best = min(good, key=lambda rate: (good[rate], rate))
            at = shown[list(good).index(best)]
            axes.plot([best], [at], marker="*", markersize=13, color=line["color"], linestyle="none")
        lost = [rate for rate in rates if rate not in good]
        axes.plot(
            lost,
            [0.02] * len(lost),
            marker="x",
            linestyle="none",
            color=line["color"],
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
    axes.set_xscale("log")
    if race.metric != "accuracy" and worst and min(worst) > 0:
        axes.set_yscale("log")
    axes.set_xlabel("learning rate (★ chosen, × diverged)")
    axes.set_ylabel(METRICS[race.metric])
    light_frame(axes)
    legend_below(figure, axes)
    return figure


def differences(race: Race, found: Results) -> Any:
    """Every entrant's difference to the baseline with its interval; None where there is none."""
    rows = [
        (wrapped(row.name, 44), effect.interval, effect)
        for row in reversed(found.rows)
        for effect in row.effects
        if effect.against == race.baseline and effect.interval is not None and not math.isnan(effect.interval.mean)
    ]
    if not rows:
        return None
    scale = 100 if race.metric == "accuracy" else 1
    lines = sum(max(2, name.count("\n") + 1) for name, *_ in rows)
    side = "better →" if race.higher_is_better else "← better"
    unit = ", percentage points" if race.metric == "accuracy" else ""
    label = wrapped(f"{NAMES[race.metric]} − that of {race.baseline}{unit} ({side}), 95 % interval", 80)
    figure = figure_class()(figsize=(7.5, 1.15 + 0.19 * lines + LINE * label.count("\n")), layout="constrained")
    axes = figure.subplots()
    for place, (_, interval, effect) in enumerate(rows):
        colour = VERDICTS.get(effect.verdict, "0.45")
        filled = colour if effect.family_wise == effect.verdict else "white"
        if interval.low is not None and interval.high is not None:
            axes.plot([scale * interval.low, scale * interval.high], [place, place], color=colour, linewidth=2.2)
        axes.plot([scale * interval.mean], [place], "o", color=colour, markerfacecolor=filled)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=9)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.axvline(0, color="0.3", linewidth=0.9)
    figure.supxlabel(label, fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    return figure


def boxes(race: Race, found: Results, finished: Sequence[Mapping[str, Any]]) -> Any:
    """A sweep's metric by each hyper-parameter: a box for each combination, over its seeds; None for other races."""
    swept = [entrant for entrant in race.entrants if entrant.values]
    if race.kind != "sweep" or not swept:
        return None
    names = list(swept[0].values)
    *outer, inner = names
    rows = {row.name: row for row in found.rows}
    panels: dict[tuple[Any, ...], list[Any]] = {}
    for entrant in swept:
        panels.setdefault(tuple(entrant.values[name] for name in outer), []).append(entrant)
    sizes = [len(entrants) for entrants in panels.values()]
    figure = figure_class()(figsize=(max(4.5, 1.2 + 0.75 * sum(sizes)), 4.2), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=sizes)[0]
    scale = 100 if race.metric == "accuracy" else 1

    def finals(spec: str) -> list[float]:
        found = [t[FINAL[race.metric]] for t in _finals(race, finished, spec) if t["status"] == "ok"]
        return [scale * value for value in found if value is not None]

    base = rows.get(WITHOUT)
    for axes, (values, entrants) in zip(grid, panels.items()):
        for place, entrant in enumerate(entrants):
            data = finals(rows[entrant.name].spec)
            if not data:
                axes.text(
                    place,
                    0.5,
                    "diverged",
                    rotation=90,
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="0.4",
                    transform=axes.get_xaxis_transform(),
                )
                continue
            axes.boxplot(data, positions=[place], widths=0.55, medianprops={"color": COLOURS[1]}, showfliers=False)
            axes.plot([place] * len(data), data, ".", color=COLOURS[0], markersize=4, alpha=0.7)
        axes.set_xticks(
            range(len(entrants)),
            [
                f"{entrant.values[inner]:g}"
                if isinstance(entrant.values[inner], (int, float))
                else str(entrant.values[inner])
                for entrant in entrants
            ],
        )
        axes.set_xlim(-0.6, len(entrants) - 0.4)
        axes.set_xlabel(inner)
        axes.set_title(", ".join(f"{name}={value}" for name, value in zip(outer, values)), fontsize=10)
        if base is not None and (without := finals(base.spec)):
            axes.axhspan(min(without), max(without), color="0.85", zorder=0)
            axes.axhline(float(np.median(without)), color="0.5", linestyle="--", linewidth=1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    grid[0].set_ylabel(NAMES[race.metric] + (", %" if race.metric == "accuracy" else ""))
    if base is not None:
        figure.supxlabel("grey: without E, from least to most; dashed, its median", fontsize=8, color="0.35")
    return figure


def measured(race: Race, found: Results, finished: Sequence[Mapping[str, Any]]) -> Any:
    """Each measure over steps, medians with bands from least to most; None where nothing was measured."""
    names = list(dict.fromkeys(name for row in found.rows for name in row.measures))[:12]
    if not names:
        return None
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = figure_class()(figsize=(3.6 * columns, 2.9 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    style = styles(race)
    for axes, name in zip(grid, names):
        for row in found.rows:
            trials = [trial for trial in _finals(race, finished, row.spec) if trial["status"] == "ok"]
            points = [{p["step"]: p[name] for p in trial["measured"] if p.get(name) is not None} for trial in trials]
            points = [line for line in points if line]
            if not points:
                continue
            steps = sorted(set.intersection(*(set(line) for line in points)))
            values = np.array([[line[step] for step in steps] for line in points])
            line = style[row.name]
            axes.plot(steps, np.median(values, axis=0), label=wrapped(row.name), **line)
            if len(values) > 1:
                axes.fill_between(
                    steps, values.min(axis=0), values.max(axis=0), color=line["color"], alpha=0.12, linewidth=0
                )
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        light_frame(axes)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    legend_below(figure, grid[0])
    return figure


def profiles(races: Sequence[tuple[Race, Results]]) -> Any:
    """Over several races the share of targets that each optimizer reaches within τ times the least of all.

    Of steps on the left, of seconds on the right; one counts as reached where every trial came to it.
    """
    names = [row.name for row in races[0][1].rows if all(row.name in {r.name for r in f.rows} for _, f in races)]
    if len(races) < 2 or not names:
        return None
    rows = {name: [next(row for row in found.rows if row.name == name) for _, found in races] for name in names}
    figure = figure_class()(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, unit in zip(panels, ("steps", "seconds")):
        costs = [
            [getattr(one, unit) if one.reached == one.trials else np.inf for row in rows[name] for one in row.targets]
            for name in names
        ]
        lines = performance_profile([[np.inf if cost is None else cost for cost in line] for line in costs])
        most = max(tau for line in lines for tau, _ in line)
        for number, (name, line) in enumerate(zip(names, lines)):
            taus, shares = zip(*line)
            style = {"label": wrapped(name), "color": COLOURS[number % len(COLOURS)]}
            axes.step([*taus, max(2.0, 1.1 * most)], [*shares, shares[-1]], where="post", **style)
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel(f"τ, {unit} to target over the least of all optimizers")
        light_frame(axes)
    count = sum(len(found.targets) for _, found in races)
    panels[0].set_ylabel(f"share of {count} {'tasks' if count == len(races) else 'targets'}")
    legend_below(figure, panels[0])
    return figure
