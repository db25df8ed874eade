"""Named pipelines: one line registers a recipe.

A recipe takes any argument of any of its stages. Those with E also take `batch_size`, which picks
the paper's (α, β₁) for small and large batches.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """A name for a pipeline: its text, and what it is."""

    text: str
    about: str


RECIPES = {
    "alto": Recipe("grad | e | lamb", "ALTO: E before Lamb (Zhao et al. 2025, Algorithm 2)"),
    "alto_vanilla": Recipe("grad | e | lamb(bias_correction=False)", "ALTO without bias correction (Algorithm 1)"),
    "esgd": Recipe("grad | e | sgd(momentum=0.9)", "E before SGD with momentum (Algorithm 3)"),
    "eadam": Recipe("grad | e | adam", "E before Adam (Algorithm 4)"),
    "eadamw": Recipe("grad | e | adamw", "E before AdamW (Algorithm 4, decoupled decay)"),
    "elion": Recipe("grad | e | lion", "E before Lion"),
    "eadabelief": Recipe("grad | e | adabelief", "E before AdaBelief"),
    "elars": Recipe("grad | e | lars", "E before LARS"),
    "emuon": Recipe(
        "grad | e | route(matrix=muon, other=adamw)", "E before Muon; AdamW for embeddings, heads and vectors"
    ),
    "eshampoo": Recipe("grad | e | route(matrix=shampoo, other=adamw)", "E before Shampoo; AdamW as in emuon"),
    "esoap": Recipe("grad | e | route(matrix=soap, other=adamw)", "E before SOAP; AdamW as in emuon"),
    "eadahessian": Recipe("hutchinson | e | adahessian", "E before AdaHessian, second order"),
    "esam_sgd": Recipe("sam | e | sgd(momentum=0.9)", "E on SAM's gradient, before SGD with momentum"),
    "ezo": Recipe("spsa | e | sgd", "E on a zeroth-order gradient, before SGD"),
    "ezo_adam": Recipe("spsa | e | adam", "E on a zeroth-order gradient, before Adam"),
}
