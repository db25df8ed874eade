"""Every stage and recipe as a function, every optimizer class: written by `make stubs`."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, SupportsFloat, TypeAlias

from torch import nn
from torch.optim.optimizer import ParamsT

from edsl.adapters.clip import Clip as _ClipStage
from edsl.adapters.exploration import Exploration as _ExplorationStage
from edsl.adapters.guard import Guard as _GuardStage
from edsl.adapters.noise import Noise as _NoiseStage
from edsl.errors import EdslError as EdslError
from edsl.errors import EdslWarning as EdslWarning
from edsl.estimators.backprop import Backprop as _BackpropStage
from edsl.estimators.grad_pair import GradPair as _GradPairStage
from edsl.estimators.hutchinson import Hutchinson as _HutchinsonStage
from edsl.estimators.repel import Repel as _RepelStage
from edsl.estimators.sam import Sam as _SamStage
from edsl.estimators.spsa import Spsa as _SpsaStage
from edsl.lab.compare import compare as compare
from edsl.lab.data.rows import Rows as Rows
from edsl.lab.tasks.task import Task as Task
from edsl.language.pipeline import Chain as _Chain
from edsl.language.pipeline import Pipeline as Pipeline
from edsl.language.registry.plugins import load_plugin as load_plugin
from edsl.language.rules.direction import direction as direction
from edsl.language.rules.texts import load_rules as load_rules
from edsl.language.spec import parse as parse
from edsl.language.stage import Stage as _Stage
from edsl.optim import classes as _classes
from edsl.optim.attached.attach import attach as attach
from edsl.optim.compile import compile as compile
from edsl.optim.conversion.convert import convert as convert
from edsl.optim.evaluation import evaluation_weights as evaluation_weights
from edsl.optim.optimizer import PipelineOptimizer as PipelineOptimizer
from edsl.optim.state import decoded_state as decoded_state
from edsl.updates.adabelief import AdaBelief as _AdaBeliefStage
from edsl.updates.adahessian import AdaHessian as _AdaHessianStage
from edsl.updates.adam import Adam as _AdamStage
from edsl.updates.adamw import AdamW as _AdamWStage
from edsl.updates.adan import Adan as _AdanStage
from edsl.updates.galore import Galore as _GaloreStage
from edsl.updates.lamb import Lamb as _LambStage
from edsl.updates.lars import Lars as _LarsStage
from edsl.updates.lion import Lion as _LionStage
from edsl.updates.muon import Muon as _MuonStage
from edsl.updates.psgd_kron import PsgdKron as _PsgdKronStage
from edsl.updates.qhm import Qhm as _QhmStage
from edsl.updates.rmsprop import RMSprop as _RMSpropStage
from edsl.updates.route import Route as _RouteStage
from edsl.updates.sgd import Sgd as _SgdStage
from edsl.updates.shampoo import Shampoo as _ShampooStage
from edsl.updates.soap import Soap as _SoapStage
from edsl.updates.sophia import Sophia as _SophiaStage
from edsl.wrappers.caution import Caution as _CautionStage
from edsl.wrappers.decay import Decay as _DecayStage
from edsl.wrappers.ema_weights import EmaWeights as _EmaWeightsStage
from edsl.wrappers.lookahead import Lookahead as _LookaheadStage

__all__ = [
    "ALTO",
    "ESGD",
    "ESOAP",
    "SGD",
    "ALTOVanilla",
    "Adam",
    "AdamW",
    "EAdam",
    "EAdamW",
    "ELion",
    "EMuon",
    "EShampoo",
    "EdslError",
    "EdslWarning",
    "Lamb",
    "Lion",
    "Muon",
    "Pipeline",
    "PipelineOptimizer",
    "Rows",
    "Task",
    "attach",
    "compare",
    "compile",
    "convert",
    "decoded_state",
    "direction",
    "evaluation_weights",
    "load_plugin",
    "load_rules",
    "parse",
]

__version__: str

_Number: TypeAlias = float | SupportsFloat  # NumPy's and 0-d tensors too
_Link: TypeAlias = _Stage | _Chain

def grad(
    *,
    accumulate: int = 1,
) -> _BackpropStage:
    """The gradient of the loss by backpropagation, read from `p.grad`."""

def spsa(
    *,
    sigma: _Number = 0.001,
    samples: int = 1,
    distribution: Literal["rademacher", "gaussian"] = "rademacher",
    seed: int = 0,
    common: bool = False,
) -> _SpsaStage:
    """Two-sided simultaneous perturbation: the mean of directional derivatives along random directions."""

def hutchinson(
    *,
    samples: int = 1,
    every: int = 1,
    distribution: Literal["rademacher", "gaussian"] = "rademacher",
    seed: int = 0,
    spatial: bool = False,
) -> _HutchinsonStage:
    """Gradient and Hessian diagonal by differentiating twice, for second-order updates."""

def grad_pair() -> _GradPairStage:
    """The gradient by backpropagation, and how much of its change is the weights' and not the batch's."""

def repel() -> _RepelStage:
    """The gradient, and how steeply its length falls, for E to average instead of the gradient's change."""

def sam(
    *,
    rho: _Number = 0.05,
    adaptive: bool = False,
) -> _SamStage:
    """Sharpness-aware minimisation: the gradient at the perturbed point."""

def e(
    *,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
) -> _ExplorationStage:
    """E: adds to the gradient α times an EMA of its own changes."""

def clip(
    *,
    norm: _Number | None = None,
    value: _Number | None = None,
) -> _ClipStage:
    """Gradient clipping: by the norm over all parameters, by element, or both in this order."""

def guard(
    *,
    nonfinite: Literal["skip", "raise", "zero"] = "skip",
) -> _GuardStage:
    """Skips, rejects or repairs steps whose gradients (or Hessian) are not finite, at any place in a pipeline."""

def noise(
    *,
    std: _Number = 0.01,
    gamma: _Number = 0.55,
    seed: int = 0,
) -> _NoiseStage:
    """Annealed Gaussian gradient noise."""

def sgd(
    *,
    lr: _Number = 0.001,
    momentum: _Number = 0,
    weight_decay: _Number = 0,
    average: Literal["sum", "ema"] = "sum",
    nesterov: bool = False,
) -> _SgdStage:
    """Gradient descent with momentum, as a sum (the paper's and torch's) or as an EMA."""

def qhm(
    *,
    lr: _Number = 0.1,
    momentum: _Number = 0.999,
    nu: _Number = 0.7,
    weight_decay: _Number = 0,
) -> _QhmStage:
    """Quasi-hyperbolic momentum: a share of the step is the momentum, the rest the newest gradient."""

def adam(
    *,
    lr: _Number = 0.001,
    beta2: _Number = 0.9,
    beta3: _Number = 0.999,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-08,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
) -> _AdamStage:
    """Adam, with weight decay coupled to the gradient as in torch."""

def adamw(
    *,
    lr: _Number = 0.001,
    beta2: _Number = 0.9,
    beta3: _Number = 0.999,
    weight_decay: _Number = 0.01,
    eps1: _Number = 1e-08,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
) -> _AdamWStage:
    """Adam with decoupled weight decay, which does not pass through the moments."""

def lamb(
    *,
    lr: _Number = 0.01,
    beta2: _Number = 0.9,
    beta3: _Number = 0.99,
    weight_decay: _Number = 0.0001,
    eps1: _Number = 1e-06,
    eps2: _Number = 1e-06,
    eps3: _Number = 1e-10,
    bias_correction: bool = True,
    layerwise: bool = True,
    m_reads: Literal["u", "g"] = "u",
    v_reads: Literal["u", "g"] = "u",
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
) -> _LambStage:
    """Layerwise adaptive moments. With E before it, this is ALTO."""

def lars(
    *,
    lr: _Number = 1,
    momentum: _Number = 0.9,
    weight_decay: _Number = 0.0001,
    trust: _Number = 0.001,
    eps1: _Number = 1e-08,
    layerwise: bool = True,
    nesterov: bool = False,
    eps: _Number = ...,
) -> _LarsStage:
    """Layerwise adaptive rates for gradient descent with momentum."""

def lion(
    *,
    lr: _Number = 0.0001,
    beta2: _Number = 0.9,
    beta3: _Number = 0.99,
    weight_decay: _Number = 0,
    betas: tuple[_Number, _Number] = ...,
) -> _LionStage:
    """Every element steps by η, in the direction of a momentum that leans towards the newest gradient."""

def adabelief(
    *,
    lr: _Number = 0.001,
    beta2: _Number = 0.9,
    beta3: _Number = 0.999,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-08,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
) -> _AdaBeliefStage:
    """Adam with a second moment of the gradient's deviation from its mean."""

def adan(
    *,
    lr: _Number = 0.001,
    beta2: _Number = 0.98,
    beta3: _Number = 0.99,
    beta4: _Number = 0.92,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-08,
    betas: tuple[_Number, _Number, _Number] = ...,
    eps: _Number = ...,
) -> _AdanStage:
    """Adaptive Nesterov momentum."""

def rmsprop(
    *,
    lr: _Number = 0.01,
    beta3: _Number = 0.99,
    momentum: _Number = 0,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-08,
    centered: bool = False,
    eps: _Number = ...,
) -> _RMSpropStage:
    """Gradient descent with every element divided by its own root mean square."""

def adahessian(
    *,
    lr: _Number = 0.15,
    beta2: _Number = 0.9,
    beta3: _Number = 0.999,
    weight_decay: _Number = 0,
    eps1: _Number = 0.0001,
    power: _Number = 1,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
) -> _AdaHessianStage:
    """Steps scaled by the root mean square of the curvature in each element."""

def sophia(
    *,
    lr: _Number = 0.001,
    beta2: _Number = 0.96,
    beta3: _Number = 0.99,
    weight_decay: _Number = 0,
    gamma: _Number = 0.01,
    eps1: _Number = 1e-12,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
) -> _SophiaStage:
    """Momentum over curvature, at most 1 in each element."""

def muon(
    *,
    lr: _Number = 0.02,
    momentum: _Number = 0.95,
    weight_decay: _Number = 0,
    nesterov: bool = True,
    steps: int = 5,
    polynomials: Literal["minimax", "jordan"] = "minimax",
    scale: Literal["original", "match_rms_adamw", "none"] = "original",
    precision: Literal["working", "bfloat16"] = "working",
    split: Literal["auto", "none", "experts"] | tuple[str, ...] | tuple[int, ...] = "auto",
    heads: int = 1,
) -> _MuonStage:
    """Steps whose singular values are all about 1: the momentum orthogonalised by Newton–Schulz."""

def shampoo(
    *,
    lr: _Number = 0.001,
    beta2: _Number = 0.9,
    beta3: _Number = 0.99,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-06,
    exponent: _Number = 0.25,
    every: int = 10,
    block: int = 1024,
    stagger: bool = False,
    grafting: Literal["adam", "sgd", "none"] = "adam",
    average: Literal["ema", "sum"] = "ema",
    split: Literal["auto", "none", "experts"] | tuple[str, ...] | tuple[int, ...] = "auto",
    heads: int = 1,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
) -> _ShampooStage:
    """A matrix preconditioner as a Kronecker product of two small ones."""

def soap(
    *,
    lr: _Number = 0.003,
    beta2: _Number = 0.95,
    beta3: _Number = 0.95,
    beta4: _Number = 0.95,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-08,
    every: int = 10,
    block: int = 1024,
    stagger: bool = False,
    split: Literal["auto", "none", "experts"] | tuple[str, ...] | tuple[int, ...] = "auto",
    heads: int = 1,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
) -> _SoapStage:
    """Adam in the eigenbasis of the gradient's covariances."""

def galore(
    *,
    lr: _Number = 0.01,
    beta2: _Number = 0.9,
    beta3: _Number = 0.999,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-08,
    scale: _Number = 0.25,
    rank: int = 128,
    every: int = 200,
    side: Literal["left", "right"] = "left",
    split: Literal["auto", "none", "experts"] | tuple[str, ...] | tuple[int, ...] = "auto",
    heads: int = 1,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
) -> _GaloreStage:
    """Adam on the gradient's projection on its own leading singular vectors, which are renewed now and then."""

def psgd_kron(
    *,
    lr: _Number = 0.001,
    beta2: _Number = 0.9,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-09,
    fit_rate: _Number = 0.1,
    clipping: _Number = 1.1,
    every: int = 1,
    flat: int = 500,
    doubling: int = 693,
    rarest: int = 33,
    largest: int = 8192,
    whiten: Literal["momentum", "gradient"] = "momentum",
    split: Literal["auto", "none", "experts"] | tuple[str, ...] | tuple[int, ...] = "auto",
    heads: int = 1,
    seed: int = 0,
    eps: _Number = ...,
) -> _PsgdKronStage:
    """Momentum whitened by P = LᵀL ⊗ RᵀR, whose factors are fitted step by step on a Lie group."""

def route(
    *patterns: tuple[str, _Link],
    embedding: _Link = ...,
    norm: _Link = ...,
    head: _Link = ...,
    matrix: _Link = ...,
    vector: _Link = ...,
    other: _Link = ...,
) -> _RouteStage:
    """Sends each parameter to exactly one of several updates, each with its own param groups."""

def caution(
    *,
    least: _Number = 0.001,
) -> _CautionStage:
    """Drops the elements of a step that oppose the gradient, and scales up the others to compensate."""

def decay(
    *,
    rate: _Number = 0.01,
) -> _DecayStage:
    """Decoupled weight decay, after any update."""

def lookahead(
    *,
    every: int = 5,
    share: _Number = 0.5,
) -> _LookaheadStage:
    """Every n steps, moves the weights back part of the way to where they were n steps before."""

def ema_weights(
    *,
    decay: _Number = 0.999,
) -> _EmaWeightsStage:
    """An average of the weights over the last steps, for evaluation; training continues with the weights themselves."""

def alto(
    *,
    lr: _Number = 0.01,
    beta2: _Number = 0.9,
    beta3: _Number = 0.99,
    weight_decay: _Number = 0.0001,
    eps1: _Number = 1e-06,
    eps2: _Number = 1e-06,
    eps3: _Number = 1e-10,
    bias_correction: bool = True,
    layerwise: bool = True,
    m_reads: Literal["u", "g"] = "u",
    v_reads: Literal["u", "g"] = "u",
    accumulate: int = 1,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
    batch_size: int | None = None,
) -> Pipeline:
    """ALTO: E before Lamb (Zhao et al. 2025, Algorithm 2)."""

def alto_vanilla(
    *,
    lr: _Number = 0.01,
    beta2: _Number = 0.9,
    beta3: _Number = 0.99,
    weight_decay: _Number = 0.0001,
    eps1: _Number = 1e-06,
    eps2: _Number = 1e-06,
    eps3: _Number = 1e-10,
    bias_correction: bool = False,
    layerwise: bool = True,
    m_reads: Literal["u", "g"] = "u",
    v_reads: Literal["u", "g"] = "u",
    accumulate: int = 1,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
    batch_size: int | None = None,
) -> Pipeline:
    """ALTO without bias correction (Algorithm 1)."""

def esgd(
    *,
    lr: _Number = 0.001,
    momentum: _Number = 0.9,
    weight_decay: _Number = 0,
    average: Literal["sum", "ema"] = "sum",
    nesterov: bool = False,
    accumulate: int = 1,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    batch_size: int | None = None,
) -> Pipeline:
    """E before SGD with momentum (Algorithm 3)."""

def eadam(
    *,
    lr: _Number = 0.001,
    beta2: _Number = 0.9,
    beta3: _Number = 0.999,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-08,
    accumulate: int = 1,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
    batch_size: int | None = None,
) -> Pipeline:
    """E before Adam (Algorithm 4)."""

def eadamw(
    *,
    lr: _Number = 0.001,
    beta2: _Number = 0.9,
    beta3: _Number = 0.999,
    weight_decay: _Number = 0.01,
    eps1: _Number = 1e-08,
    accumulate: int = 1,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
    batch_size: int | None = None,
) -> Pipeline:
    """E before AdamW (Algorithm 4, decoupled decay)."""

def elion(
    *,
    lr: _Number = 0.0001,
    beta2: _Number = 0.9,
    beta3: _Number = 0.99,
    weight_decay: _Number = 0,
    accumulate: int = 1,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    betas: tuple[_Number, _Number] = ...,
    batch_size: int | None = None,
) -> Pipeline:
    """E before Lion."""

def eadabelief(
    *,
    lr: _Number = 0.001,
    beta2: _Number = 0.9,
    beta3: _Number = 0.999,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-08,
    accumulate: int = 1,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
    batch_size: int | None = None,
) -> Pipeline:
    """E before AdaBelief."""

def elars(
    *,
    lr: _Number = 1,
    momentum: _Number = 0.9,
    weight_decay: _Number = 0.0001,
    trust: _Number = 0.001,
    eps1: _Number = 1e-08,
    layerwise: bool = True,
    nesterov: bool = False,
    accumulate: int = 1,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    eps: _Number = ...,
    batch_size: int | None = None,
) -> Pipeline:
    """E before LARS."""

def emuon(
    *,
    lr: _Number = 0.02,
    momentum: _Number = 0.95,
    weight_decay: _Number = 0,
    nesterov: bool = True,
    steps: int = 5,
    polynomials: Literal["minimax", "jordan"] = "minimax",
    scale: Literal["original", "match_rms_adamw", "none"] = "original",
    precision: Literal["working", "bfloat16"] = "working",
    split: Literal["auto", "none", "experts"] | tuple[str, ...] | tuple[int, ...] = "auto",
    heads: int = 1,
    other_lr: _Number = 0.001,
    other_beta2: _Number = 0.9,
    other_beta3: _Number = 0.999,
    other_weight_decay: _Number = 0.01,
    other_eps1: _Number = 1e-08,
    accumulate: int = 1,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    other_betas: tuple[_Number, _Number] = ...,
    other_eps: _Number = ...,
    batch_size: int | None = None,
) -> Pipeline:
    """E before Muon; AdamW for embeddings, heads and vectors."""

def eshampoo(
    *,
    lr: _Number = 0.001,
    beta2: _Number = 0.9,
    beta3: _Number = 0.99,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-06,
    exponent: _Number = 0.25,
    every: int = 10,
    block: int = 1024,
    stagger: bool = False,
    grafting: Literal["adam", "sgd", "none"] = "adam",
    average: Literal["ema", "sum"] = "ema",
    split: Literal["auto", "none", "experts"] | tuple[str, ...] | tuple[int, ...] = "auto",
    heads: int = 1,
    other_lr: _Number = 0.001,
    other_beta2: _Number = 0.9,
    other_beta3: _Number = 0.999,
    other_weight_decay: _Number = 0.01,
    other_eps1: _Number = 1e-08,
    accumulate: int = 1,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
    other_betas: tuple[_Number, _Number] = ...,
    other_eps: _Number = ...,
    batch_size: int | None = None,
) -> Pipeline:
    """E before Shampoo; AdamW as in emuon."""

def esoap(
    *,
    lr: _Number = 0.003,
    beta2: _Number = 0.95,
    beta3: _Number = 0.95,
    beta4: _Number = 0.95,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-08,
    every: int = 10,
    block: int = 1024,
    stagger: bool = False,
    split: Literal["auto", "none", "experts"] | tuple[str, ...] | tuple[int, ...] = "auto",
    heads: int = 1,
    other_lr: _Number = 0.001,
    other_beta2: _Number = 0.9,
    other_beta3: _Number = 0.999,
    other_weight_decay: _Number = 0.01,
    other_eps1: _Number = 1e-08,
    accumulate: int = 1,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
    other_betas: tuple[_Number, _Number] = ...,
    other_eps: _Number = ...,
    batch_size: int | None = None,
) -> Pipeline:
    """E before SOAP; AdamW as in emuon."""

def eadahessian(
    *,
    lr: _Number = 0.15,
    beta2: _Number = 0.9,
    beta3: _Number = 0.999,
    weight_decay: _Number = 0,
    eps1: _Number = 0.0001,
    power: _Number = 1,
    samples: int = 1,
    every: int = 1,
    distribution: Literal["rademacher", "gaussian"] = "rademacher",
    seed: int = 0,
    spatial: bool = False,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
    batch_size: int | None = None,
) -> Pipeline:
    """E before AdaHessian, second order."""

def esam_sgd(
    *,
    lr: _Number = 0.001,
    momentum: _Number = 0.9,
    weight_decay: _Number = 0,
    average: Literal["sum", "ema"] = "sum",
    nesterov: bool = False,
    rho: _Number = 0.05,
    adaptive: bool = False,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    batch_size: int | None = None,
) -> Pipeline:
    """E on SAM's gradient, before SGD with momentum."""

def ezo(
    *,
    lr: _Number = 0.001,
    momentum: _Number = 0,
    weight_decay: _Number = 0,
    average: Literal["sum", "ema"] = "sum",
    nesterov: bool = False,
    sigma: _Number = 0.001,
    samples: int = 1,
    distribution: Literal["rademacher", "gaussian"] = "rademacher",
    seed: int = 0,
    common: bool = False,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    batch_size: int | None = None,
) -> Pipeline:
    """E on a zeroth-order gradient, before SGD."""

def ezo_adam(
    *,
    lr: _Number = 0.001,
    beta2: _Number = 0.9,
    beta3: _Number = 0.999,
    weight_decay: _Number = 0,
    eps1: _Number = 1e-08,
    sigma: _Number = 0.001,
    samples: int = 1,
    distribution: Literal["rademacher", "gaussian"] = "rademacher",
    seed: int = 0,
    common: bool = False,
    alpha: _Number = -5,
    beta1: _Number = 0.99,
    start: Literal["zero", "first"] = "zero",
    buffers: Literal[1, 2] = 1,
    unchecked: bool = False,
    betas: tuple[_Number, _Number] = ...,
    eps: _Number = ...,
    batch_size: int | None = None,
) -> Pipeline:
    """E on a zeroth-order gradient, before Adam."""

class ALTO(_classes.ALTO):
    """ALTO, E before Lamb: `grad | e | lamb` (Zhao et al. 2025, Algorithm 2)."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        beta2: _Number = 0.9,
        beta3: _Number = 0.99,
        weight_decay: _Number = 0.0001,
        eps1: _Number = 1e-06,
        eps2: _Number = 1e-06,
        eps3: _Number = 1e-10,
        bias_correction: bool = True,
        layerwise: bool = True,
        m_reads: Literal["u", "g"] = "u",
        v_reads: Literal["u", "g"] = "u",
        accumulate: int = 1,
        alpha: _Number = -5,
        beta1: _Number = 0.99,
        start: Literal["zero", "first"] = "zero",
        buffers: Literal[1, 2] = 1,
        unchecked: bool = False,
        betas: tuple[_Number, _Number] = ...,
        eps: _Number = ...,
        batch_size: int | None = None,
    ) -> None: ...

class ALTOVanilla(_classes.ALTOVanilla):
    """ALTO without bias correction: `grad | e | lamb(bias_correction=False)` (Algorithm 1)."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        beta2: _Number = 0.9,
        beta3: _Number = 0.99,
        weight_decay: _Number = 0.0001,
        eps1: _Number = 1e-06,
        eps2: _Number = 1e-06,
        eps3: _Number = 1e-10,
        bias_correction: bool = False,
        layerwise: bool = True,
        m_reads: Literal["u", "g"] = "u",
        v_reads: Literal["u", "g"] = "u",
        accumulate: int = 1,
        alpha: _Number = -5,
        beta1: _Number = 0.99,
        start: Literal["zero", "first"] = "zero",
        buffers: Literal[1, 2] = 1,
        unchecked: bool = False,
        betas: tuple[_Number, _Number] = ...,
        eps: _Number = ...,
        batch_size: int | None = None,
    ) -> None: ...

class Adam(_classes.Adam):
    """Adam with the default numbers of torch.optim.Adam: `grad | adam`."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        beta2: _Number = 0.9,
        beta3: _Number = 0.999,
        weight_decay: _Number = 0,
        eps1: _Number = 1e-08,
        accumulate: int = 1,
        betas: tuple[_Number, _Number] = ...,
        eps: _Number = ...,
    ) -> None: ...

class AdamW(_classes.AdamW):
    """AdamW with the default numbers of torch.optim.AdamW: `grad | adamw`."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        beta2: _Number = 0.9,
        beta3: _Number = 0.999,
        weight_decay: _Number = 0.01,
        eps1: _Number = 1e-08,
        accumulate: int = 1,
        betas: tuple[_Number, _Number] = ...,
        eps: _Number = ...,
    ) -> None: ...

class EAdam(_classes.EAdam):
    """E before Adam: `grad | e | adam` (Algorithm 4)."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        beta2: _Number = 0.9,
        beta3: _Number = 0.999,
        weight_decay: _Number = 0,
        eps1: _Number = 1e-08,
        accumulate: int = 1,
        alpha: _Number = -5,
        beta1: _Number = 0.99,
        start: Literal["zero", "first"] = "zero",
        buffers: Literal[1, 2] = 1,
        unchecked: bool = False,
        betas: tuple[_Number, _Number] = ...,
        eps: _Number = ...,
        batch_size: int | None = None,
    ) -> None: ...

class EAdamW(_classes.EAdamW):
    """E before AdamW: `grad | e | adamw` (Algorithm 4 with decoupled decay)."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        beta2: _Number = 0.9,
        beta3: _Number = 0.999,
        weight_decay: _Number = 0.01,
        eps1: _Number = 1e-08,
        accumulate: int = 1,
        alpha: _Number = -5,
        beta1: _Number = 0.99,
        start: Literal["zero", "first"] = "zero",
        buffers: Literal[1, 2] = 1,
        unchecked: bool = False,
        betas: tuple[_Number, _Number] = ...,
        eps: _Number = ...,
        batch_size: int | None = None,
    ) -> None: ...

class ELion(_classes.ELion):
    """E before Lion: `grad | e | lion`."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        beta2: _Number = 0.9,
        beta3: _Number = 0.99,
        weight_decay: _Number = 0,
        accumulate: int = 1,
        alpha: _Number = -5,
        beta1: _Number = 0.99,
        start: Literal["zero", "first"] = "zero",
        buffers: Literal[1, 2] = 1,
        unchecked: bool = False,
        betas: tuple[_Number, _Number] = ...,
        batch_size: int | None = None,
    ) -> None: ...

class EMuon(_classes.EMuon):
    """E before Muon, and before AdamW for embeddings, heads and vectors: `grad | e | route(matrix=muon, other=adamw)`."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        momentum: _Number = 0.95,
        weight_decay: _Number = 0,
        nesterov: bool = True,
        steps: int = 5,
        polynomials: Literal["minimax", "jordan"] = "minimax",
        scale: Literal["original", "match_rms_adamw", "none"] = "original",
        precision: Literal["working", "bfloat16"] = "working",
        split: Literal["auto", "none", "experts"] | tuple[str, ...] | tuple[int, ...] = "auto",
        heads: int = 1,
        other_lr: _Number = 0.001,
        other_beta2: _Number = 0.9,
        other_beta3: _Number = 0.999,
        other_weight_decay: _Number = 0.01,
        other_eps1: _Number = 1e-08,
        accumulate: int = 1,
        alpha: _Number = -5,
        beta1: _Number = 0.99,
        start: Literal["zero", "first"] = "zero",
        buffers: Literal[1, 2] = 1,
        unchecked: bool = False,
        other_betas: tuple[_Number, _Number] = ...,
        other_eps: _Number = ...,
        batch_size: int | None = None,
    ) -> None: ...

class ESGD(_classes.ESGD):
    """E before SGD with momentum: `grad | e | sgd(momentum=0.9)` (Algorithm 3)."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        momentum: _Number = 0.9,
        weight_decay: _Number = 0,
        average: Literal["sum", "ema"] = "sum",
        nesterov: bool = False,
        accumulate: int = 1,
        alpha: _Number = -5,
        beta1: _Number = 0.99,
        start: Literal["zero", "first"] = "zero",
        buffers: Literal[1, 2] = 1,
        unchecked: bool = False,
        batch_size: int | None = None,
    ) -> None: ...

class ESOAP(_classes.ESOAP):
    """E before SOAP, and before AdamW for embeddings, heads and vectors; see EMuon."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        beta2: _Number = 0.95,
        beta3: _Number = 0.95,
        beta4: _Number = 0.95,
        weight_decay: _Number = 0,
        eps1: _Number = 1e-08,
        every: int = 10,
        block: int = 1024,
        stagger: bool = False,
        split: Literal["auto", "none", "experts"] | tuple[str, ...] | tuple[int, ...] = "auto",
        heads: int = 1,
        other_lr: _Number = 0.001,
        other_beta2: _Number = 0.9,
        other_beta3: _Number = 0.999,
        other_weight_decay: _Number = 0.01,
        other_eps1: _Number = 1e-08,
        accumulate: int = 1,
        alpha: _Number = -5,
        beta1: _Number = 0.99,
        start: Literal["zero", "first"] = "zero",
        buffers: Literal[1, 2] = 1,
        unchecked: bool = False,
        betas: tuple[_Number, _Number] = ...,
        eps: _Number = ...,
        other_betas: tuple[_Number, _Number] = ...,
        other_eps: _Number = ...,
        batch_size: int | None = None,
    ) -> None: ...

class EShampoo(_classes.EShampoo):
    """E before Shampoo, and before AdamW for embeddings, heads and vectors; see EMuon."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        beta2: _Number = 0.9,
        beta3: _Number = 0.99,
        weight_decay: _Number = 0,
        eps1: _Number = 1e-06,
        exponent: _Number = 0.25,
        every: int = 10,
        block: int = 1024,
        stagger: bool = False,
        grafting: Literal["adam", "sgd", "none"] = "adam",
        average: Literal["ema", "sum"] = "ema",
        split: Literal["auto", "none", "experts"] | tuple[str, ...] | tuple[int, ...] = "auto",
        heads: int = 1,
        other_lr: _Number = 0.001,
        other_beta2: _Number = 0.9,
        other_beta3: _Number = 0.999,
        other_weight_decay: _Number = 0.01,
        other_eps1: _Number = 1e-08,
        accumulate: int = 1,
        alpha: _Number = -5,
        beta1: _Number = 0.99,
        start: Literal["zero", "first"] = "zero",
        buffers: Literal[1, 2] = 1,
        unchecked: bool = False,
        betas: tuple[_Number, _Number] = ...,
        eps: _Number = ...,
        other_betas: tuple[_Number, _Number] = ...,
        other_eps: _Number = ...,
        batch_size: int | None = None,
    ) -> None: ...

class Lamb(_classes.Lamb):
    """Lamb with the paper's defaults: `grad | lamb` (You et al. 2020, Algorithm 2)."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        beta2: _Number = 0.9,
        beta3: _Number = 0.99,
        weight_decay: _Number = 0.0001,
        eps1: _Number = 1e-06,
        eps2: _Number = 1e-06,
        eps3: _Number = 1e-10,
        bias_correction: bool = True,
        layerwise: bool = True,
        m_reads: Literal["u", "g"] = "u",
        v_reads: Literal["u", "g"] = "u",
        accumulate: int = 1,
        betas: tuple[_Number, _Number] = ...,
        eps: _Number = ...,
    ) -> None: ...

class Lion(_classes.Lion):
    """Lion with the paper's betas: `grad | lion`."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        beta2: _Number = 0.9,
        beta3: _Number = 0.99,
        weight_decay: _Number = 0,
        accumulate: int = 1,
        betas: tuple[_Number, _Number] = ...,
    ) -> None: ...

class Muon(_classes.Muon):
    """Muon for parameters that are all matrices: `grad | muon`."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        momentum: _Number = 0.95,
        weight_decay: _Number = 0,
        nesterov: bool = True,
        steps: int = 5,
        polynomials: Literal["minimax", "jordan"] = "minimax",
        scale: Literal["original", "match_rms_adamw", "none"] = "original",
        precision: Literal["working", "bfloat16"] = "working",
        split: Literal["auto", "none", "experts"] | tuple[str, ...] | tuple[int, ...] = "auto",
        heads: int = 1,
        accumulate: int = 1,
    ) -> None: ...

class SGD(_classes.SGD):
    """SGD with the default numbers of torch.optim.SGD: `grad | sgd`."""

    def __init__(
        self,
        params: ParamsT | nn.Module,
        lr: _Number | None = None,
        *,
        mode: Literal["compiled", "inductor", "eager"] = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: Literal["stochastic", "kahan", "split", "nearest"] | None = None,
        reformat: bool = False,
        momentum: _Number = 0,
        weight_decay: _Number = 0,
        average: Literal["sum", "ema"] = "sum",
        nesterov: bool = False,
        accumulate: int = 1,
    ) -> None: ...

def __getattr__(name: str) -> Callable[..., _Stage]: ...  # a plugin's
