"""Steps inside backward() under DistributedDataParallel: behind the all-reduce of each bucket of gradients.

Autograd's hook runs before the all-reduce, on this process's gradient alone. So the step goes into DDP's communication
hook, one bucket behind: while a bucket is on its way, the one before it steps.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd import Variable

from edsl.errors import EdslError

if TYPE_CHECKING:
    from edsl.optim.attached.backward import BackwardSteps


def check_wrappers(module: nn.Module | None) -> None:
    """Raises EdslError where a module's gradients come together in a way that no hook of ours is behind."""
    for part in () if module is None else module.modules():
        if any(kind.__name__ == "FullyShardedDataParallel" for kind in type(part).__mro__):
            raise EdslError(
                "attach: FullyShardedDataParallel (FSDP1) reduces gradients behind autograd's hooks: shard with "
                "fully_shard (FSDP2), or use edsl.compile"
            )
    for wrapper in _data_parallel(module):
        _check_wrapper(wrapper)


def _check_wrapper(wrapper: Any) -> None:
    reason = ""
    if wrapper.find_unused_parameters or wrapper.static_graph:
        reason = "with find_unused_parameters or static_graph knows only after backward() who had a gradient"
    elif wrapper.mixed_precision is not None:
        reason = "with mixed_precision reduces gradients in another dtype"
    elif not hasattr(wrapper.reducer, "_set_optimizer_in_backward"):
        reason = "of this torch can't leave gradients to a step inside backward()"
    if reason:
        raise EdslError(f"attach: DistributedDataParallel {reason}: use edsl.compile, or DDP without it")


def step_behind_averaging(module: nn.Module | None, steps: BackwardSteps) -> set[int]:
    """Have the DDP wrappers in a module step what they average; the ids of these parameters.

    Raises:
        EdslError: for a wrapper that has a communication hook already.
    """
    averaged: set[int] = set()
    for wrapper in _data_parallel(module):
        averaging = AveragedSteps(wrapper, steps)
        try:
            wrapper.register_comm_hook(averaging, lambda own, bucket: own.reduce(bucket))  # annotated it is refused
        except RuntimeError as reason:
            if "comm_hook" not in str(reason):
                raise
            raise EdslError(
                "attach: this DistributedDataParallel has a communication hook already, and takes no second one: "
                "attach before registering yours, to a new wrapper"
            ) from None
        wrapper.reducer._set_optimizer_in_backward()
        averaged.update(id(parameter) for parameter in _managed(wrapper))
    return averaged


def check_unwrapped(groups: Sequence[dict[str, Any]], averaged: set[int]) -> None:
    """Raises EdslError for parameters whose gradients DDP averages only behind our hooks."""
    import torch.distributed as dist

    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return
    ours = {id(parameter) for group in groups for parameter in group["params"]} - averaged
    for thing in gc.get_objects():  # torch keeps no list of them
        if issubclass(type(thing), _wrapper_class()) and not ours.isdisjoint(map(id, _managed(thing))):
            raise EdslError(
                "attach: DistributedDataParallel wraps these parameters, whose gradients are not averaged yet where "
                "backward() steps: attach to the wrapper itself, edsl.attach(spec, ddp_model)"
            )


class AveragedSteps:
    """The communication hook of a DDP wrapper: averages a bucket of gradients, and steps the one before.

    Args:
        wrapper: the DistributedDataParallel.
    """

    def __init__(self, wrapper: Any, steps: BackwardSteps) -> None:
        self._group, self._steps = wrapper.process_group, steps
        self._keeps_views = wrapper.gradient_as_bucket_view
        self._waiting: list[tuple[Any, list[Tensor], list[Tensor]]] = []
        self._ends = False  # autograd will call at the end of backward()

    def reduce(self, bucket: Any) -> Any:
        """The bucket's gradients, averaged by all processes: as DDP itself does it, divided first."""
        import torch.distributed as dist

        buffer = bucket.buffer()
        buffer.mul_(1.0 / self._group.size())
        work = dist.all_reduce(buffer, group=self._group, async_op=True)
        assert work is not None  # this process is one of the group
        future = work.get_future()
        before, self._waiting = self._waiting, [(future, bucket.parameters(), bucket.gradients())]
        self._take(before)
        if not self._ends:
            self._ends = True
            Variable._execution_engine.queue_callback(self._finish)  # pyright: ignore[reportAttributeAccessIssue]
        return future.then(lambda done: done.value()[0])

    def _finish(self) -> None:
        """The last bucket's steps, at the end of backward()."""
        self._ends = False
        last, self._waiting = self._waiting, []
        self._take(last)

    def _take(self, buckets: Sequence[tuple[Any, list[Tensor], list[Tensor]]]) -> None:
        for future, parameters, gradients in buckets:
            future.wait()
            for parameter, gradient in zip(parameters, gradients):
                if self._steps.is_open:
                    parameter.grad = gradient
                    self._steps.take(parameter)
                elif not self._keeps_views:  # detached: DDP leaves it to us for good
                    with torch.no_grad():
                        parameter.grad = gradient.clone()


def _data_parallel(module: nn.Module | None) -> Iterator[Any]:
    if module is not None and "torch.nn.parallel.distributed" in sys.modules:
        yield from (part for part in module.modules() if isinstance(part, _wrapper_class()))


def _wrapper_class() -> Any:
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel


def _managed(wrapper: Any) -> list[Any]:
    """The parameters whose gradients a wrapper averages."""
    ignored = wrapper.parameters_to_ignore
    return [one for name, one in wrapper.module.named_parameters() if one.requires_grad and name not in ignored]
