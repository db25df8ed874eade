"""State that lies in the CPU's memory, brought to the device for the time of its step.

A load is what some parameters keep. While one steps, the next is on its way to the device and the one before on its
way back, each in an arena of its own. Every step uses the arenas in turn from the first, so that what keeps its place
in a step keeps its addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from edsl.engine.offload.transfers import Mark, Pair, Transfers
from edsl.step.addresses import elements_spanned

ARENAS = 3  # one load comes, one steps, one goes
_ALIGNED = 64  # bytes, as torch's allocators align at the least

State = dict[str, Any]


@dataclass(eq=False)
class Load:
    """The state of some parameters on the device.

    Attributes:
        far, near: in the CPU's memory and on the device, of each parameter.
        arena: where it is, -1 for state that is new.
        come: the mark of its arrival.
    """

    far: list[State]
    near: list[State]
    arena: int = -1
    come: Mark = None


@dataclass
class Arena:
    """Memory of the device for one load.

    Attributes:
        gone: the mark from which on it may be written again.
    """

    memory: Tensor
    gone: Mark = None


@dataclass
class Staging:
    """Loads on their way between a device and the CPU's memory.

    Attributes:
        transfers: what copies.
        device: where parameters are.
    """

    transfers: Transfers
    device: torch.device
    _arenas: list[Arena] = field(default_factory=list)
    _next: int = 0
    _put: dict[int, Mark] = field(default_factory=dict)  # by the id of a parameter's far state, when it is whole

    def restart(self) -> None:
        """Begin a step: the next load is the first."""
        self._next = 0

    def request(self, far: Sequence[State]) -> Load:
        """Have the state of some parameters come; `wait_for` it before it is used."""
        kept = [{name: value for name, value in state.items() if _travels(name, value)} for state in far]
        size = sum(_room(tensor) for state in kept for tensor in state.values())
        if size == 0:  # new, or nothing but a count of steps
            return Load([*far], [dict(state) for state in far])
        number, self._next = self._next, (self._next + 1) % ARENAS
        arena = self._arena(number, size)
        pairs: list[Pair] = []
        near: list[State] = []
        begin = 0
        for state, moved in zip(far, kept):
            own = dict(state)
            for name, tensor in moved.items():
                own[name] = _view(arena.memory, begin, tensor)
                pairs.append((own[name], tensor))
                begin += _room(tensor)
            near.append(own)
        after = [arena.gone, *(self._put.get(id(state)) for state in far)]
        return Load([*far], near, number, self.transfers.bring(pairs, after))

    def wait_for(self, load: Load) -> list[State]:
        """The state of a load's parameters on the device, for arithmetic that begins from now on."""
        self.transfers.wait(load.come)
        return load.near

    def put_back(self, load: Load) -> None:
        """Have a load go back, as the arithmetic begun by now leaves it."""
        pairs: list[Pair] = []
        for far, near in zip(load.far, load.near):
            for name in far.keys() - near.keys():
                del far[name]
            for name, value in near.items():
                if not _travels(name, value):
                    far[name] = value
                    continue
                known = far.get(name)
                if not isinstance(known, Tensor) or not _alike(known, value):
                    far[name] = self.transfers.far(value)
                pairs.append((far[name], value))
        gone = self.transfers.put(pairs, [self.transfers.mark()])
        for far in load.far:
            self._put[id(far)] = gone
        self.give_up(load, gone)

    def give_up(self, load: Load, gone: Mark = None) -> None:
        """Leave a load's arena to others, from a mark on, or what was begun by now."""
        if load.arena >= 0:
            self._arenas[load.arena].gone = self.transfers.mark() if gone is None else gone

    def settle(self, states: Any) -> None:
        """Wait until all state is in the CPU's memory, and bring what isn't there."""
        self.transfers.finish()
        self._put.clear()
        for state in states:
            for name, value in state.items():
                if _travels(name, value) and (value.device.type != "cpu" or not _is_fit(value, self.device)):
                    state[name] = self.transfers.far(value).copy_(value)

    def _arena(self, number: int, size: int) -> Arena:
        """An arena of at least this size."""
        while len(self._arenas) <= number:
            self._arenas.append(Arena(torch.empty(0, dtype=torch.uint8, device=self.device)))
        arena = self._arenas[number]
        if arena.memory.numel() < size:
            self.transfers.finish()  # nothing is on its way through the memory that is let go
            arena = self._arenas[number] = Arena(torch.empty(size, dtype=torch.uint8, device=self.device))
            arena.gone = self.transfers.mark()  # torch may hand out memory that arithmetic still reads
        return arena


def state_size(state: State) -> int:
    """Bytes of a parameter's state that travel."""
    return sum(value.numel() * value.element_size() for name, value in state.items() if _travels(name, value))


def _travels(name: str, value: Any) -> bool:
    return isinstance(value, Tensor) and name != "step"


def _alike(one: Tensor, other: Tensor) -> bool:
    return (one.shape, one.dtype, one.stride()) == (other.shape, other.dtype, other.stride())


def _is_fit(value: Tensor, device: torch.device) -> bool:
    return device.type != "cuda" or value.is_pinned()


def _room(tensor: Tensor) -> int:
    """Bytes that it takes in an arena."""
    return -(-elements_spanned(tensor) * tensor.element_size() // _ALIGNED) * _ALIGNED


def _view(memory: Tensor, begin: int, like: Tensor) -> Tensor:
    """A tensor of this form in an arena."""
    size = elements_spanned(like) * like.element_size()
    return memory[begin : begin + size].view(like.dtype).as_strided(like.shape, like.stride())
