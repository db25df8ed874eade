"""`edsl explain`: a pipeline as the paper would write it, and what follows from that."""

from __future__ import annotations

from typing import Any

from edsl.cli.render.page import print_json, print_text
from edsl.cli.render.pipeline import print_explanation
from edsl.errors import EdslError
from edsl.pipeline import Pipeline
from edsl.spec import parse
from edsl.theory.notation import recurrences


def explain(spec: str, as_latex: bool, as_markdown: bool, as_json: bool) -> None:
    """Print recurrences, transfer function, gains, bounds and known relations."""
    if as_latex + as_markdown + as_json > 1:
        raise EdslError("choose one of --latex, --markdown and --json")
    explanation = describe(parse(spec))
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
    from edsl.theory.filter import adaptor_filter
    from edsl.theory.report import check_pipeline

    explanation: dict[str, Any] = {
        "spec": str(pipeline),
        "recurrences": [
            {"stage": part.label, "lines": list(part.lines), "letters": dict(part.letters)}
            for part in recurrences(pipeline)
        ],
        "relations": _relations(pipeline),
        "controls": _controls(pipeline),
    }
    try:
        found = adaptor_filter(pipeline)
        explanation["filter"] = {
            "transfer": str(found.transfer),
            "symbolic": str(found.symbolic),
            "dc_gain": float(found.dc_gain),
            "nyquist_gain": float(found.nyquist_gain),
            "first_gain": float(found.first_gain),
            "noise_gain": found.noise_gain,
            "minimum_phase": found.minimum_phase,
            "buffers": len(found.states),
            "buffers_needed": found.order,
        }
    except EdslError as reason:
        explanation["filter"] = str(reason)
    try:
        explanation["stability"] = check_pipeline(pipeline)
    except EdslError as reason:
        explanation["stability"] = str(reason)
    return explanation


def _relations(pipeline: Pipeline) -> list[dict[str, str]]:
    from edsl.theory.equivalence import known_relations

    values = pipeline.hyperparameters
    if [stage.name for stage in pipeline.stages].count("e") != 1 or len(pipeline.stages) != 3:
        return []
    if not pipeline.update.averages:
        return []
    beta2 = values.get("beta2", values.get("momentum", 0.0))
    return [
        {"name": relation.name, "statement": relation.statement}
        for relation in known_relations(values["alpha"], values["beta1"], beta2)
    ]


def _controls(pipeline: Pipeline) -> list[dict[str, str]]:
    """What a race sets beside a pipeline with E: the same without it, and its linear twin."""
    from edsl.lab.controls import controls_of

    return [
        {"name": control.name, "spec": str(control.pipeline), "about": control.about}
        for control in controls_of(pipeline)
    ]


def to_latex(explanation: dict[str, Any]) -> str:
    """The recurrences as an align* environment."""
    from edsl.theory.latex import latex

    lines = [latex(line).replace(" = ", " &= ", 1) for part in explanation["recurrences"] for line in part["lines"]]
    return "\\begin{align*}\n  " + " \\\\\n  ".join(lines) + "\n\\end{align*}"


def to_markdown(explanation: dict[str, Any]) -> str:
    """Recurrences, gains and verdict as Markdown."""
    from edsl.theory.latex import latex

    parts = [f"# `{explanation['spec']}`", ""]
    for part in explanation["recurrences"]:
        parts += [f"**{part['stage']}**", "", *(f"$${latex(line)}$$" for line in part["lines"]), ""]
    parts += [f"- {name}: {value}" for name, value in facts(explanation)]
    return "\n".join(parts)


def facts(explanation: dict[str, Any]) -> list[tuple[str, str]]:
    """What follows from the recurrences, as (name, value) in words."""
    found, stability = explanation["filter"], explanation["stability"]
    said: list[tuple[str, str]] = []
    if isinstance(found, str):
        said.append(("adaptors as a filter", found))
    else:
        said += [
            ("transfer function g → u", f"H(z) = {found['transfer']}"),
            ("gain of a constant gradient", f"{found['dc_gain']:.6g}"),
            ("gain of one that flips sign each step", f"{found['nyquist_gain']:.6g}"),
            ("gain of the newest gradient", f"{found['first_gain']:.6g}"),
            ("variance of white noise, out over in", f"{found['noise_gain']:.6g}"),
            ("minimum phase", "yes" if found["minimum_phase"] else "no"),
            ("buffers of the adaptors, and needed", f"{found['buffers']}, {found['buffers_needed']}"),
        ]
    if isinstance(stability, str):
        said.append(("stability", stability))
    else:
        said += [("stability", stability["verdict"]), *(("note", note) for note in stability["notes"])]
    said += [(f"otherwise known as {r['name']}", r["statement"]) for r in explanation["relations"]]
    return said + [
        ("linear twin, a control", f"{control['spec']}  ({control['about']})")
        for control in explanation["controls"]
        if control["name"] == "twin"
    ]
