"""The engine for parameters on a GPU whose state lies in the CPU's memory: a window of layers steps at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from edsl.distributed.sharding import is_sharded
from edsl.engine.engine import Engine, Groups
from edsl.engine.offload.staging import Load, Staging, state_size
from edsl.engine.offload.transfers import CudaTransfers, Transfers
from edsl.engine.work import SegmentWork
from edsl.errors import EdslError
from edsl.language.caller import BELOW_A_STEP, warn_user
from edsl.step.oracle import ParameterSlot
from edsl.step.parameter import ParameterStep

WINDOW = 1 << 26  # bytes of state that step together; of a larger layer its own


class OffloadedEngine(Engine):
    """Steps windows of layers one after another, while the next one's state comes and the last one's goes back.

    The numbers are those of `Engine`. Each step moves all state over the bus, once to the GPU and once from it.

    Attributes:
        device: the type of devices whose state lies elsewhere.
        transfers: makes what copies, for one of these devices.
        window: the most bytes of state that step together.

    Raises:
        EdslError: in a step, for sharded parameters, or devices that are neither this one nor the CPU.
    """

    device: str = "cuda"
    transfers: Callable[[torch.device], Transfers] = CudaTransfers
    window: int = WINDOW

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._staging: dict[torch.device, Staging] = {}
        self._warned = False
        self._order: dict[int, Any] = {}  # by the id of a parameter that stepped alone, which one did after it
        self._last: Any = None
        self._coming: tuple[Any, Load] | None = None

    def step(self, groups: Groups, states: Any, slots: list[ParameterSlot]) -> list[ParameterStep]:
        self._restart()
        items = self._take(groups, states, slots, are_all=True)
        if items:
            self._plans.show_next(groups, items)
        return items

    def begin_singly(self, groups: Groups, states: Any) -> None:
        super().begin_singly(groups, states)
        self._restart()
        self._last = None

    def step_one(self, groups: Groups, states: Any, parameter: Any) -> bool:
        slot = self.slot_of(groups, states, parameter)
        if slot is None:
            return False
        self._take(groups, states, [slot], are_all=False)
        for item in self._parameters.active:
            self._singly.stepped.append(item)
        if self._last is not None:
            self._order[id(self._last)] = parameter
        self._last = parameter
        after = self._order.get(id(parameter))  # in the last step
        if after is not None and after in states and self._is_far(after):
            self._coming = (after, self._staged(after.device).request([states[after]]))
        return True

    def preview(
        self,
        groups: Groups,
        states: Any,
        slots: list[ParameterSlot],
        chosen: Callable[[ParameterStep], bool],
        look: Callable[[SegmentWork], None],
    ) -> None:
        for window, near, load in self._windows(states, slots):
            super().preview(groups, near, window, chosen, look)
            if load is not None:
                self._staged(window[0].parameter.device).give_up(load)

    def settle(self, groups: Groups, states: Any) -> None:
        super().settle(groups, states)
        self._give_up_coming()
        found: dict[torch.device, list[Any]] = {}
        for parameter, state in states.items():
            if self._is_far(parameter):
                found.setdefault(parameter.device, []).append(state)
        for device, own in found.items():
            self._staged(device).settle(own)

    def _take(self, groups: Groups, states: Any, slots: list[ParameterSlot], are_all: bool) -> list[ParameterStep]:
        items: list[ParameterStep] = []
        for window, near, load in self._windows(states, slots):
            items += super()._take(groups, near, window, are_all=False)
            if load is not None:
                self._staged(window[0].parameter.device).put_back(load)
        return items

    def _windows(
        self, states: Any, slots: Sequence[ParameterSlot]
    ) -> Iterator[tuple[list[ParameterSlot], Any, Load | None]]:
        """Slots that step together with their state where they are, the next window's on its way already."""
        near = [slot for slot in slots if slot.gradient is not None and not self._is_far(slot.parameter)]
        if near:
            yield near, states, None
        windows = self._cut(states, [slot for slot in slots if slot.gradient is not None])
        if not windows and near and not self._warned:
            self._warned = True
            text = "offload=True does nothing for parameters on the CPU, where their state is already"
            warn_user([text], BELOW_A_STEP)
        loads = [self._expected(states, window) for window in windows[:1]]
        for number, window in enumerate(windows):
            if number + 1 < len(windows):
                loads.append(self._requested(states, windows[number + 1]))
            own = self._staged(window[0].parameter.device).wait_for(loads[number])
            yield window, {slot.parameter: state for slot, state in zip(window, own)}, loads[number]

    def _expected(self, states: Any, window: Sequence[ParameterSlot]) -> Load:
        """The load of a window, which may be on its way already."""
        coming, self._coming = self._coming, None
        if coming is not None:
            if len(window) == 1 and coming[0] is window[0].parameter:
                return coming[1]
            self._staged(coming[0].device).give_up(coming[1])
        return self._requested(states, window)

    def _requested(self, states: Any, window: Sequence[ParameterSlot]) -> Load:
        return self._staged(window[0].parameter.device).request([states[slot.parameter] for slot in window])

    def _cut(self, states: Any, slots: Sequence[ParameterSlot]) -> list[list[ParameterSlot]]:
        """Windows of neighbours on one device, whose state is no more than `window`."""
        windows: list[list[ParameterSlot]] = []
        held = 0
        for slot in slots:
            if not self._is_far(slot.parameter):
                continue
            size = state_size(states.get(slot.parameter, {})) or slot.parameter.numel() * 8
            fits = windows and held + size <= self.window and windows[-1][0].parameter.device == slot.parameter.device
            if fits:
                windows[-1].append(slot)
            else:
                windows.append([slot])
                held = 0
            held += size
        return windows

    def _is_far(self, parameter: Any) -> bool:
        """Whether a parameter's state lies elsewhere; raises EdslError where it can't."""
        if is_sharded(parameter):
            raise EdslError(
                "offload: sharded parameters (DTensor) have their state where their shards are: use fully_shard with "
                "offload_policy=CPUOffloadPolicy(), and edsl without offload"
            )
        kind = parameter.device.type
        if kind not in (self.device, "cpu"):
            raise EdslError(f"offload needs parameters on {self.device}, got one on {kind}: leave offload out")
        return kind == self.device

    def _staged(self, device: torch.device) -> Staging:
        found = self._staging.get(device)
        if found is None:
            found = self._staging[device] = Staging(type(self).transfers(device), device)
        return found

    def _give_up_coming(self) -> None:
        if self._coming is not None:
            self._staged(self._coming[0].device).give_up(self._coming[1])
            self._coming = None

    def _restart(self) -> None:
        self._give_up_coming()
        for staging in self._staging.values():
            staging.restart()
