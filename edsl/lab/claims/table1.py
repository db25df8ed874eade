"""Table 1 and Section 3: why E averages the gradient's change, and why it adds that to the gradient."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from edsl.lab.claims.claim import Claim, judge
from edsl.lab.landscapes.landscapes import STEPS, landscape
from edsl.lab.landscapes.pictures import save_plane
from edsl.lab.landscapes.walks import Tour, tour, walk

STAGES = ("down, concave", "down, convex", "up, convex", "up, concave")
PAPER = {"g_k − g_{k−1}": "+−−+", "−∇‖∇f‖²": "+−+−"}  # Table 1, while θ falls
SHARE = 0.95  # of the steps of a stage that have the paper's sign
BAR = 2.0  # times the length of valley that the best of the alternatives walks along
ADAM, E = "adam(lr=0.01)", "grad | e(alpha=-90) | adam(lr=0.01)"
ON_M = tuple(f"a_on_m(lr=0.01, alpha={alpha})" for alpha in (-90, -30, -10, -5))
REPEL = tuple(f"repel | e(alpha={alpha}, buffers=2) | adam(lr=0.01)" for alpha in (-1, -0.3, -0.1, -0.01))

RULE = (
    f"five tests. On a line, at least {SHARE:.0%} of the steps of each of four stages have the sign that Table 1 gives "
    "g_k − g_{k−1} and −∇‖∇f‖². On the cardioid E at α = −90 walks along at least "
    f"{BAR:g} times the length of valley of a on m, and of −∇‖∇f‖² in a's place, each at the best of four α, and ends "
    "at a lower loss than each of those. Reproduced: all hold; not seen: none does; else partly"
)


def run(out: Path, quick: bool = False) -> Claim:
    """Cross a minimum on a line, and walk on the cardioid from 8 starts (quick: from 3, a quarter as far)."""
    starts, steps = (3, STEPS // 8) if quick else (8, STEPS // 2)
    signs = crossing()
    place = landscape("cardioid")
    begins = place.starts(starts)
    walked = {spec: walk(place, spec, begins, steps) for spec in (ADAM, E, *ON_M, *REPEL)}
    tours = {spec: tour(place, spec, one) for spec, one in walked.items()}
    rivals = [max(group, key=lambda spec: tours[spec].covered.median) for group in (ON_M, REPEL)]
    tests = [all(found == PAPER[what] for what, (found, _) in signs.items())]
    for rival in rivals:
        tests.append(tours[E].covered.median >= BAR * tours[rival].covered.median)
        tests.append(tours[E].final.median < tours[rival].final.median)
    picture = out / "table1-cardioid.png"
    shown = (ADAM, E, *rivals)
    save_plane(picture, place, [walked[spec] for spec in shown], [tours[spec] for spec in shown])
    said = "; ".join(f"`{spec}` {_figures(tours[spec])}" for spec in shown)
    return Claim(
        name="table1",
        title="Table 1: what E averages, and where it adds it",
        paper="Of what might push θ out of a valley, g_k − g_{k−1} alone speeds the crossing of a minimum on both "
        "sides and brakes outside, where −∇‖∇f‖² brakes the way out; and a_k is added to g_k, since in m_k it would "
        "be of the gradient's own size and oscillate.",
        ours="Signs over the four stages of a crossing: "
        + "; ".join(f"{what} {found}" for what, (found, _) in signs.items())
        + f". On the cardioid, median over {starts} starts, {steps} steps, valley walked along / final loss: {said}.",
        verdict=judge(*tests),
        rule=RULE,
        table=(*_sign_rows(signs), *(_row(one) for one in tours.values())),
        pictures=(picture,),
        commands=f"edsl landscape cardioid '{E}' '{rivals[0]}' '{rivals[1]}' --out cardioid.png",
        caveat="The signs are those of one function, 1 − exp(−θ²/2), crossed at a constant speed. Two parameters "
        "say nothing about networks, and four values of α may miss a better one.",
    )


def crossing() -> dict[str, tuple[str, tuple[float, ...]]]:
    """The sign of each quantity in the four stages of crossing a minimum while θ falls, and the share that has it."""
    theta = torch.linspace(2.5, -2.5, 1001, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad((1 - torch.exp(-theta.square() / 2)).sum(), theta, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), theta, retain_graph=True)
    (steepness,) = torch.autograd.grad(g.square().sum(), theta)
    g, h = g.detach(), h.detach()
    down, convex = g[1:] > 0, h[1:] > 0
    stages = [down & ~convex, down & convex, ~down & convex, ~down & ~convex]
    found = {"g_k − g_{k−1}": g[1:] - g[:-1], "−∇‖∇f‖²": -steepness[1:]}
    return {what: _signs(values, stages) for what, values in found.items()}


def _signs(values: Tensor, stages: list[Tensor]) -> tuple[str, tuple[float, ...]]:
    shares = [float((values[stage] > 0).double().mean()) for stage in stages]
    signs = ["+" if share >= SHARE else "−" if share <= 1 - SHARE else "?" for share in shares]
    return "".join(signs), tuple(max(share, 1 - share) for share in shares)


def _figures(one: Tour) -> str:
    return f"{one.covered.median:.3g} / {one.final.median:.2g}"


def _sign_rows(signs: dict[str, tuple[str, tuple[float, ...]]]) -> list[dict[str, object]]:
    return [
        {"what": what, **{stage: f"{sign} ({share:.0%})" for stage, sign, share in zip(STAGES, found, shares)}}
        for what, (found, shares) in signs.items()
    ]


def _row(one: Tour) -> dict[str, object]:
    return {"what": one.name, "walked along": one.covered.median, "arc": one.arc.median, "final loss": one.final.median}
