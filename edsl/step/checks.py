"""Which parameters a pipeline can step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from edsl.distributed.sharding import check_shards, check_whole, shards_of
from edsl.errors import EdslError, parameter_called
from edsl.language.pipeline import Pipeline
from edsl.language.reductions import asks_of_all
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
    which = parameter_called(name)
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
    which = parameter_called(name)
    plans = [GroupPlan(one, False, dict(one.hyperparameters)) for one in pipeline.branches.values()]
    if any(plan.is_matrix or any(segment.asks_about_layers for segment in plan.segments) for plan in plans):
        raise EdslError(
            f"{which} is part of a flat parameter of FullyShardedDataParallel (FSDP1), which hides the norms and "
            "matrices of layers: shard with fully_shard (FSDP2), or use an element-wise pipeline such as adamw"
        )


def check_attachable(pipeline: Pipeline) -> None:
    """Raises EdslError where a step inside backward() needs other gradients than its parameter's own."""
    estimator, reason = pipeline.estimator, ""
    if estimator.needs_closure:
        reason = f"{estimator.name} evaluates the loss itself, around all parameters at once"
    elif estimator.calls > 1:
        reason = f"{estimator} adds up the gradients of several backward() calls, so that all must be kept"
    elif not estimator.passes_grad:
        reason = f"{estimator.name} makes its estimate from all gradients at once"
    elif pipeline.nonfinite_policy:
        reason = "guard looks at all gradients before any parameter may move"
    reason = reason or _needed_of_all(pipeline)
    if reason:
        raise EdslError(f"attach: {reason}: use edsl.compile, or leave it out")


def check_offload(pipeline: Pipeline) -> None:
    """Raises EdslError where a step needs more state on the GPU than that of a few layers at a time."""
    reason = _needed_of_all(pipeline)
    if not reason and type(pipeline.estimator.init(0.0))._fields:
        reason = f"{pipeline.estimator} keeps buffers of its own, for all parameters at once"
    if reason:
        raise EdslError(f"offload: {reason}: compile without offload, or leave it out")


def _needed_of_all(pipeline: Pipeline) -> str:
    """What a step of one parameter asks of all the others, "" for nothing."""
    if pipeline.update.moves_weights:
        return f"{pipeline.update.name} is another package's optimizer, which steps all its parameters at once"
    stages = [stage for branch in pipeline.branches.values() for stage in branch.stages[1:]]
    whole = next((stage for stage in stages if stage.needs_total_norm), None)
    if whole is not None:
        return f"{whole} needs the norm over all parameters (clip(value=…) and the rule agc need none)"
    asking = next((stage for stage in stages if asks_of_all(stage)), None)
    return f"{asking.name} asks for a total over all parameters" if asking is not None else ""
