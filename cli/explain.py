"""`edsl explain`: a pipeline as the paper would write it, and what follows from that."""

from __future__ import annotations

from typing import Any

from edsl.cli.render.page import print_json, print_text
from edsl.cli.render.pipeline import facts, print_explanation
from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.language.spec import parse
from edsl.theory.text.notation import recurrences
from edsl.theory.text.schedules import at_step, taken_at

MOST_SYMBOLIC = 1  # buffers up to which a transfer function is written in symbols


def explain(spec: str, as_latex: bool, as_markdown: bool, as_json: bool, step: int | None = None) -> None:
    """Print recurrences, transfer function, gains, bounds and known relations."""
    if as_latex + as_markdown + as_json > 1:
        raise EdslError("choose one: --latex, --markdown or --json")
    pipeline = parse(spec)
    if pipeline.update.moves_weights and len(pipeline.stages) == 2:
        raise EdslError(f"{pipeline.update.name} is another package's optimizer: edsl does not know its recurrence")
    explanation = {**describe(at_step(pipeline, step)), "taken": taken_at(pipeline, step)}
    if as_json:
        print_json(explanation)
    elif as_latex:
        print_text(to_latex(explanation))
    elif as_markdown:
        print_text(to_markdown(explanation))
    else:
        print_explanation(explanation)


def describe(pipeline: Pipeline) -> dict[str, Any]:
    """A pipeline's mathematics in plain values; what has no linear model says why."""
    from edsl.theory.stability.report import check_pipeline
    from edsl.theory.statements.relations import relations
    from edsl.theory.systems.filter import adaptor_filter

    explanation: dict[str, Any] = {
        "spec": pipeline.line,
        "recurrences": [
            {"stage": part.label, "lines": list(part.lines), "letters": dict(part.letters)}
            for part in recurrences(pipeline)
        ],
        "relations": [{"name": relation.name, "statement": relation.statement} for relation in relations(pipeline)],
        "controls": _controls(pipeline),
        "no_twin": _no_twin(pipeline),
    }
    try:
        explanation["filter"] = _filter(adaptor_filter(pipeline))
    except EdslError as reason:
        explanation["filter"] = str(reason)
    try:
        explanation["stability"] = check_pipeline(pipeline)
    except EdslError as reason:
        explanation["stability"] = str(reason)
    return {**explanation, **_effects(pipeline)}


def _effects(pipeline: Pipeline) -> dict[str, Any]:
    """What the steps do beside converging; None, or a reason, for what is not known."""
    from edsl.theory.statements.effects import noise_factor, rotation, small_steps
    from edsl.theory.statements.homogeneity import degrees

    turning = rotation(pipeline)
    found: dict[str, Any] = {
        "noise_factor": noise_factor(pipeline),
        "rotation": None if turning is None else {"angle": turning.angle, "norm": turning.norm},
    }
    try:
        small = small_steps(pipeline)
        found["small_steps"] = small and {"lr": small.lr, "delay": small.delay, "regulariser": small.regulariser}
    except EdslError as reason:
        found["small_steps"] = str(reason)
    try:
        scaling = degrees(pipeline)
        found["degrees"] = {"stages": scaling.stages, "step": scaling.step}
    except EdslError as reason:
        found["degrees"] = str(reason)
    return found


def _filter(found: Any) -> dict[str, Any]:
    few = len(found.states) <= MOST_SYMBOLIC
    return {
        "transfer": str(found.transfer),
        "written": found.written,
        "symbolic": str(found.symbolic) if few else None,
        "dc_gain": found.dc_gain,
        "nyquist_gain": found.nyquist_gain,
        "first_gain": found.first_gain,
        "noise_gain": found.noise_gain,
        "minimum_phase": found.minimum_phase,
        "buffers": len(found.states),
        "buffers_needed": found.order,
        "notes": list(found.notes),
    }


def _controls(pipeline: Pipeline) -> list[dict[str, str]]:
    """What a race sets beside a pipeline with E: the same without it, and its linear twin."""
    from edsl.lab.races.controls import controls_of

    return [
        {"name": control.name, "spec": control.pipeline.line, "about": control.about}
        for control in controls_of(pipeline)
    ]


def _no_twin(pipeline: Pipeline) -> str | None:
    """Why a pipeline with E has no linear twin; None where it has one, or no E."""
    from edsl.lab.races.controls import WITHOUT, controls_of
    from edsl.theory.statements.twin import linear_twin

    base = {control.name: control.pipeline for control in controls_of(pipeline)}.get(WITHOUT)
    twin = None if base is None else linear_twin(pipeline, base)
    return None if twin is None or twin.pipeline is not None else twin.about


def to_latex(explanation: dict[str, Any]) -> str:
    """The recurrences as an align* environment."""
    from edsl.theory.text.latex import latex

    lines = [latex(line).replace(" = ", " &= ", 1) for part in explanation["recurrences"] for line in part["lines"]]
    return "\\begin{align*}\n  " + " \\\\\n  ".join(lines) + "\n\\end{align*}"


def to_markdown(explanation: dict[str, Any]) -> str:
    """Recurrences, gains and verdict as Markdown."""
    from edsl.theory.text.latex import latex

    parts = [f"# `{explanation['spec']}`", ""]
    for part in explanation["recurrences"]:
        parts += [f"**{part['stage']}**", "", *(f"$${latex(line)}$$" for line in part["lines"]), ""]
    parts += [f"- {name}: {value}" for name, value in facts(explanation)]
    return "\n".join(parts)
