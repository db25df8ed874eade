"""Recipes and base updates as classes, for training configs that want one: `edsl.ALTO(params, lr=0.01)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from edsl.optim.optimizer import PipelineOptimizer


class RecipeOptimizer(PipelineOptimizer):
    """A PipelineOptimizer whose spec is given by its class; any argument of its stages is a keyword."""

    recipe: ClassVar[str]

    def __init__(
        self,
        params: Any,
        lr: Any = None,
        *,
        mode: str = "compiled",
        exclude: Sequence[str] | None = None,
        maximize: bool = False,
        state_dtype: Any = None,
        weights: str | None = None,
        reformat: bool = False,
        total_steps: int | None = None,
        offload: bool = False,
        batch_size: int | None = None,
        **hyperparameters: Any,
    ) -> None:
        chosen = f"(batch_size={batch_size!r})" if batch_size is not None else ""
        if lr is not None:
            hyperparameters = {"lr": lr, **hyperparameters}
        options: dict[str, Any] = {"maximize": maximize, "state_dtype": state_dtype}
        options |= {"weights": weights, "reformat": reformat, "total_steps": total_steps, "offload": offload}
        super().__init__(params, f"{self.recipe}{chosen}", mode=mode, exclude=exclude, **options, **hyperparameters)


class ALTO(RecipeOptimizer):
    """ALTO, E before Lamb: `grad | e | lamb` (Zhao et al. 2025, Algorithm 2)."""

    recipe = "alto"


class ALTOVanilla(RecipeOptimizer):
    """ALTO without bias correction: `grad | e | lamb(bias_correction=False)` (Algorithm 1)."""

    recipe = "alto_vanilla"


class ESGD(RecipeOptimizer):
    """E before SGD with momentum: `grad | e | sgd(momentum=0.9)` (Algorithm 3)."""

    recipe = "esgd"


class EAdam(RecipeOptimizer):
    """E before Adam: `grad | e | adam` (Algorithm 4)."""

    recipe = "eadam"


class EAdamW(RecipeOptimizer):
    """E before AdamW: `grad | e | adamw` (Algorithm 4 with decoupled decay)."""

    recipe = "eadamw"


class EMuon(RecipeOptimizer):
    """E before Muon, and before AdamW for embeddings, heads and vectors: `grad | e | route(matrix=muon, other=adamw)`.

    Embeddings and heads are recognised from the module: pass the model, not `model.parameters()`.
    """

    recipe = "emuon"


class EShampoo(RecipeOptimizer):
    """E before Shampoo, and before AdamW for embeddings, heads and vectors; see EMuon."""

    recipe = "eshampoo"


class ESOAP(RecipeOptimizer):
    """E before SOAP, and before AdamW for embeddings, heads and vectors; see EMuon."""

    recipe = "esoap"


class ELion(RecipeOptimizer):
    """E before Lion: `grad | e | lion`."""

    recipe = "elion"


class Lamb(RecipeOptimizer):
    """Lamb with the paper's defaults: `grad | lamb` (You et al. 2020, Algorithm 2)."""

    recipe = "lamb"


class Lion(RecipeOptimizer):
    """Lion with the paper's betas: `grad | lion`."""

    recipe = "lion"


class Muon(RecipeOptimizer):
    """Muon for parameters that are all matrices: `grad | muon`."""

    recipe = "muon"


class Adam(RecipeOptimizer):
    """Adam with the default numbers of torch.optim.Adam: `grad | adam`."""

    recipe = "adam"


class AdamW(RecipeOptimizer):
    """AdamW with the default numbers of torch.optim.AdamW: `grad | adamw`.

    Where names are known, as of a module, biases and norms are excluded from weight decay; `exclude=()` decays all, as
    torch does.
    """

    recipe = "adamw"


class SGD(RecipeOptimizer):
    """SGD with the default numbers of torch.optim.SGD: `grad | sgd`."""

    recipe = "sgd"
