"""What an estimator may ask of the model: its loss and gradients, at and around the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from edsl.distributed.collectives import are_alike, averaged, is_zero, summed, total_norms
from edsl.distributed.sharding import is_sharded, shards_of
from edsl.errors import EdslError, brief
from edsl.language.stage import Estimator


class ParameterSlot:
    """One parameter before a step, and what the estimator found for it.

    Attributes:
        group: the index of its param group.
        k: the number of its own next step, from 1.
        is_known: it has state already.
        maximize: its loss is to be climbed.
        spared: it is left out of weight decay and layerwise scaling.
        gradient: the estimate, None where the loss does not depend on the parameter.
        hessian: a new estimate of the Hessian's diagonal, or None.
        difference: an estimate of the change of the gradient since the last step, or None.
    """

    __slots__ = (
        "_memory",
        "difference",
        "gradient",
        "group",
        "hessian",
        "is_known",
        "k",
        "maximize",
        "name",
        "parameter",
        "spared",
    )

    def __init__(
        self,
        parameter: Tensor,
        name: str,
        group: int,
        k: int,
        is_known: bool,
        memory: Callable[[ParameterSlot], Any],
        maximize: bool = False,
        spared: bool = False,
    ) -> None:
        self.parameter = parameter
        self.name = name
        self.group = group
        self.k = k
        self.is_known = is_known
        self.maximize = maximize
        self.spared = spared
        self._memory = memory
        self.gradient: Tensor | None = None
        self.hessian: Tensor | None = None
        self.difference: Tensor | None = None

    @property
    def memory(self) -> Any:
        """The estimator's buffers for this parameter, to be changed in place."""
        return self._memory(self)


class Oracle:
    """The model at one call of `step()`, seen through a closure.

    Attributes:
        estimator: with the hyper-parameters of this step.
        slots: one for each parameter that requires a gradient.
        k: the number of the step, from 1.
        calls: how many calls of `step()` went before since the last step.
        ready: whether the step is to happen now.
    """

    def __init__(
        self, slots: list[ParameterSlot], k: int, calls: int, closure: Callable[[], Any] | None, estimator: Estimator
    ) -> None:
        self.slots = slots
        self.k = k
        self.calls = calls
        self.ready = True
        self._closure = closure
        self.estimator = estimator
        if closure is None and estimator.needs_closure:
            raise EdslError(f"{estimator.name} evaluates the loss itself: call step(closure), {self._expected}")
        if closure is not None and estimator.needs_closure and self.k == 1:
            self._check_processes()
        if estimator.needs_closure and not estimator.calls_backward:
            sharded = next((slot.name for slot in slots if is_sharded(slot.parameter)), None)
            if sharded is not None:
                raise EdslError(
                    f"{estimator.name} can't work on sharded parameters (DTensor) such as {sharded}: "
                    "use grad or sam, or DDP instead of sharding"
                )

    def _check_processes(self) -> None:
        """At the first step: who moves parameters to evaluate the loss must move all of them on all processes."""
        whole = [slot.parameter for slot in self.slots if not is_sharded(slot.parameter)]
        if not are_alike(whole):
            raise EdslError(
                f"{self.estimator.name} needs the same parameters on all processes, which evaluate the loss together; "
                "these have different ones: use DDP without ZeroRedundancyOptimizer, and broadcast the weights"
            )

    @property
    def _expected(self) -> str:
        if self.estimator.calls_backward:
            return "with a closure that zeroes the gradients, computes the loss, calls backward() and returns the loss"
        return "with a closure that computes the loss and returns it, without backward()"

    def backprop(self, again: bool = False) -> Any:
        """Run the closure, if there is one, and read the gradients from `p.grad`.

        `again` forgets those of the first run, should the closure not zero them.

        Raises:
            EdslError: where an estimator that needs the closure finds no gradient after it.
        """
        loss = None
        if again:
            for slot in self.slots:
                slot.parameter.grad = None
        if self._closure is not None:
            with torch.enable_grad():
                loss = self._run(self._closure)
        for slot in self.slots:
            slot.gradient = slot.parameter.grad
        lost = self.slots and all(slot.gradient is None for slot in self.slots)
        if self.estimator.needs_closure and lost:
            raise EdslError(f"{self.estimator.name}: the closure left no gradient; call step(closure) {self._expected}")
        return loss

    def norm(self, tensors: list[Tensor]) -> Tensor:
        """The 2-norm of a vector with one part a slot."""
        if not tensors:
            return torch.zeros((), device="cpu")
        shards = [shards_of(tensor) for tensor in tensors]
        parts = [tensor if own is None else own.local(tensor) for tensor, own in zip(tensors, shards)]
        return total_norms([parts], [shards])[0]

    def is_zero(self, tensor: Tensor) -> bool:
        """Whether all elements are zero, on every process that has some."""
        return is_zero(tensor)

    def loss(self) -> Any:
        """The closure's loss, without a graph; of several processes the mean."""
        with torch.no_grad():
            return averaged([self._evaluate()])[0]

    def differentiate(self, create_graph: bool) -> Any:
        """The closure's loss and its gradients, which may then be differentiated again.

        Both are local to this process; `averaged` averages them over all.

        Raises:
            EdslError: for a closure that returns no loss, or calls backward(), or goes through torch.compile where the
                gradients are differentiated again.
        """
        with torch.enable_grad():
            loss = self._evaluate()
            if not self.slots:
                return loss.detach()
            if create_graph and _is_compiled(loss):  # where not even torch says so, the second derivative would be 0
                raise EdslError(
                    f"{self.estimator.name} differentiates twice, which can't be done through torch.compile: let the "
                    "closure compute the loss uncompiled, with the module that torch.compile was given "
                    "(compiled._orig_mod)"
                )
            found = self._grad([loss], [slot.parameter for slot in self.slots], create_graph=create_graph)
        for slot, gradient in zip(self.slots, found):
            slot.gradient = gradient
        return loss.detach()

    def averaged(self, tensors: list[Tensor]) -> list[Tensor]:
        """The means over all processes, where there are several."""
        return averaged(tensors)

    def hessian_times(self, directions: list[Tensor], last: bool) -> list[Tensor | None]:
        """H z for a vector z with one part a slot, through the graph of `differentiate`; `last` frees it."""
        seen = [(slot.gradient, z) for slot, z in zip(self.slots, directions) if _has_graph(slot.gradient)]
        if not seen:
            return [None] * len(self.slots)
        return self._grad(
            [gradient for gradient, _ in seen],
            [slot.parameter for slot in self.slots],
            grad_outputs=[z for _, z in seen],
            retain_graph=not last,
        )

    def direction(self, slot: ParameterSlot, seed: int, sample: int, distribution: str) -> Tensor:
        """A random direction, a function of the seed, the step, the sample and the parameter's name."""
        generator = generator_for(slot.parameter.device, seed, self.estimator.name, sample, slot.name, self.k)
        shape, dtype, device = slot.parameter.shape, slot.parameter.dtype, slot.parameter.device
        if distribution == "rademacher":
            return torch.randint(0, 2, shape, generator=generator, device=device, dtype=dtype).mul_(2).sub_(1)
        return torch.randn(shape, generator=generator, device=device, dtype=dtype)

    @contextmanager
    def restoring(self) -> Iterator[list[Tensor]]:
        """Inside, parameters may be moved; they come back bit for bit. Gives their values before."""
        before = [slot.parameter.detach().clone() for slot in self.slots]
        try:
            with torch.no_grad():
                yield before
        finally:
            with torch.no_grad():
                for slot, value in zip(self.slots, before):
                    slot.parameter.copy_(value)

    def _run(self, closure: Callable[[], Any]) -> Any:
        """The closure's value at the parameters of now."""
        torch.clear_autocast_cache()  # which may hold older ones in half precision
        return closure()

    def _evaluate(self) -> Any:
        assert self._closure is not None  # required where it is called
        try:
            loss = self._run(self._closure)
        except RuntimeError as reason:
            if "does not require grad" in str(reason):  # backward() where there is no graph
                raise EdslError(f"{self.estimator.name} needs step(closure) {self._expected}") from None
            raise
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise EdslError(f"{self.estimator.name}: the closure must return the loss, a tensor of one element")
        if loss.is_complex():
            raise EdslError(f"{self.estimator.name}: the loss must be real, got {loss.dtype}")
        return loss.reshape(())

    def _grad(self, outputs: list[Any], inputs: list[Tensor], **options: Any) -> list[Tensor | None]:
        try:
            return list(torch.autograd.grad(outputs, inputs, allow_unused=True, **options))
        except RuntimeError as reason:
            if "second time" in str(reason) or "does not require grad" in str(reason):
                raise EdslError(f"{self.estimator.name} needs step(closure) {self._expected}") from None
            if "is not implemented" in str(reason):
                raise EdslError(f"{self.estimator.name} differentiates twice: {brief(reason)}") from None
            raise


def _has_graph(gradient: Tensor | None) -> bool:
    return gradient is not None and gradient.requires_grad


def _is_compiled(loss: Tensor) -> bool:
    """Whether torch.compile made a part of a loss's graph."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() == "CompiledFunctionBackward":
            return True
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
    return False


def nonfinite(slots: list[ParameterSlot]) -> str | None:
    """The name of a parameter whose gradient or Hessian has an element that is not finite, or None."""
    seen = [(slot, part) for slot in slots for part in (slot.gradient, slot.hessian) if part is not None]
    if not seen:
        return None
    device = seen[0][1].device
    shards = [shards_of(part) for _, part in seen]
    parts = [part if own is None else own.local(part) for (_, part), own in zip(seen, shards)]
    found = torch.stack([count.to(device) for count in summed([(~part.isfinite()).sum() for part in parts], shards)])
    return None if not bool(found.any()) else seen[int((found > 0).int().argmax())][0].name


def generator_for(device: torch.device, *words: Any) -> torch.Generator:
    """A generator that depends on the words alone, and leaves torch's own untouched."""
    digest = blake2b("/".join(str(word) for word in words).encode(), digest_size=7).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "big"))
