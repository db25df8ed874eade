"""Which parameters a pipeline can step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from edsl.distributed.sharding import check_shards, check_whole, shards_of
from edsl.errors import EdslError
from edsl.language.pipeline import Pipeline
from edsl.step.layout import check_parameter
from edsl.step.plan import GroupPlan, matrices_in


def check_steppable(
    pipeline: Pipeline, parameter: Tensor, name: str, kinds: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Raises EdslError for a parameter that the pipeline can't step.

    Args:
        kinds: by name, those of the modules that own parameters, where they are known.
    """
    check_parameter(parameter, name)
    which = f"parameter {name}" if name else "a parameter"
    shards = shards_of(parameter)
    if shards is not None:
        check_shards(parameter, which)
    matrix = next((stage for stage in pipeline.stages if stage.is_matrix), None)
    if matrix is None:
        return
    matrices_in(pipeline, parameter.shape, name, kinds.get(name) if kinds else None)
    if shards is not None:
        check_whole(shards, matrix.name, which)


def check_flattened(pipeline: Pipeline, parameter: Tensor, name: str) -> None:
    """Raises EdslError for a piece of FSDP1's flat parameter under a pipeline that looks at whole layers."""
    if not getattr(parameter, "_fsdp_flattened", False):
        return
    which = f"parameter {name}" if name else "a parameter"
    plans = [GroupPlan(one, False, dict(one.hyperparameters)) for one in pipeline.branches.values()]
    if any(plan.is_matrix or any(segment.asks_about_layers for segment in plan.segments) for plan in plans):
        raise EdslError(
            f"{which} is part of a flat parameter of FullyShardedDataParallel (FSDP1), which hides the norms and "
            "matrices of layers: shard with fully_shard (FSDP2), or use an element-wise pipeline such as adamw"
        )
