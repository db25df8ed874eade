"""Independent implementations of the zoo's entries: other packages, and where none is right a loop from the paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from edsl.step.oracle import generator_for


@dataclass(frozen=True)
class Reference:
    """What an entry is compared with.

    Attributes:
        spec: of the entry, with the values that make both the same.
        package: whose it is, "" for a loop from the paper.
        build: an optimizer of some tensors; of one, unless it is `together`, since packages count steps by group.
        shapes: "all", "matrices" or "vectors".
        together: it reads all parameters at once.
        bound: of |a − b| / max(1, |b|) over 50 steps in float64.
        differs: how the package's own default differs from the paper's, which the entry follows.
    """

    spec: str
    package: str
    build: Callable[[list[Tensor]], Any]
    shapes: str = "all"
    together: bool = False
    bound: float = 1e-10
    differs: str = ""


def of(package: str, name: str, **arguments: Any) -> Callable[[list[Tensor]], Any]:
    """An optimizer of a package; the package is imported when it is built."""

    def build(parameters: list[Tensor]) -> Any:
        import pytest

        module = pytest.importorskip(package)
        return getattr(module, name)(parameters, **arguments)

    return build


_torch = partial(of, "torch.optim")
_kozistr = partial(of, "pytorch_optimizer")


class Loop:
    """A loop from a paper: a function (state, θ, g, k) → Δθ of one tensor."""

    def __init__(
        self, parameters: list[Tensor], change: Callable[[dict[str, Any], Tensor, Tensor, int], Tensor]
    ) -> None:
        self.parameters, self.change, self.state, self.k = parameters, change, [{} for _ in parameters], 0

    @torch.no_grad()
    def step(self) -> None:
        self.k += 1
        for parameter, state in zip(self.parameters, self.state):
            assert parameter.grad is not None
            parameter += self.change(state, parameter, parameter.grad, self.k)


def loop(change: Callable[..., Tensor]) -> Callable[[list[Tensor]], Any]:
    return partial(Loop, change=change)


def _amsgrad(state: dict[str, Any], theta: Tensor, g: Tensor, k: int) -> Tensor:
    """Reddi et al. 2018, Algorithm 2, with lr 0.01 and decay 0.1."""
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["v"] = 0.99 * state.get("v", 0) + 0.01 * g.square()
    state["peak"] = torch.maximum(state.get("peak", torch.zeros_like(g)), state["v"])
    return -0.01 * (state["m"] / (state["peak"].sqrt() + 1e-8) + 0.1 * theta)


def _a_on_m(state: dict[str, Any], theta: Tensor, g: Tensor, k: int) -> Tensor:
    """Zhao et al. 2025 with a on m̂, lr 0.01, decay 0.1 and their defaults."""
    state["a"] = 0.99 * state.get("a", 0) + 0.01 * (g - state.get("g", 0))
    state["g"] = g.clone()
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * g.square()
    root = (state["v"] / (1 - 0.999**k)).sqrt() + 1e-8
    return -0.01 * ((state["m"] / (1 - 0.9**k) - 5 * state["a"]) / root + 0.1 * theta)


def _adam_mini(state: dict[str, Any], theta: Tensor, g: Tensor, k: int) -> Tensor:
    """Zhang et al. 2025, Algorithm 1, a row a block of a matrix, else the layer, with lr 0.01 and decay 0.1."""
    squares = g.square().mean(1, keepdim=True) if g.dim() > 1 else g.square().mean()
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * squares
    root = (state["v"] / (1 - 0.999**k)).sqrt() + 1e-8
    return -0.01 * (state["m"] / (1 - 0.9**k) / root + 0.1 * theta)


def _grokfast(parameters: list[Tensor]) -> Any:
    """The package's filter before SGD, on a module that holds one tensor."""
    import pytest

    package = pytest.importorskip("pytorch_optimizer.optimizer.grokfast")
    (parameter,) = parameters
    held = torch.nn.ParameterList([parameter])
    sgd = torch.optim.SGD(parameters, lr=0.01)

    class Filtered:
        means: Any = None

        def step(self) -> None:
            self.means = package.gradfilter_ema(held, self.means, alpha=0.9, lamb=3.0)
            sgd.step()

    return Filtered()


def _before_sgd(change: Callable[[Any, Tensor], Tensor]) -> Callable[[list[Tensor]], Any]:
    """A function (package, parameter) → gradient before SGD."""

    def build(parameters: list[Tensor]) -> Any:
        import pytest

        package = pytest.importorskip("pytorch_optimizer.optimizer")
        sgd = torch.optim.SGD(parameters, lr=0.1)

        class Changed:
            def step(self) -> None:
                with torch.no_grad():
                    for one in parameters:
                        one.grad = change(package, one)
                sgd.step()

        return Changed()

    return build


def _centralised(package: Any, parameter: Tensor) -> Tensor:
    from pytorch_optimizer.optimizer.gradient_centralization import centralize_gradient

    assert parameter.grad is not None
    gradient = parameter.grad.clone()
    centralize_gradient(gradient)
    return gradient


def _agc(package: Any, parameter: Tensor) -> Tensor:
    from pytorch_optimizer.optimizer.agc import agc

    assert parameter.grad is not None
    return agc(parameter, parameter.grad, 1e-3, 0.01, 1e-30)


def _adam_atan2(state: dict[str, Any], theta: Tensor, g: Tensor, k: int) -> Tensor:
    """Everett et al. 2024, with lr 0.01 and decay 0.1."""
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * g.square()
    angle = torch.atan2(state["m"] / (1 - 0.9**k), (state["v"] / (1 - 0.999**k)).sqrt())
    return -0.01 * (1.27 * angle + 0.1 * theta)


def _adopt(parameters: list[Tensor]) -> Any:
    """The package's, with the authors' bound, and without a decay at the first step, which sets v alone."""
    made = of(
        *("pytorch_optimizer", "ADOPT"),
        lr=0.01,
        weight_decay=0.0,
        weight_decouple=True,
        clip_lambda=lambda step: (step - 1) ** 0.25,
    )(parameters)
    made.register_step_post_hook(lambda *_: made.param_groups[0].update(weight_decay=0.1))
    return made


def _mars(parameters: list[Tensor]) -> Any:
    """The package's, with the first gradient as the one before it."""
    options = {"betas": (0.95, 0.99), "weight_decay": 0.1, "optimize_1d": True, "foreach": False, "eps": 1e-30}
    made = of("pytorch_optimizer", "MARS", lr=0.01, **options)(parameters)

    def begin(*_: Any) -> None:
        made.init_group(made.param_groups[0])
        for parameter in parameters:
            assert parameter.grad is not None
            made.state[parameter]["last_grad"].copy_(parameter.grad)
        hook.remove()

    hook = made.register_step_pre_hook(begin)
    return made


def _galore(side: str) -> Callable[[list[Tensor]], Any]:
    def build(parameters: list[Tensor]) -> Any:
        import pytest

        package = pytest.importorskip("pytorch_optimizer")
        options = {"rank": 2, "update_proj_gap": 200, "scale": 0.25, "projection_type": side}
        return package.GaLore([{"params": parameters, **options}], lr=0.02, eps=1e-30)

    return build


class _Kron:
    """The package's Kron, which is given the noise that psgd_kron draws, and begins to fit at its first step."""

    def __init__(self, parameters: list[Tensor], label: str, arguments: dict[str, Any]) -> None:
        import pytest

        package = pytest.importorskip("pytorch_optimizer")
        chosen = {"pre_conditioner_update_probability": 1.0, "balance_prob": 1.0, **arguments}
        self.kron: Any = package.Kron(parameters, precondition_dtype=torch.float64, **chosen)
        self.kron.param_groups[0]["update_counter"] = round(1 / chosen["pre_conditioner_update_probability"]) - 1
        self.label, self.k = label, 0
        (self.parameter,) = parameters

    def step(self) -> None:
        self.k += 1
        parameter: Any = self.parameter
        generator = generator_for(parameter.device, 0, self.label, parameter.drawn_as, self.k)
        noise = torch.randn(parameter.shape, generator=generator)
        with patch.object(torch, "randn_like", lambda like, dtype: noise):
            self.kron.step()


def _kron(**arguments: Any) -> Callable[[list[Tensor]], Any]:
    return lambda parameters: _Kron(parameters, "psgd_kron", arguments)


def _grafted(parameters: list[Tensor]) -> Any:
    """Kron's direction with the length of a step of Adam's."""
    kron = _Kron(parameters, "grafted_psgd_kron.psgd_kron", {"lr": 1.0})
    beside = [one.detach().clone().requires_grad_() for one in parameters]
    adam = torch.optim.Adam(beside, lr=1.0)

    class Grafted:
        def step(self) -> None:
            with torch.no_grad():
                (theta,), (other,) = parameters, beside
                before, other.grad = theta.clone(), theta.grad
                other.copy_(before)
                adam.step()
                kron.step()
                d, length = before - theta, (before - other).norm()
                theta.copy_(before - 0.02 * (d * length / d.norm() + 0.1 * before))

    return Grafted()


def schedule_free(parameters: list[Tensor]) -> Any:
    made = of("schedulefree", "AdamWScheduleFree", lr=0.01, warmup_steps=10, weight_decay=0.1, foreach=False)(
        parameters
    )
    made.train()
    return made


def _normuon(**arguments: Any) -> Callable[[list[Tensor]], Any]:
    def build(parameters: list[Tensor]) -> Any:
        import pytest

        package = pytest.importorskip("pytorch_optimizer")
        return package.NorMuon([{"params": parameters, "use_muon": True, **arguments}])

    return build


def _hyperball(state: dict[str, Any], theta: Tensor, g: Tensor, k: int) -> Tensor:
    """Wen et al. 2025, the first equation, of sign descent with lr 0.01."""
    radius = state.setdefault("radius", theta.norm())
    update = g.sign()
    moved = theta - 0.01 * radius * update / update.norm()
    return radius * moved / moved.norm() - theta


def _radial_brake(state: dict[str, Any], theta: Tensor, g: Tensor, k: int) -> Tensor:
    """The norm-rescaling definition, of gradient descent with lr 0.1."""
    moved = theta - 0.1 * g
    before, after = theta.norm(), moved.norm()
    share = 0.25 if after > before else 0.75
    return moved * (before + share * (after - before)) / after - theta


REFERENCES = (
    Reference("a_on_m(lr=0.01, weight_decay=0.1)", "", loop(_a_on_m)),
    Reference(
        "nadam(lr=0.01, weight_decay=0.1)",
        "torch.optim.NAdam",
        _torch("NAdam", lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
        differs="keeps the product of all μ in float32; its decay is coupled by default",
    ),
    Reference(
        "radam(lr=0.01, threshold=5, weight_decay=0.1)",
        "torch.optim.RAdam",
        _torch("RAdam", lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
        differs="waits until ρ > 5, where the paper says 4",
    ),
    Reference(
        "radam(lr=0.01, weight_decay=0.1)",
        "pytorch_optimizer.RAdam",
        _kozistr("RAdam", lr=0.01, weight_decay=0.1, n_sma_threshold=4, degenerated_to_sgd=True),
        differs="its defaults wait until ρ ≥ 5, and take no step before",
    ),
    Reference("amsgrad(lr=0.01, weight_decay=0.1)", "", loop(_amsgrad)),
    Reference(
        "amsgrad(lr=0.01, weight_decay=0.1, bias_correction=True)",
        "torch.optim.AdamW",
        _torch("AdamW", lr=0.01, betas=(0.9, 0.99), weight_decay=0.1, amsgrad=True),
        differs="corrects biases, which the paper does not",
    ),
    Reference(
        "adamax(lr=0.01)",
        "torch.optim.Adamax",
        _torch("Adamax", lr=0.01),
        differs="adds ε to |g|, which the paper has not; its decay is coupled",
    ),
    Reference(
        "adamax(lr=0.01, weight_decay=0.1)",
        "pytorch_optimizer.AdaMax",
        _kozistr("AdaMax", lr=0.01, weight_decay=0.1, weight_decouple=True),
        differs="adds ε to |g|, which the paper has not",
    ),
    Reference(
        "yogi(lr=0.01, initial=0, weight_decay=0.1, bias_correction=True)",
        "pytorch_optimizer.Yogi",
        _kozistr("Yogi", lr=0.01, weight_decay=0.1, initial_accumulator=0.0),
        differs="corrects biases, which the paper does not; m starts at v₀",
    ),
    Reference(
        "laprop(lr=0.01, weight_decay=0.1)",
        "pytorch_optimizer.LaProp",
        _kozistr(
            "LaProp", lr=0.01, betas=(0.9, 0.999), weight_decay=0.1, weight_decouple=True, eps=1e-15, foreach=False
        ),
        differs="adds 1e-15 to v, and in batches of tensors rounds numbers to float32",
    ),
    Reference("adam_atan2(lr=0.01, weight_decay=0.1)", "", loop(_adam_atan2)),
    Reference(
        "adopt(lr=0.01, weight_decay=0.1)",
        "pytorch_optimizer.ADOPT",
        _adopt,
        differs="clamps to k^¼ where the paper's count makes it (k − 1)^¼; decays at the first step too",
    ),
    Reference(
        "ademamix(lr=0.01, ramp=30, weight_decay=0.1)",
        "pytorch_optimizer.AdEMAMix",
        _kozistr("AdEMAMix", lr=0.01, weight_decay=0.1, weight_decouple=True, alpha=5.0, t_alpha_beta3=30),
    ),
    Reference(
        "mars(lr=0.01, eps=1e-30, weight_decay=0.1)",
        "pytorch_optimizer.MARS",
        _mars,
        differs="takes the gradient before the first as 0, in the paper x₁ = x₀; adds ε before v's bias is corrected",
    ),
    Reference(
        "signum(lr=0.01, weight_decay=0.1)",
        "pytorch_optimizer.SignSGD",
        _kozistr("SignSGD", lr=0.01, momentum=0.9, weight_decay=0.1),
    ),
    Reference(
        "tiger(lr=0.01, weight_decay=0.1)",
        "pytorch_optimizer.Tiger",
        _kozistr("Tiger", lr=0.01, weight_decay=0.1, weight_decouple=True),
    ),
    Reference(
        "grad | grokfast(decay=0.9, amplification=3) | sgd(lr=0.01)", "pytorch_optimizer.gradfilter_ema", _grokfast
    ),
    Reference(
        "cautious_adamw(lr=0.01, weight_decay=0.1)",
        "pytorch_optimizer.AdEMAMix",
        _kozistr("AdEMAMix", lr=0.01, weight_decay=0.1, weight_decouple=True, alpha=0.0, cautious=True),
    ),
    Reference(
        "adafactor(lr=0.01, weight_decay=0.1)",
        "pytorch_optimizer.AdaFactor",
        _kozistr("AdaFactor", betas=(None, 0.9999), weight_decay=0.1, weight_decouple=True, relative_step=True),
        differs="caps β̂₂ at 0.999, and has momentum",
    ),
    Reference(
        "adafactor_unfactored(lr=0.01, weight_decay=0.1)",
        "pytorch_optimizer.AdaFactor",
        _kozistr("AdaFactor", betas=(None, 0.9999), weight_decay=0.1, weight_decouple=True, relative_step=True),
        shapes="vectors",
        differs="caps β̂₂ at 0.999, and has momentum",
    ),
    Reference(
        "came(lr=0.01, weight_decay=0.1)",
        "pytorch_optimizer.CAME",
        _kozistr("CAME", lr=0.01, weight_decay=0.1, weight_decouple=True),
        shapes="matrices",
    ),
    Reference("adam_mini(lr=0.01, weight_decay=0.1)", "", loop(_adam_mini)),
    Reference("adam_mini_layer(lr=0.01, weight_decay=0.1)", "", loop(_adam_mini), shapes="vectors"),
    Reference(
        "normuon(lr=0.02, eps=1e-30, weight_decay=0.1)",
        "pytorch_optimizer.NorMuon",
        _normuon(lr=0.02, weight_decay=0.1, nesterov=False, update_scale="match_rms", eps=1e-30),
        shapes="matrices",
        differs="its defaults keep the factor's own length and look ahead, as the authors' code",
    ),
    Reference(
        'normuon(lr=0.02, eps=1e-30, weight_decay=0.1, nesterov=True, scale="norm")',
        "pytorch_optimizer.NorMuon",
        _normuon(lr=0.02, weight_decay=0.1, eps=1e-30),
        shapes="matrices",
    ),
    Reference(
        "row_normalised_muon(lr=0.02, weight_decay=0.1)",
        "pytorch_optimizer.NorMuon",
        _normuon(lr=0.02, weight_decay=0.1, beta2=0.0, eps=1e-30),
        shapes="matrices",
    ),
    Reference(
        "route(matrix=gradient_centralization | sgd(lr=0.1), other=sgd(lr=0.1))",
        "pytorch_optimizer.centralize_gradient",
        _before_sgd(_centralised),
    ),
    Reference(
        "grad | agc | sgd(lr=0.1)",
        "pytorch_optimizer.agc",
        _before_sgd(_agc),
    ),
    Reference(
        "grad | agc_layer | sgd(lr=0.1)",
        "pytorch_optimizer.agc",
        _before_sgd(_agc),
        shapes="vectors",
    ),
    Reference(
        "scion(lr=0.01, radius=3)",
        "pytorch_optimizer.SCION",
        _kozistr("SCION", lr=0.01, scale=3.0, constraint=True),
        shapes="matrices",
    ),
    *(
        Reference(
            f'scion(lr=0.01, radius=3, ball="{ball}", constrained=False)',
            "pytorch_optimizer.SCION",
            _kozistr("SCION", lr=0.01, scale=3.0, norm_type=number),
            shapes="matrices",
        )
        for ball, number in (("sign", 4), ("rows", 7), ("columns", 6))
    ),
    Reference(
        "scion_vector(lr=0.01, radius=3)",
        "pytorch_optimizer.SCION",
        _kozistr("SCION", lr=0.01, scale=3.0, constraint=True),
        shapes="vectors",
    ),
    *(
        Reference(
            f"psgd_kron(lr=0.02, eps=0{ours})",
            "pytorch_optimizer.Kron",
            _kron(lr=0.02, **theirs),
            shapes=shapes,
            differs=differs,
        )
        for shapes, ours, theirs, differs in (
            (
                *("matrices", ", weight_decay=0.1", {"weight_decay": 0.1}),
                "solves in float32, has a factor for each dimension, and lets the fits grow rarer by exp(−0.001 k)",
            ),
            ("matrices", ", largest=5", {"max_size_triangular": 5}, ""),
            (
                *("matrices", ", every=3, rarest=3", {"pre_conditioner_update_probability": 1 / 3}),
                "fits first at the end of a period",
            ),
            (
                *("all", ', whiten="gradient", beta2=0.8'),
                *({"momentum_into_precondition_update": False, "momentum": 0.8}, ""),
            ),
        )
    ),
    Reference(
        "grafted_psgd_kron(lr=0.02, damping=0, weight_decay=0.1)",
        "pytorch_optimizer.Kron",
        _grafted,
        shapes="matrices",
        differs="has its own length of a step, here taken from torch.optim.Adam",
    ),
    *(
        Reference(
            f'galore(lr=0.02, rank=2, eps=1e-30, side="{side}")',
            "pytorch_optimizer.GaLore",
            _galore(side),
            shapes="matrices",
            differs="takes singular vectors in float32; adds ε before v's bias is corrected; decays after the step",
        )
        for side in ("left", "right")
    ),
    Reference(
        "prodigy(d0=0.001, eps=1e-30, weight_decay=0.1)",
        "prodigyopt.Prodigy",
        of("prodigyopt", "Prodigy", lr=1.0, d0=0.001, eps=1e-30, weight_decay=0.1),
        together=True,
        differs="adds the new d times ε to √v, where the paper has the old one",
    ),
    Reference(
        "prodigy(d0=0.001, eps=1e-30, weight_decay=0.1)",
        "pytorch_optimizer.Prodigy",
        _kozistr("Prodigy", lr=1.0, d0=0.001, eps=1e-30, weight_decay=0.1, weight_decouple=True),
        together=True,
        differs="adds the new d times ε to √v, where the paper has the old one",
    ),
    Reference(
        "dadapt_adam(d0=0.001, weight_decay=0.1)",
        "pytorch_optimizer.DAdaptAdam",
        _kozistr("DAdaptAdam", lr=1.0, d0=0.001, weight_decay=0.1, weight_decouple=True),
        together=True,
    ),
    Reference(
        "schedule_free(lr=0.01, warmup=10, weight_decay=0.1, weigh_corrected=False)",
        "schedulefree.AdamWScheduleFree",
        schedule_free,
        differs="weighs the average by the largest η² so far, where the paper's γ² corrects v's bias",
    ),
    Reference("signum(lr=0.01, momentum=0) | hyperball", "", loop(_hyperball)),
    Reference("sgd(lr=0.1) | radial_brake(outward=0.25, inward=0.75)", "", loop(_radial_brake)),
)
